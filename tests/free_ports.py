"""Ports of the loopback for programs that have to be told which before they listen."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

_LOWEST, _STEP = 12_000, 2
_taken: list[socket.socket] = []
_next = 0


def free_port() -> int:
    """A port that nobody listens on, neither by TCP nor by UDP; never the same one twice.

    The kernel gives programs that ask for any port those of its own range, so one of those may be
    gone again before a test listens on it. This one lies below, and is kept from other tests that
    run on the machine by the name of a socket, which the kernel forgets with this process.
    """
    global _next
    ports = range(_LOWEST, _lowest_of_the_kernels_own(), _STEP)
    _next = _next or os.getpid() * 37
    for _ in ports:
        _next += 1
        port = ports[_next % len(ports)]
        if _is_unused(port) and _keep_for_this_process(port):
            return port
    raise RuntimeError("every port of the loopback is in use")


def _lowest_of_the_kernels_own() -> int:
    with suppress(OSError, ValueError):
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        if lowest > _LOWEST + 1000:
            return lowest
    return 32_768


def _is_unused(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def _keep_for_this_process(port: int) -> bool:
    keeper = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        keeper.bind(f"\0dmnil-edge test port {port}")
    except OSError:
        keeper.close()
        return False
    _taken.append(keeper)
    return True
