"""The live page in a real browser: what it shows follows the flight, and it asks nobody else."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.contract.fix import Fix, IntegrityState, Position
from edge_runtime.contract.region_map import RegionMap, load_region_map
from edge_runtime.monitor.config import MonitorConfig
from edge_runtime.monitor.details import FixDetails, PosteriorGrid
from edge_runtime.monitor.monitor import Monitor, open_monitor
from edge_runtime.telemetry.log import TelemetrySample
from tests.waiting import PATIENCE_S

playwright_api: Any = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed (pip install playwright)"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")

SAMPLE_MAP = Path(__file__).parents[2] / "edge_runtime" / "sample" / "town.map"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
RED, BLUE = (220, 10, 10), (10, 10, 220)
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
SAMPLE = TelemetrySample(0.0, 101.5, 20.0, -90.0)
SHOWN_COLOUR = """selector => {
    const image = document.querySelector(selector + " img");
    if (!image || !image.naturalWidth) return null;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0, 1, 1);
    return Array.from(pen.getImageData(0, 0, 1, 1).data.slice(0, 3));
}"""
MAP_COLOUR = """place => {
    const canvas = document.getElementById("canvas");
    const [x, y] = [place[0] * canvas.width, place[1] * canvas.height];
    return Array.from(canvas.getContext("2d").getImageData(x, y, 1, 1).data.slice(0, 3));
}"""
OVERLAPS = """() => {
    const parts = [...document.querySelectorAll(".panel, header > *, #trouble")]
        .filter(part => part.offsetWidth);
    const boxes = parts.map(part => part.getBoundingClientRect());
    const found = [];
    for (let a = 0; a < parts.length; a++) for (let b = a + 1; b < parts.length; b++)
        if (boxes[a].left < boxes[b].right - 1 && boxes[b].left < boxes[a].right - 1 &&
            boxes[a].top < boxes[b].bottom - 1 && boxes[b].top < boxes[a].bottom - 1 &&
            boxes[a].height && boxes[b].height)
            found.push([parts[a].id || parts[a].innerText, parts[b].id || parts[b].innerText]);
    return found;
}"""


@pytest.fixture(scope="module")
def town() -> RegionMap:
    return load_region_map(SAMPLE_MAP)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, timeout=3e3 * PATIENCE_S
        )
        yield opened
        opened.close()


@pytest.fixture
def monitor(town: RegionMap) -> Iterator[Monitor]:
    opened = open_monitor(MonitorConfig(port=0, updates_hz=20.0), town, {"engine": "onnxruntime"})
    yield opened
    opened.close()


@pytest.fixture
def page(browser: Any, monitor: Monitor) -> Iterator[Any]:
    """A page of a browser that knows nothing yet; whatever goes wrong on it fails the test."""
    context = browser.new_context(viewport=DESK)
    context.set_default_timeout(1e3 * PATIENCE_S)
    opened = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(monitor.url)
    opened.wait_for_selector("body[data-link=live]")
    yield opened
    context.close()
    assert all(url.startswith((str(monitor.url), "data:")) for url in asked)
    # The tests' own reading of canvases, and a link that a test cut, are no complaints.
    expected = ("Canvas2D: Multiple readback", "net::ERR_")
    assert [words for words in complaints if not any(e in words for e in expected)] == []


def picture(colour: tuple[int, int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((90, 160, 3), colour, np.uint8)


def fix_at(town: RegionMap, east_m: float, north_m: float, **changes: Any) -> Fix:
    latitude, longitude = town.frame.to_geodetic([east_m, north_m])
    fix = Fix(
        frame="000017.jpg",
        time_s=1.0,
        state=IntegrityState.TRACKING,
        reason="views agree with the map",
        position=Position(float(latitude), float(longitude), 100.0, 100.0, 0.0, 25.0),
        in_map_probability=0.998,
        stage_ms={"encode": 12.5, "search": 0.8},
        latency_ms=44.0,
    )
    return replace(fix, **changes)


def near(colour: Any, wanted: tuple[int, int, int]) -> bool:
    return colour is not None and all(abs(a - b) < 25 for a, b in zip(colour, wanted, strict=True))


def eventually(holds: Any, page: Any) -> bool:
    until_s = time.monotonic() + PATIENCE_S
    while not holds() and time.monotonic() < until_s:
        page.wait_for_timeout(30)
    return bool(holds())


def shows(page: Any, text: str, selector: str = "body") -> bool:
    return eventually(lambda: text in page.inner_text(selector), page)


def test_state_numbers_and_pictures_follow_the_flight(
    page: Any, monitor: Monitor, town: RegionMap
) -> None:
    assert shows(page, "NO FIX YET", "#state")
    monitor.frame(picture(RED), SAMPLE)
    monitor.counters({"captured": 9, "dropped": 4, "undecodable": 1, "temperature_c": 61.2})
    monitor.fix(
        fix_at(town, 0.0, 0.0),
        FixDetails(view=picture(BLUE)[:, :90], matched_tiles=((0, 7.5), (1000, 3.25))),
    )
    assert shows(page, "TRACKING", "#state")
    assert shows(page, "± 25 m", "#radius")
    assert shows(page, "47.200000°")
    assert shows(page, "44 ms")
    assert shows(page, "12.5 ms")
    assert shows(page, "4 / 1")
    assert shows(page, "101.5 m")
    assert shows(page, "61 °C")
    assert shows(page, "7.500", "#matches")
    assert eventually(lambda: near(page.evaluate(SHOWN_COLOUR, "#camera"), RED), page)
    assert eventually(lambda: near(page.evaluate(SHOWN_COLOUR, "#view"), BLUE), page)
    assert eventually(lambda: page.locator("#matches img").count() == 2, page)

    monitor.frame(picture(BLUE), SAMPLE)
    lost = fix_at(town, 0.0, 0.0, state=IntegrityState.LOST, position=None, latency_ms=91.0)
    monitor.fix(lost, FixDetails())
    assert shows(page, "LOST", "#state")
    assert shows(page, "91 ms")
    assert eventually(lambda: page.inner_text("#radius") == "", page)
    assert eventually(lambda: near(page.evaluate(SHOWN_COLOUR, "#camera"), BLUE), page)
    assert shows(page, "none for this frame", "#view")
    assert page.locator("#matches img").count() == 2, "matches stay until the next search"


def test_the_map_shows_the_posterior_and_the_position_where_they_are(
    page: Any, monitor: Monitor, town: RegionMap
) -> None:
    monitor.frame(picture(RED), SAMPLE)
    page.wait_for_timeout(300)
    place = page.evaluate(
        "() => { const c = document.getElementById('canvas'), side = Math.min(c.width, c.height);"
        "return [0.5 + 0.2 * side / c.width, 0.5 - 0.2 * side / c.height]; }"
    )
    before = page.evaluate(MAP_COLOUR, place)
    # The town's preview is 2 km wide: 400 m east and north of its centre is 0.2 of its side.
    mass = np.zeros((40, 40), np.float32)
    mass[9:14, 25:30] = 0.04
    silent = fix_at(town, 0.0, 0.0, state=IntegrityState.ACQUIRING, position=None)
    monitor.fix(silent, FixDetails(posterior=PosteriorGrid(mass, -1000.0, 1000.0, 50.0)))

    def is_hot() -> bool:
        red, _, blue = page.evaluate(MAP_COLOUR, place)
        return bool(red > 150 and red > blue + 40 and [red] != before[:1])

    assert eventually(is_hot, page)
    monitor.fix(fix_at(town, 400.0, 400.0))
    green = (0x3D, 0xDC, 0x84)
    assert eventually(lambda: near(page.evaluate(MAP_COLOUR, place), green), page)
    page.click("#zoom")
    assert eventually(lambda: near(page.evaluate(MAP_COLOUR, [0.5, 0.5]), green), page)


def test_an_old_fix_is_not_shown_as_if_it_were_new(
    page: Any, monitor: Monitor, town: RegionMap
) -> None:
    def is_stale() -> bool:
        return bool(page.get_attribute("body", "data-stale") == "yes")

    def a_new_fix_is_shown_as_new() -> bool:
        """Fixes come until the page has drawn one before it was two seconds old."""
        monitor.fix(fix_at(town, 0.0, 0.0))
        return page.inner_text("#reason") == "views agree with the map" and not is_stale()

    monitor.frame(picture(RED), SAMPLE)
    assert eventually(a_new_fix_is_shown_as_new, page)
    assert shows(page, "; the last: views agree with the map", "#reason")
    assert page.inner_text("#reason").startswith("no fix for ")
    assert is_stale()
    assert eventually(a_new_fix_is_shown_as_new, page)


def test_words_from_the_flight_are_shown_and_never_run(
    page: Any, monitor: Monitor, town: RegionMap
) -> None:
    hostile = '</script><img src=x onerror="document.title=1"><b>bold'
    monitor.frame(picture(RED), SAMPLE)
    monitor.counters({"source_fault": hostile, "own": 3})
    monitor.fix(fix_at(town, 0.0, 0.0, reason=hostile, engine_fault=hostile, frame=hostile))
    assert shows(page, hostile, "#reason")
    assert shows(page, hostile, "#trouble")
    assert page.locator("#reason b, #trouble b").count() == 0
    assert "TRACKING" in page.title()


def test_the_page_says_when_the_runtime_is_gone_and_what_is_wrong(
    page: Any, monitor: Monitor, town: RegionMap
) -> None:
    monitor.frame(picture(RED), None)
    monitor.fix(fix_at(town, 0.0, 0.0))
    assert shows(page, "no telemetry has come yet", "#trouble")
    assert page.get_attribute("body", "data-link") == "live"
    monitor.close()
    assert eventually(lambda: page.get_attribute("body", "data-link") == "gone", page)


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["laptop", "phone"])
def test_nothing_overlaps_or_runs_off_the_screen(
    page: Any, monitor: Monitor, town: RegionMap, size: dict[str, int]
) -> None:
    page.set_viewport_size(size)
    monitor.frame(picture(RED), None)
    monitor.counters({"own_figure_with_a_long_name": 3.25, "source_fault": "camera " * 20})
    stages = dict.fromkeys(("rectify", "odometry", "encode", "search", "filter"), 10.0)
    fix = fix_at(town, 0.0, 0.0, state=IntegrityState.COASTING, reason="why " * 30, stage_ms=stages)
    monitor.fix(fix, FixDetails(picture(BLUE)[:, :90], None, ((0, 7.5), (1000, 3.25))))
    assert shows(page, "COASTING", "#state")
    assert eventually(lambda: page.locator("#matches img").count() == 2, page)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= size["width"]
    assert page.evaluate(OVERLAPS) == []
    if size is DESK:
        assert page.evaluate("document.documentElement.scrollHeight") <= size["height"]


def test_viewers_beyond_the_limit_are_told_and_let_in_later(browser: Any, town: RegionMap) -> None:
    monitor = open_monitor(MonitorConfig(port=0, viewers=1), town)
    context = browser.new_context(viewport=DESK)
    context.set_default_timeout(1e3 * PATIENCE_S)
    try:
        first, second = context.new_page(), context.new_page()
        first.goto(monitor.url)
        first.wait_for_selector("body[data-link=live]")
        assert monitor.is_watched
        second.goto(monitor.url)
        assert shows(second, "too many viewers", "#link")
        first.close()
        second.wait_for_selector("body[data-link=live]")
    finally:
        context.close()
        monitor.close()
