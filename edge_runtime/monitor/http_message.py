"""HTTP/1 requests as they are read, and answers as they are sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

_COMMON_HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True)
class Request:
    """What was asked for; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Response:
    """An answer, whole."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EventStream:
    """Server-sent events until the visitor leaves: a message, where there is one, each period."""

    next_message: Callable[[], str | None]
    period_s: float


Respond = Callable[[Request], Response | EventStream]


def parse_request(head: bytes) -> Request:
    """Read a request's head.

    Raises:
        ValueError: If it is none.
    """
    lines = head.decode("latin-1").split("\r\n")
    method, target, version = lines[0].split(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0") or not target.startswith("/"):
        raise ValueError("not an HTTP/1 request for a path")
    headers = {}
    for line in lines[1:]:
        if line:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip():
                raise ValueError("a header without a colon, or folded")
            headers[name.lower()] = value.strip()
    return Request(method, target.partition("?")[0], headers)


def plain(status: HTTPStatus, headers: Mapping[str, str] | None = None) -> Response:
    """A status told in words."""
    return Response(
        status, "text/plain; charset=utf-8", f"{status.phrase}\n".encode(), headers or {}
    )


def head_of(response: Response, *, has_length: bool = True) -> bytes:
    """A response's status line and headers."""
    headers = {"Content-Type": response.content_type, **_COMMON_HEADERS, **response.headers}
    if has_length:
        headers["Content-Length"] = str(len(response.body))
    lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
