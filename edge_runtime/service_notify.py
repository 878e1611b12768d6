"""Tell systemd how the service is: ready, alive, its state, stopping (the sd_notify protocol)."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

_LOG = logging.getLogger(__name__)


class ServiceNotifier:
    """Sends a service's state to the socket that systemd names, and nothing where it names none.

    Messages are those of `sd_notify(3)`. A message that cannot be sent is logged and lost: a
    service manager that is gone must not end a flight.

    Args:
        address: A socket's path, or an abstract name that begins with @; None sends nothing.
        watchdog_s: systemd kills a service that was silent for so long; None: it does not watch.
        now_s: Seconds of a monotonic clock.
    """

    def __init__(
        self,
        address: str | None = None,
        watchdog_s: float | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._watchdog_s = watchdog_s
        self._now_s = now_s
        self._alive_at_s: float | None = None
        self._status: str | None = None

    def ready(self) -> None:
        """Start-up is done; the watchdog counts from here."""
        self._send("READY=1")

    def alive(self) -> None:
        """Still working: call it as often as work is done, it is sent at most twice an interval."""
        if self._watchdog_s is None:
            return
        now_s = self._now_s()
        if self._alive_at_s is None or now_s - self._alive_at_s >= self._watchdog_s / 2:
            self._alive_at_s = now_s
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent when it changed."""
        line = " ".join(text.split())
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def stopping(self) -> None:
        """Shutting down on its own account or on request."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        # An abstract socket's name begins with a zero byte, which no environment can hold.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.connect(address)
                sender.sendall(message.encode("utf-8"))
        except OSError as error:
            _LOG.warning("systemd was not told %s: %s", message, error.strerror or error)


def notifier_from_environment(environment: Mapping[str, str] | None = None) -> ServiceNotifier:
    """The notifier that systemd's NOTIFY_SOCKET and WATCHDOG_USEC ask for.

    Args:
        environment: The process's own if left out.
    """
    variables = os.environ if environment is None else environment
    address = variables.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return ServiceNotifier()
    return ServiceNotifier(address, _watchdog_s(variables))


def _watchdog_s(variables: Mapping[str, str]) -> float | None:
    """The watchdog's interval, unless it is off or meant for another process."""
    if variables.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = variables.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None
