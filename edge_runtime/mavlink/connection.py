"""Byte lines to an autopilot: UDP, TCP and serial, named as pymavlink and MAVProxy name them."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from edge_runtime.contract.errors import ConfigError

DEFAULT_BAUD = 57600
_LARGEST_DATAGRAM = 65535
_MOST_DATAGRAMS = 64
_MOST_PEERS = 8
_PEER_SILENCE_S = 10.0
_SEND_LIMIT_S = 0.25
_CONNECT_LIMIT_S = 2.0
_NETWORK_KINDS = ("udp", "udpin", "udpout", "tcp", "tcpin")
_Result = TypeVar("_Result")
_FORMS = (
    "udpin:HOST:PORT, udpout:HOST:PORT, tcp:HOST:PORT, tcpin:HOST:PORT or a serial device "
    "such as /dev/ttyTHS1,921600"
)


class Connection(Protocol):
    """An open byte line; a method that raises OSError says that it is lost."""

    def receive(self, timeout_s: float) -> list[tuple[Hashable, bytes]]:
        """Pairs of sender and bytes that came; an empty list if none came in time."""
        ...

    def trust(self, sender: Hashable) -> None:
        """Learn that a sender speaks MAVLink, so what is sent may go there."""
        ...

    def send(self, data: bytes) -> bool:
        """Send a whole message; False if there is nobody to send to yet."""
        ...

    def close(self) -> None:
        """Release the line."""
        ...


@dataclass(frozen=True)
class ConnectionAddress:
    """Where an autopilot is connected: `kind` is serial, udpin, udpout, tcp or tcpin."""

    kind: str
    place: str
    """Host, or path of the serial device."""
    number: int
    """Port, or baud."""

    def __str__(self) -> str:
        separator = "," if self.kind == "serial" else ":"
        return f"{self.kind}:{self.place}{separator}{self.number}"


def parse_connection(text: str, baud: int = DEFAULT_BAUD) -> ConnectionAddress:
    """Read a connection string.

    `udp:` listens as `udpin:` does; a serial device may be written bare, with its baud behind a
    comma (MAVProxy) or as `serial:DEVICE:BAUD` (MAVSDK).

    Args:
        baud: Speed of a serial device whose string names none.
    Raises:
        ConfigError: If it is none of these.
    """
    kind, _, rest = text.partition(":")
    if kind in _NETWORK_KINDS:
        host, _, port = rest.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not _is_host(host) or not _is_number(port) or not 0 <= int(port) <= 65535:
            raise ConfigError(f"MAVLink connection {text!r}: give {kind}:HOST:PORT")
        if int(port) == 0 and kind not in ("udp", "udpin", "tcpin"):
            raise ConfigError(f"MAVLink connection {text!r}: give the port to send to")
        return ConnectionAddress("udpin" if kind == "udp" else kind, host, int(port))
    is_named_serial = kind == "serial" and bool(rest)
    device = rest if is_named_serial else text
    if not is_named_serial and not device.startswith(("/", "COM")):
        raise ConfigError(f"MAVLink connection {text!r} is none of {_FORMS}")
    for separator in (",", ":"):
        head, found, tail = device.rpartition(separator)
        if found and tail.isdecimal():
            if not _is_number(tail):
                raise ConfigError(f"MAVLink connection {text[:80]!r}...: no line has such a baud")
            device, baud = head, int(tail)
            break
    if not device or baud < 1:
        raise ConfigError(f"MAVLink connection {text!r} is none of {_FORMS}")
    return ConnectionAddress("serial", device, baud)


def _is_host(text: str) -> bool:
    """Whether a name can be looked up at all: none of its parts is empty or too long."""
    try:
        return bool(text.encode("idna"))
    except UnicodeError:
        return False


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 10


def open_connection(address: ConnectionAddress) -> Connection:
    """Open the line.

    Raises:
        ConfigError: If a serial line needs pyserial and it is not installed.
        OSError: If it cannot be opened now; it may be possible later.
    """
    if address.kind == "serial":
        return _SerialConnection(address.place, address.number)
    if address.kind == "tcp":
        return _StreamConnection(_connect(address))
    if address.kind == "tcpin":
        return _TcpServer(address)
    return _UdpConnection(address)


class _UdpConnection:
    """Datagrams: from anyone, to one host (udpout) or to those that spoke MAVLink (udpin)."""

    def __init__(self, address: ConnectionAddress) -> None:
        passive = address.kind == "udpin"
        family, _, _, _, name = socket.getaddrinfo(
            address.place,
            address.number,
            type=socket.SOCK_DGRAM,
            flags=socket.AI_PASSIVE if passive else 0,
        )[0]
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._target: Any = None
            if passive:
                self._socket.bind(name)
            else:
                self._target = name
        except OSError:
            self._socket.close()
            raise
        self._last_heard_s: dict[Any, float] = {}

    @property
    def local_port(self) -> int:
        """The port that this end has."""
        return int(self._socket.getsockname()[1])

    def receive(self, timeout_s: float) -> list[tuple[Hashable, bytes]]:
        if not select.select([self._socket], [], [], timeout_s)[0]:
            return []
        received: list[tuple[Hashable, bytes]] = []
        while len(received) < _MOST_DATAGRAMS:
            try:
                data, sender = self._socket.recvfrom(_LARGEST_DATAGRAM)
            except (BlockingIOError, ConnectionRefusedError):  # all read, or nobody there yet
                break
            received.append((sender, data))
        return received

    def trust(self, sender: Hashable) -> None:
        if self._target is not None:
            return
        now_s = time.monotonic()
        heard = {**self._last_heard_s, sender: now_s}
        alive = {peer: at for peer, at in heard.items() if now_s - at < _PEER_SILENCE_S}
        newest = sorted(alive, key=alive.__getitem__)[-_MOST_PEERS:]
        self._last_heard_s = {peer: alive[peer] for peer in newest}

    def send(self, data: bytes) -> bool:
        peers = [self._target] if self._target is not None else list(self._last_heard_s)
        sent = False
        for peer in peers:
            try:
                self._socket.sendto(data, peer)
                sent = True
            except OSError:  # this peer or its network is gone: the others may be there
                continue
        return sent

    def close(self) -> None:
        self._socket.close()


class _StreamConnection:
    """A connected TCP socket."""

    def __init__(self, stream: socket.socket) -> None:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.settimeout(_SEND_LIMIT_S)
        self._stream = stream

    def receive(self, timeout_s: float) -> list[tuple[Hashable, bytes]]:
        if not select.select([self._stream], [], [], timeout_s)[0]:
            return []
        data = self._stream.recv(_LARGEST_DATAGRAM)
        if not data:
            raise ConnectionResetError("the other end closed the connection")
        return [("tcp", data)]

    def trust(self, sender: Hashable) -> None:
        pass

    def send(self, data: bytes) -> bool:
        self._stream.sendall(data)
        return True

    def close(self) -> None:
        self._stream.close()


class _TcpServer:
    """Waits for one peer at a time; a newer one takes the older one's place."""

    def __init__(self, address: ConnectionAddress) -> None:
        self._server = socket.create_server((address.place, address.number))
        self._peer: _StreamConnection | None = None

    @property
    def local_port(self) -> int:
        """The port that this end has."""
        return int(self._server.getsockname()[1])

    def receive(self, timeout_s: float) -> list[tuple[Hashable, bytes]]:
        peer = self._peer
        if select.select([self._server], [], [], 0.0 if peer else timeout_s)[0]:
            self._drop_peer()
            self._peer = peer = _StreamConnection(self._server.accept()[0])
        if peer is None:
            return []
        try:
            return peer.receive(timeout_s)
        except OSError:
            self._drop_peer()
            return []

    def trust(self, sender: Hashable) -> None:
        pass

    def send(self, data: bytes) -> bool:
        peer = self._peer
        if peer is None:
            return False
        try:
            return peer.send(data)
        except OSError:  # the reading thread meets the same error and drops the peer
            return False

    def close(self) -> None:
        self._drop_peer()
        self._server.close()

    def _drop_peer(self) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.close()


class _SerialConnection:
    """A serial device by pyserial."""

    def __init__(self, device: str, baud: int) -> None:
        try:
            import serial
        except ImportError as error:
            raise ConfigError(
                "a serial MAVLink line needs pyserial: pip install 'dmnil-edge[mavlink]'"
            ) from error
        self._line = serial.Serial(
            device, baud, timeout=0.0, write_timeout=_SEND_LIMIT_S, exclusive=True
        )

    def receive(self, timeout_s: float) -> list[tuple[Hashable, bytes]]:
        data = self._call(lambda: self._read(timeout_s))
        return [("serial", data)] if data else []

    def _read(self, timeout_s: float) -> bytes:
        if not select.select([self._line], [], [], timeout_s)[0]:
            return b""
        return bytes(self._line.read(max(1, self._line.in_waiting)))

    def trust(self, sender: Hashable) -> None:
        pass

    def send(self, data: bytes) -> bool:
        self._call(lambda: self._line.write(data))
        return True

    def close(self) -> None:
        self._line.close()

    @staticmethod
    def _call(action: Callable[[], _Result]) -> _Result:
        try:
            return action()
        except (TypeError, ValueError) as error:  # pyserial's word on a device closed meanwhile
            raise OSError(f"the serial device is closed: {error}") from error


def _connect(address: ConnectionAddress) -> socket.socket:
    return socket.create_connection((address.place, address.number), _CONNECT_LIMIT_S)
