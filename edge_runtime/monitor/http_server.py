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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

from edge_runtime.monitor.http_message import (
    EventStream,
    Request,
    Respond,
    Response,
    head_of,
    parse_request,
    plain,
)
from edge_runtime.monitor.processor_budget import ProcessorBudget

logger = logging.getLogger(__name__)

KERNEL_QUEUE = 16
LARGEST_HEAD_BYTES = 8192
_TICK_S = 0.2


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


@dataclass
class ServerCounts:
    """What became of connections."""

    answered: int = 0
    refused: int = 0
    """Turned away, cut off, gone before they were answered, or no HTTP."""
    viewers: int = 0


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
        writer.write(head_of(response) + body)
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
            writer.write(head_of(start, has_length=False))
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


def _turn_away(connection: socket.socket) -> None:
    refusal = plain(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "5"})
    with connection, contextlib.suppress(OSError):
        connection.setblocking(False)
        connection.send(head_of(refusal) + refusal.body)
