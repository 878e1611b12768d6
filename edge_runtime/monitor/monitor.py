"""The monitor of a flight: takes what the loop hands over, and shows it read-only over HTTP."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import logging
import platform
import re
import socket
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime import __version__
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import Fix
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.monitor.config import MonitorConfig
from edge_runtime.monitor.details import FixDetails
from edge_runtime.monitor.exposition import CONTENT_TYPE
from edge_runtime.monitor.health import Health, health_of
from edge_runtime.monitor.http_message import EventStream, Request, Response, plain
from edge_runtime.monitor.http_server import HttpLimits, HttpServer, ServerCounts
from edge_runtime.monitor.live_state import LiveState
from edge_runtime.monitor.metrics import metrics_text
from edge_runtime.monitor.pictures import Pictures
from edge_runtime.monitor.tally import (
    Handover,
    SeenDetails,
    SeenFrame,
    Tally,
)
from edge_runtime.telemetry.log import TelemetrySample

logger = logging.getLogger(__name__)

_PAGE_FILE = Path(__file__).with_name("live_page.html")
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


class Monitor:
    """Takes a flight's frames, fixes and counters; never makes the flight loop wait.

    Use `open_monitor`. All methods are for the flight loop's thread but `close`.
    """

    def __init__(
        self,
        config: MonitorConfig,
        region_map: RegionMap,
        build: Mapping[str, str],
        listener: socket.socket | None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._now_s = now_s
        self._handover = Handover(started_s=now_s())
        self._tally = Tally(self._handover, region_map.frame)
        self._build = dict(build)
        self._details = 0
        self._pictures = Pictures(self._tally, region_map)
        self._state = LiveState(
            self._tally, region_map, self._pictures, self._build, self.health, now_s
        )
        self._page = _page_response()
        self._names = _names_of_this_machine(config)
        self._server: HttpServer | None = None
        if listener is not None:
            limits = HttpLimits(streams=config.viewers, processor_share=config.processor_share)
            self._server = HttpServer(listener, self._respond, limits, self._tally.refresh)

    @property
    def url(self) -> str | None:
        """Where the live page is; None where nothing listens."""
        if self._server is None:
            return None
        host = self._config.address
        return f"http://{f'[{host}]' if ':' in host else host}:{self._server.port}/"

    @property
    def is_watched(self) -> bool:
        """Whether somebody looks at the live page, and it is time to show something new.

        Only then are details worth gathering.
        """
        if self._server is None or self._server.counts.viewers == 0:
            return False
        seen = self._handover.details
        # A little early is better than a frame late.
        return seen is None or (self._now_s() - seen.at_s) * self._config.updates_hz > 0.8

    def frame(self, image: npt.NDArray[np.uint8] | None, sample: TelemetrySample | None) -> None:
        """A frame that the loop took up.

        Args:
            image: (H, W, 3) RGB, held until the next frame and never copied: its pixels must not
                be changed any more. None if it cannot be decoded.
            sample: What telemetry said at its exposure, None if nothing.
        """
        handover, now_s = self._handover, self._now_s()
        handover.frames += 1
        handover.alive_at_s = now_s
        if sample is not None:
            handover.sample_at_s = now_s
        handover.frame = SeenFrame(handover.frames, image, sample, now_s)

    def fix(self, fix: Fix, details: FixDetails | None = None) -> None:
        """The localiser's word on the last frame.

        Args:
            details: What it saw; worth gathering only while `is_watched`.
        """
        now_s = self._now_s()
        self._handover.alive_at_s = now_s
        if details is not None:
            self._details += 1
            seen = SeenDetails(self._details, details, now_s)
            self._handover.details = seen
            if details.has_matches:
                self._handover.matched = seen
        self._handover.fixes.append((fix, now_s))

    def counters(self, values: Mapping[str, object]) -> None:
        """The loop's figures, all of them each time; also a sign of life.

        Args:
            values: Numbers by name: those of `monitor.metrics.COUNTERS`, `telemetry_age_s`, others
                in small letters and underscores. Texts as `source_fault` are shown but are no
                metric. A group, `{"mavlink": {"sent": 3}}`, is told as `mavlink_sent`.
        """
        now_s = self._now_s()
        self._handover.counters = (dict(values), now_s)
        self._handover.alive_at_s = now_s

    def health(self) -> Health:
        """Whether frames and telemetry arrive, the engine is sound and the loop turns."""
        return health_of(self._tally, self._config, self._now_s())

    def metrics(self) -> str:
        """The metrics as `/metrics` tells them."""
        if self._server is None:
            self._tally.refresh()
            counts = ServerCounts()
        else:
            counts = self._server.counts
        return metrics_text(self._tally, self.health(), self._build, counts, self._now_s())

    def close(self) -> None:
        """Stop listening; viewers are cut off."""
        if self._server is not None:
            self._server.close()

    def _respond(self, request: Request) -> Response | EventStream:
        if not self._is_for_us(request):
            return plain(HTTPStatus.MISDIRECTED_REQUEST)
        self._tally.refresh()
        path = request.path
        if path == "/":
            return self._page
        if path == "/events":
            return EventStream(self._state.follow(), 1.0 / self._config.updates_hz)
        if path == "/about.json":
            return _json(HTTPStatus.OK, self._state.about())
        if path == "/metrics":
            return Response(HTTPStatus.OK, CONTENT_TYPE, self.metrics().encode("utf-8"))
        if path == "/healthz":
            health = self.health()
            status = HTTPStatus.OK if health.is_healthy else HTTPStatus.SERVICE_UNAVAILABLE
            fix = self._tally.fix
            state = {"state": None if fix is None else fix.state.value}
            return _json(status, json.dumps({**health.as_dict(), **state}))
        picture = self._pictures.named(path[1:])
        if picture is None:
            return plain(HTTPStatus.NOT_FOUND)
        place = picture.west_north_width_height_m
        headers = {} if place is None else {"X-Place": ",".join(f"{value:.3f}" for value in place)}
        return Response(HTTPStatus.OK, picture.content_type, picture.data, headers)

    def _is_for_us(self, request: Request) -> bool:
        """Whether the browser means this machine, not a name that was pointed at it."""
        host = request.headers.get("host", "")
        name = re.sub(r":\d{1,5}\Z", "", host).strip("[]").rstrip(".").lower()
        if not name or name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def open_monitor(
    config: MonitorConfig, region_map: RegionMap, build: Mapping[str, str] | None = None
) -> Monitor:
    """Start to listen, and be ready for a flight.

    A port that is taken costs the monitor, not the flight: that is logged, and nothing listens.

    Args:
        build: What flies, for `build_info` and the page: engine, precision, encoder, map.
    Raises:
        ConfigError: If the address is none.
    """
    flies = {
        "version": __version__,
        "python": platform.python_version(),
        "map": region_map.folder.name,
        "encoder": region_map.encoder_sha256[:12],
        **{name: str(value) for name, value in (build or {}).items()},
    }
    listener = _listener(config) if config.enabled else None
    monitor = Monitor(config, region_map, flies, listener)
    if monitor.url is not None:
        logger.info("monitor: %s", monitor.url)
    return monitor


def _listener(config: MonitorConfig) -> socket.socket | None:
    try:
        address = ipaddress.ip_address(config.address)
    except ValueError:
        raise ConfigError(
            f"monitor.address must be an address such as 127.0.0.1, is {config.address!r}"
        ) from None
    if not address.is_loopback:
        logger.warning(
            "the monitor listens on %s: whoever reaches port %d sees camera and position",
            config.address,
            config.port,
        )
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        listener = socket.socket(family, socket.SOCK_STREAM | getattr(socket, "SOCK_CLOEXEC", 0))
    except OSError as error:
        logger.warning("no monitor: %s", error.strerror or error)
        return None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.address, config.port))
    except OSError as error:
        listener.close()
        logger.warning(
            "no monitor: %s port %d: %s (monitor.port chooses another)",
            config.address,
            config.port,
            error.strerror or error,
        )
        return None
    return listener


def _names_of_this_machine(config: MonitorConfig) -> frozenset[str]:
    own = socket.gethostname().lower()
    given = (name.lower().rstrip(".") for name in config.host_names)
    return frozenset({"localhost", own, f"{own}.local", *given})


def _page_response() -> Response:
    """The page with a policy that lets in nothing but its own script and style."""
    page = _PAGE_FILE.read_bytes()
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _INLINE.findall(page.decode("utf-8")):
        digest = base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")
        hashes[kind].append(f"'sha256-{digest}'")
    policy = (
        f"default-src 'none'; script-src {' '.join(hashes['script'])}; "
        f"style-src {' '.join(hashes['style'])}; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return Response(
        HTTPStatus.OK, "text/html; charset=utf-8", page, {"Content-Security-Policy": policy}
    )


def _json(status: HTTPStatus, text: str) -> Response:
    return Response(status, "application/json", f"{text}\n".encode())
