"""Lines that NMEA leaves by: a serial device, UDP datagrams, or a TCP server for many readers."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from edge_runtime.contract.errors import ConfigError, OutputError

_FORMS = "serial:DEVICE,BAUD, udp:HOST:PORT, or tcp:HOST:PORT to serve readers on"
_REOPEN_S = 1.0
_MOST_READERS = 8


class Line(Protocol):
    """Takes whole sentences and never waits for whoever reads them."""

    def send(self, data: bytes) -> bool:
        """Send; False if nobody got it."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


def open_line(address: str) -> Line:
    """Open a line by its address.

    Raises:
        ConfigError: If the address is none, or a serial line needs pyserial.
        OutputError: If a server's port is taken. A device that is not there yet is tried again.
    """
    kind, _, rest = address.partition(":")
    if kind == "serial":
        device, _, baud = rest.rpartition(",")
        if device and _is_number(baud) and int(baud) > 0:
            return SerialLine(device, int(baud))
    elif kind in ("udp", "tcp"):
        host, _, port = rest.rpartition(":")
        if host and _is_number(port) and 0 <= int(port) <= 65535:
            opener = UdpLine if kind == "udp" else TcpServerLine
            try:
                return opener(host.removeprefix("[").removesuffix("]"), int(port))
            except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
                raise OutputError(f"{address} cannot be opened: {error}") from error
    raise ConfigError(f"{address!r} is none of {_FORMS}")


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 10


class UdpLine:
    """A datagram for each call, to one host or a broadcast address."""

    def __init__(self, host: str, port: int) -> None:
        family, _, _, _, name = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self._name: Any = name
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)

    def send(self, data: bytes) -> bool:
        """Send a datagram; an unreachable network is no error, only nobody."""
        try:
            return self._socket.sendto(data, self._name) == len(data)
        except OSError:
            return False

    def close(self) -> None:
        """Release the socket."""
        self._socket.close()


class TcpServerLine:
    """Serves whoever connects; a reader that does not keep up is let go."""

    def __init__(self, host: str, port: int) -> None:
        self._server = socket.create_server((host, port))
        self._server.setblocking(False)
        self._readers: list[socket.socket] = []

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.getsockname()[1])

    def send(self, data: bytes) -> bool:
        """Send to every reader."""
        self._accept()
        kept = []
        for reader in self._readers:
            try:
                sent = reader.send(data) == len(data)
            except OSError:
                sent = False
            if sent:
                kept.append(reader)
            else:
                reader.close()
        self._readers = kept
        return bool(kept)

    def close(self) -> None:
        """Close the server and its readers."""
        for reader in self._readers:
            reader.close()
        self._server.close()

    def _accept(self) -> None:
        while select.select([self._server], [], [], 0.0)[0]:
            try:
                reader, _ = self._server.accept()
            except OSError:
                return
            reader.setblocking(False)
            if len(self._readers) >= _MOST_READERS:
                reader.close()
            else:
                self._readers.append(reader)


class SerialLine:
    """A serial device by pyserial; one that is unplugged is opened again when it is back."""

    def __init__(
        self, device: str, baud: int, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        try:
            import serial
        except ImportError as error:
            raise ConfigError(
                "a serial line needs pyserial: pip install 'dmnil-edge[mavlink]'"
            ) from error
        self._open: Callable[[], Any] = lambda: serial.Serial(
            device, baud, timeout=0.0, write_timeout=0.0
        )
        self._monotonic_s = monotonic_s
        self._line: Any | None = None
        self._tried_s = float("-inf")

    def send(self, data: bytes) -> bool:
        """Write what the device's buffer takes at once; the rest of a full buffer is lost."""
        line = self._line if self._line is not None else self._reopen()
        if line is None:
            return False
        try:
            # pyserial spins on a full buffer even if told not to wait.
            if not select.select([], [line], [], 0.0)[1]:
                return False
            return int(line.write(data) or 0) == len(data)
        except (OSError, ValueError):  # unplugged, or closed under select
            self.close()
            return False

    def close(self) -> None:
        """Release the device."""
        line, self._line = self._line, None
        if line is not None:
            with suppress(OSError):
                line.close()

    def _reopen(self) -> Any | None:
        now_s = self._monotonic_s()
        if now_s - self._tried_s < _REOPEN_S:
            return None
        self._tried_s = now_s
        with suppress(OSError):
            self._line = self._open()
        return self._line
