"""A read-only HTTP server that no visitor can make expensive.

One thread, one event loop, no thread per connection: a flood waits in the kernel's short queue of
connections. Heads, times, open connections and event streams are bounded, and the thread spends at
most a given share of one core; past it, requests wait. When all places are taken, the oldest
connection that still has not sent its request makes room, so that slow clients cannot lock others
out. Every answer closes its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

logger = logging.getLogger(__name__)

KERNEL_QUEUE = 16
LARGEST_HEAD_BYTES = 8192
_BURST_S = 0.1
_TICK_S = 0.2
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
class HttpLimits:
    """What visitors may take."""

    connections: int = 32
    """Open at once."""
    streams: int = 4
    """Event streams at once."""
    request_s: float = 3.0
    """A request's head must be whole by then."""
    response_s: float = 5.0
    """A response, or one event of a stream, must be taken by then."""
    processor_share: float = 0.2
    """Share of one core that the server's thread may take."""


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


@dataclass
class ServerCounts:
    """What became of connections."""

    answered: int = 0
    refused: int = 0
    """Turned away, cut off, gone before they were answered, or no HTTP."""
    viewers: int = 0


class ProcessorBudget:
    """Whether this thread has spent more than its share of a core."""

    def __init__(
        self,
        share: float,
        wall_s: Callable[[], float] = time.monotonic,
        spent_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self._share = share
        self._wall_s, self._spent_s = wall_s, spent_s
        self._at = (wall_s(), spent_s())
        self._credit_s = _BURST_S

    def overdrawn_s(self) -> float:
        """How long to rest until the share is kept again; 0 where it is."""
        now = (self._wall_s(), self._spent_s())
        earned_s = self._share * (now[0] - self._at[0]) - (now[1] - self._at[1])
        self._at = now
        self._credit_s = min(_BURST_S, self._credit_s + earned_s)
        return max(0.0, -self._credit_s / self._share)


class HttpServer:
    """Answers GET and HEAD in a thread of its own.

    Args:
        listener: Bound socket; it is closed with the server.
        respond: Called in the server's thread; what it raises becomes a 500.
        tick: Called in the server's thread a few times a second.
    """

    def __init__(
        self,
        listener: socket.socket,
        respond: Respond,
        limits: HttpLimits,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._listener = listener
        self._respond = respond
        self._limits = limits
        self._tick = tick
        self.port = int(listener.getsockname()[1])
        """The TCP port that is listened on."""
        self.counts = ServerCounts()
        self._unfinished: dict[asyncio.Task[None], None] = {}
        self._open: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        listener.listen(KERNEL_QUEUE)
        listener.setblocking(False)
        self._thread.start()
        self._is_up.wait()

    def close(self) -> None:
        """Stop listening, and cut off who is still connected."""
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(stop.set)
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            logger.exception("the monitor ended; the flight goes on without")
        finally:
            self._is_up.set()
            self._listener.close()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._budget = ProcessorBudget(self._limits.processor_share)
        workers = [asyncio.create_task(self._accept()), asyncio.create_task(self._keep_ticking())]
        self._is_up.set()
        try:
            await self._stop.wait()
        finally:
            tasks = [*workers, *self._open]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_ticking(self) -> None:
        while True:
            self._tick()
            await asyncio.sleep(_TICK_S)

    async def _rest(self) -> None:
        """Wait while the thread has overdrawn its share of the processor."""
        while (rest_s := self._budget.overdrawn_s()) > 0.0:
            await asyncio.sleep(min(rest_s, 1.0))

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._rest()
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError:  # too many open files, or a visitor who left at once
                self.counts.refused += 1
                await asyncio.sleep(0.1)
                continue
            if len(self._open) >= self._limits.connections and not self._make_room():
                self.counts.refused += 1
                _turn_away(connection)
            else:
                task = loop.create_task(self._converse(connection))
                self._open.add(task)
                self._unfinished[task] = None
                task.add_done_callback(self._forget)
            await asyncio.sleep(0)  # accepting again at once would never let the others work

    def _make_room(self) -> bool:
        for task in self._unfinished:
            del self._unfinished[task]
            self._open.discard(task)
            task.cancel()
            return True
        return False

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        self._unfinished.pop(task, None)

    async def _converse(self, connection: socket.socket) -> None:
        try:
            reader, writer = await asyncio.open_connection(
                sock=connection, limit=LARGEST_HEAD_BYTES
            )
        except BaseException:
            connection.close()
            raise
        writer.transport.set_write_buffer_limits(high=0)  # drained means sent, not queued
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.CancelledError):
            self.counts.refused += 1
            writer.transport.abort()
        except Exception:
            logger.exception("the monitor could not answer a request")
            self.counts.refused += 1
            writer.transport.abort()
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        limits = self._limits
        request: Request | None = None
        try:
            with _cut_off_after(limits.request_s, writer):
                request = parse_request(await reader.readuntil(b"\r\n\r\n"))
        except asyncio.LimitOverrunError:
            response: Response | EventStream = plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except asyncio.IncompleteReadError:
            self.counts.refused += 1
            return
        except ValueError:
            response = plain(HTTPStatus.BAD_REQUEST)
        else:
            response = self._response_to(request)
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._unfinished.pop(task, None)
        if isinstance(response, EventStream):
            await self._stream(response, writer)
            return
        body = b"" if request is not None and request.method == "HEAD" else response.body
        writer.write(_head(response) + body)
        with _cut_off_after(limits.response_s, writer):
            await writer.drain()
        if request is None:
            self.counts.refused += 1
        else:
            self.counts.answered += 1

    def _response_to(self, request: Request) -> Response | EventStream:
        if request.method not in ("GET", "HEAD"):
            return plain(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})
        response = self._respond(request)
        if isinstance(response, EventStream):
            if request.method == "HEAD":
                return plain(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET"})
            if self.counts.viewers >= self._limits.streams:
                return plain(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "5"})
        return response

    async def _stream(self, stream: EventStream, writer: asyncio.StreamWriter) -> None:
        self.counts.answered += 1
        self.counts.viewers += 1
        try:
            start = Response(HTTPStatus.OK, "text/event-stream; charset=utf-8", b"")
            writer.write(_head(start, has_length=False))
            while True:
                message = stream.next_message()
                # A comment now and then finds out who has left without a word.
                event = f"data: {message}\n\n" if message is not None else ":\n\n"
                writer.write(event.encode("utf-8"))
                with _cut_off_after(self._limits.response_s, writer):
                    await writer.drain()
                await asyncio.sleep(stream.period_s)
                await self._rest()
        finally:
            self.counts.viewers -= 1


@contextlib.contextmanager
def _cut_off_after(limit_s: float, writer: asyncio.StreamWriter) -> Iterator[None]:
    """Cut a visitor off who keeps the block waiting for longer.

    Not `asyncio.wait_for`: before Python 3.12 it may swallow the cancelling of its caller.
    """
    was_cut = False

    def cut() -> None:
        nonlocal was_cut
        was_cut = True
        writer.transport.abort()

    timer = asyncio.get_running_loop().call_later(limit_s, cut)
    try:
        yield
    finally:
        timer.cancel()
    if was_cut:  # an aborted drain ends like one that is done
        raise ConnectionAbortedError


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


def _head(response: Response, *, has_length: bool = True) -> bytes:
    headers = {"Content-Type": response.content_type, **_COMMON_HEADERS, **response.headers}
    if has_length:
        headers["Content-Length"] = str(len(response.body))
    lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _turn_away(connection: socket.socket) -> None:
    refusal = plain(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "5"})
    with connection, contextlib.suppress(OSError):
        connection.setblocking(False)
        connection.send(_head(refusal) + refusal.body)
