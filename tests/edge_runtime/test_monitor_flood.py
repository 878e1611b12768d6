"""What visitors can do to the monitor, and what they cannot do to the flight."""

from __future__ import annotations

import contextlib
import gc
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.fix import Fix, IntegrityState, Position
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.monitor.config import MonitorConfig
from edge_runtime.monitor.http_message import EventStream, Request, Response, parse_request
from edge_runtime.monitor.http_server import HttpLimits, HttpServer
from edge_runtime.monitor.memory import memory_use
from edge_runtime.monitor.monitor import Monitor, open_monitor
from edge_runtime.monitor.processor_budget import ProcessorBudget
from edge_runtime.telemetry.log import TelemetrySample
from tests.waiting import PATIENCE_S, wait_until

SAMPLE_MAP = Path(__file__).parents[2] / "edge_runtime" / "sample" / "town.map"
LARGE = b"x" * 30_000_000
PATIENT = HttpLimits(
    connections=8, streams=1, request_s=PATIENCE_S, response_s=PATIENCE_S, processor_share=1.0
)
SHORT = replace(PATIENT, request_s=0.4, response_s=0.4)

FLOOD = """
import socket, sys, threading, time
port, until, count = int(sys.argv[1]), time.monotonic() + float(sys.argv[2]), 0
paths = ["/metrics", "/healthz", "/", "/camera.jpg", "/map.jpg", "/events", "/nothing"]
def visit(number):
    global count
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0) as visitor:
                kind = (number + count) % 10
                if kind == 7:
                    visitor.sendall(b"GET / HTTP/1.1\\r\\nX: " + b"a" * 100000)
                elif kind == 8:
                    visitor.sendall(b"GET /metrics HT")
                elif kind == 9:
                    visitor.sendall(bytes(range(256)) * 4)
                else:
                    visitor.sendall(f"GET {paths[kind]} HTTP/1.1\\r\\n\\r\\n".encode())
                    visitor.recv(65536)
        except OSError:
            pass
        count += 1
print("begun", flush=True)
threads = [threading.Thread(target=visit, args=(number,)) for number in range(40)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(count)
"""


def respond(request: Request) -> Response | EventStream:
    if request.path == "/events":
        return EventStream(lambda: "news", 0.02)
    if request.path == "/bug":
        raise ZeroDivisionError
    body = LARGE if request.path == "/large" else b"fine\n"
    return Response(HTTPStatus.OK, "text/plain", body)


@contextlib.contextmanager
def serving(limits: HttpLimits = PATIENT) -> Iterator[HttpServer]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = HttpServer(listener, respond, limits)
    try:
        yield server
    finally:
        server.close()


def connect(server: HttpServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)


def ask(server: HttpServer, request: bytes) -> bytes:
    """The whole answer; empty where the connection was cut without one."""
    with connect(server) as visitor:
        visitor.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := visitor.recv(1 << 16):
                answer += part
        return answer


FINE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_a_request_is_answered_and_its_connection_closed() -> None:
    with serving() as server:
        answer = ask(server, FINE)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nfine\n")
        assert b"Connection: close" in answer
        head = ask(server, FINE.replace(b"GET", b"HEAD"))
        assert head.endswith(b"\r\n\r\n")
        assert b"Content-Length: 5\r\n" in head


@pytest.mark.parametrize(
    "request_head",
    [
        b"\x00\xff\x16\x03\x01\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http://elsewhere/ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n folded: c\r\n\r\n",
        b"GET / more HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_request_is_told_so(request_head: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_request(request_head)
    with serving() as server:
        assert ask(server, request_head).startswith(b"HTTP/1.1 400 ")
        assert ask(server, FINE).startswith(b"HTTP/1.1 200 ")


@given(
    head=st.binary(max_size=300) | st.from_regex(rb"[A-Z]+ /\S* HTTP/1.[01]\r\n([!-~]*: ?.*\r\n)*")
)
def test_whatever_bytes_come_are_a_request_or_told_to_be_none(head: bytes) -> None:
    try:
        request = parse_request(head)
    except ValueError:
        return
    assert request.path.startswith("/")
    assert "?" not in request.path


def test_a_query_is_no_part_of_the_path_and_header_names_have_no_case() -> None:
    request = parse_request(b"GET /camera.jpg?17 HTTP/1.1\r\nHOST:  a:1 \r\n\r\n")
    assert request == Request("GET", "/camera.jpg", {"host": "a:1"})


def test_oversized_headers_are_refused_unread() -> None:
    with serving() as server:
        with connect(server) as visitor, contextlib.suppress(OSError):
            for _ in range(500):
                visitor.sendall(b"X: " + b"a" * 20_000 + b"\r\n")
        assert ask(server, FINE).startswith(b"HTTP/1.1 200 ")
        assert wait_until(lambda: server.counts.refused >= 1)


def test_visitors_who_dawdle_over_their_request_are_cut_off() -> None:
    with serving(SHORT) as server, contextlib.ExitStack() as visitors:
        for _ in range(6):
            visitor = visitors.enter_context(connect(server))
            visitor.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert wait_until(lambda: server.counts.refused == 6)


def test_slow_visitors_lock_nobody_out_for_the_oldest_makes_room() -> None:
    with serving() as server, contextlib.ExitStack() as visitors:
        for _ in range(40):  # five times as many as there are places
            visitor = visitors.enter_context(connect(server))
            visitor.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert ask(server, FINE).startswith(b"HTTP/1.1 200 ")
        assert server.counts.refused >= 32


def test_a_visitor_who_does_not_read_is_cut_off() -> None:
    with serving(SHORT) as server, connect(server) as visitor:
        visitor.sendall(FINE.replace(b"GET /", b"GET /large"))
        assert wait_until(lambda: server.counts.refused == 1)


def test_further_viewers_are_told_to_wait_and_served_when_one_has_left() -> None:
    stream = FINE.replace(b"GET /", b"GET /events")
    with serving() as server:
        with connect(server) as viewer:
            viewer.sendall(stream)
            assert viewer.recv(1000).startswith(b"HTTP/1.1 200 ")
            assert server.counts.viewers == 1
            refusal = ask(server, stream)
            assert refusal.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: " in refusal
        assert wait_until(lambda: server.counts.viewers == 0)
        with connect(server) as viewer:
            viewer.sendall(stream)
            assert viewer.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_a_defect_in_an_answer_ends_that_connection_alone() -> None:
    with serving() as server:
        assert ask(server, FINE.replace(b"GET /", b"GET /bug")) == b""
        assert ask(server, FINE).startswith(b"HTTP/1.1 200 ")


def test_closing_cuts_off_who_is_connected_and_frees_the_port() -> None:
    with serving() as server, connect(server) as viewer:
        viewer.sendall(FINE.replace(b"GET /", b"GET /events"))
        viewer.recv(1000)
        port = server.port
        server.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1.0)


def test_a_budget_that_is_overdrawn_is_rested_until_the_share_is_kept() -> None:
    wall_s, spent_s = 0.0, 0.0
    budget = ProcessorBudget(0.25, lambda: wall_s, lambda: spent_s)
    assert budget.overdrawn_s() == 0.0
    wall_s, spent_s = 1.0, 1.0  # a second of work, of which 0.25 s and the burst were earned
    assert budget.overdrawn_s() == pytest.approx((0.75 - 0.1) / 0.25)
    wall_s += budget.overdrawn_s()
    assert budget.overdrawn_s() == pytest.approx(0.0, abs=1e-9)


def _processor_s(thread: threading.Thread) -> float:
    """Processor time of a thread of this process, as Linux counts it."""
    schedule = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text()
    return int(schedule.split()[0]) / 1e9


def _fly(monitor: Monitor, seconds: float, rate_hz: float) -> tuple[float, float]:
    """A flight loop of a rate; its rate, and the median cost of handing a frame over, seconds."""
    image = np.zeros((720, 1280, 3), np.uint8)
    sample = TelemetrySample(0.0, 100.0, 20.0, -90.0)
    position = Position(47.2, 9.6, 20.0, 20.0, 0.0, 12.5)
    flown, costs = 0, []
    begin_s = time.monotonic()
    while (now_s := time.monotonic()) < begin_s + seconds:
        fix = Fix(f"{flown:06d}", now_s, IntegrityState.TRACKING, "fine", position)
        started_s = time.perf_counter()
        monitor.frame(image, sample)
        monitor.fix(fix)
        monitor.counters({"captured": flown})
        costs.append(time.perf_counter() - started_s)
        flown += 1
        time.sleep(max(0.0, begin_s + flown / rate_hz - time.monotonic()))
    return flown / (time.monotonic() - begin_s), float(np.median(costs))


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="needs Linux's /proc")
def test_a_flood_costs_the_flight_neither_its_rate_nor_memory() -> None:
    share, seconds, rate_hz = 0.2, 4.0, 20.0
    config = MonitorConfig(port=0, processor_share=share)
    monitor = open_monitor(config, load_region_map(SAMPLE_MAP))
    try:
        _, calm_cost_s = _fly(monitor, 0.5, rate_hz)
        server = monitor._server
        assert server is not None
        command = [sys.executable, "-c", FLOOD, str(server.port)]
        # A first wave fills what is kept once: the map's preview, buffers, the allocator's arenas.
        subprocess.run([*command, "1.0"], check=True, capture_output=True, timeout=PATIENCE_S)
        gc.collect()
        before = memory_use()
        with subprocess.Popen([*command, str(seconds + 1.0)], stdout=subprocess.PIPE) as flood:
            assert flood.stdout is not None
            assert flood.stdout.readline() == b"begun\n"
            begun_s, spent_s = time.monotonic(), _processor_s(server._thread)
            flown_hz, cost_s = _fly(monitor, seconds, rate_hz)
            spent_s = _processor_s(server._thread) - spent_s
            lasted_s = time.monotonic() - begun_s
            visits = int(flood.communicate(timeout=PATIENCE_S)[0])
        gc.collect()
        after = memory_use()
        assert before is not None
        assert after is not None
        assert visits > 100
        assert server.counts.refused > 0
        assert spent_s < 1.3 * share * lasted_s + 0.2
        assert flown_hz >= 0.8 * rate_hz
        assert cost_s < 1e-3 + 5.0 * calm_cost_s
        assert after.anonymous - before.anonymous < 12e6
        assert wait_until(lambda: ask(server, FINE).startswith(b"HTTP/1.1 200 "))
    finally:
        monitor.close()
