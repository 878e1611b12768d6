"""Plays systemd: hears what a service sends to its notification socket."""

from __future__ import annotations

import socket


class Listener:
    """The service manager's end of the socket."""

    def __init__(self, bound_to: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(bound_to)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """Every message since the last call."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self.socket.close()
