"""A double of an autopilot, spoken with pymavlink: its clock, heartbeat and TIMESYNC answers.

It stands in for a flight controller's side of the wire; it is no model of its estimator.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from pymavlink.dialects.v20 import ardupilotmega as mavlink

TICK_S = 0.02


class SimulatedAutopilot:
    """Sends a heartbeat and whatever `stream` makes every 20 ms, and answers TIMESYNC."""

    def __init__(
        self,
        transmit: Callable[[bytes], None],
        receive: Callable[[float], bytes],
        system: int = 1,
        booted_s_ago: float = 100.0,
        key: bytes | None = None,
    ) -> None:
        self.codec = mavlink.MAVLink(None, srcSystem=system, srcComponent=1)
        self.codec.robust_parsing = True
        if key is not None:
            self.codec.signing.secret_key = key
            self.codec.signing.sign_outgoing = True
            self.codec.signing.timestamp = int((time.time() - 1420070400) * 100_000)
        self.stream: Callable[[SimulatedAutopilot], list[Any]] = lambda autopilot: []
        self.heard: list[Any] = []
        self.answers_timesync = True
        self.asks_timesync = False
        self.silent = False
        self._transmit, self._receive = transmit, receive
        self._booted_ns = time.monotonic_ns() - round(booted_s_ago * 1e9)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> SimulatedAutopilot:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def clock_ns(self) -> int:
        """Nanoseconds since its boot."""
        return time.monotonic_ns() - self._booted_ns

    @property
    def boot_ms(self) -> int:
        return self.clock_ns // 1_000_000

    def restart(self) -> None:
        """Boot again: the clock starts from nought."""
        self._booted_ns = time.monotonic_ns() - 1_000_000

    def send(self, *messages: Any) -> None:
        for message in messages:
            self.transmit_bytes(bytes(message.pack(self.codec)))
            self.codec.seq = (self.codec.seq + 1) % 256

    def transmit_bytes(self, data: bytes) -> None:
        self._transmit(data)

    def names_heard(self) -> set[str]:
        return {message.get_type() for message in self.heard}

    def _run(self) -> None:
        due_s = heartbeat_due_s = 0.0
        while not self._stop.is_set():
            self._hear(self._receive(TICK_S / 4))
            now_s = time.monotonic()
            if self.silent or now_s < due_s:
                continue
            due_s = now_s + TICK_S
            if now_s >= heartbeat_due_s:
                heartbeat_due_s = now_s + 0.2
                self.send(mavlink.MAVLink_heartbeat_message(2, 12, 0, 0, 4, 3))
                if self.asks_timesync:
                    self.send(mavlink.MAVLink_timesync_message(0, self.clock_ns))
            self.send(*self.stream(self))

    def _hear(self, data: bytes) -> None:
        for message in self.codec.parse_buffer(data) or []:
            self.heard.append(message)
            asks = message.get_type() == "TIMESYNC" and message.tc1 == 0
            if asks and self.answers_timesync and not self.silent:
                self.send(mavlink.MAVLink_timesync_message(self.clock_ns, message.ts1))


def autopilot_on_udp(port: int, **settings: Any) -> SimulatedAutopilot:
    """One that speaks to a port of this machine."""
    endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # Nothing that was sent is lost while the double's thread waits for its turn.
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    endpoint.bind(("127.0.0.1", 0))

    def receive(timeout_s: float) -> bytes:
        if not select.select([endpoint], [], [], timeout_s)[0]:
            return b""
        try:
            return endpoint.recv(65535)
        except ConnectionRefusedError:
            return b""

    return _Closing(
        lambda data: _quietly(lambda: endpoint.sendto(data, ("127.0.0.1", port))),
        receive,
        endpoint.close,
        settings,
    )


def autopilot_on_descriptor(descriptor: int, **settings: Any) -> SimulatedAutopilot:
    """One at the far end of a pseudo-terminal."""

    def receive(timeout_s: float) -> bytes:
        try:
            ready = select.select([descriptor], [], [], timeout_s)[0]
            return os.read(descriptor, 4096) if ready else b""
        except OSError:  # nobody has the other end open
            time.sleep(timeout_s)
            return b""

    return _Closing(
        lambda data: _quietly(lambda: os.write(descriptor, data)), receive, lambda: None, settings
    )


def _quietly(action: Callable[[], object]) -> None:
    try:
        action()
    except OSError:
        time.sleep(0.0)


class _Closing(SimulatedAutopilot):
    def __init__(
        self,
        transmit: Callable[[bytes], None],
        receive: Callable[[float], bytes],
        release: Callable[[], None],
        settings: dict[str, Any],
    ) -> None:
        super().__init__(transmit, receive, **settings)
        self._release = release

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        self._release()
