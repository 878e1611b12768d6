"""Log lines for people, machines and systemd's journal."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import Fix, IntegrityState, Position
from edge_runtime.structured_log import FlightLines, LogConfig, RepeatLimit, fields, set_up_logging

LOGGER = logging.getLogger("edge_runtime.test")


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    package = logging.getLogger("edge_runtime")
    root = logging.getLogger()
    handlers, level = list(root.handlers), package.level
    yield
    root.handlers[:] = handlers
    package.setLevel(level)


def logged(config: LogConfig) -> io.StringIO:
    stream = io.StringIO()
    set_up_logging(config, stream, {})
    return stream


def as_json(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fix_of(state: IntegrityState, reason: str = "why") -> Fix:
    position = Position(47.2, 9.6, 1.0, 1.0, 0.0, 12.34) if state.publishes else None
    return Fix("000001", 1.0, state, reason, position)


def test_a_line_for_people_has_the_time_the_level_the_words_and_the_figures() -> None:
    stream = logged(LogConfig())
    LOGGER.warning(
        "log is %d behind", 7, extra=fields(free_gb=1.5, place="a b", latitude_deg=47.196849)
    )
    line = stream.getvalue()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d warning log is 7 behind "
        r'\(free_gb=1\.5 place="a b" latitude_deg=47\.196849\)\n',
        line,
    )


def test_a_json_line_is_an_object_with_the_figures_as_values() -> None:
    stream = logged(LogConfig(log_format="json"))
    LOGGER.info("tracking", extra=fields(radius95_m=12.5, nothing=float("nan"), level="no"))
    (told,) = as_json(stream)
    assert told.pop("time").endswith("Z")
    assert told == {
        "level": "info",
        "logger": "edge_runtime.test",
        "message": "tracking",
        "radius95_m": 12.5,
        "nothing": None,
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_words_cannot_pass_for_another_line_or_command_a_terminal(log_format: Any) -> None:
    stream = logged(LogConfig(log_format=log_format))
    LOGGER.error("camera said: %s", "x\n<0>12:00:00 error \x1b[2Jfake\udc80")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert "\x1b" not in lines[0]
    assert "camera said: x <0>12:00:00 error [2Jfake" in lines[0]


def test_an_exception_is_told_and_in_json_stays_on_its_line() -> None:
    stream = logged(LogConfig(log_format="json"))
    try:
        raise OSError("disk full")
    except OSError:
        LOGGER.exception("log stopped")
    (told,) = as_json(stream)
    assert "OSError: disk full" in told["exception"]


def test_in_the_journal_every_line_has_its_priority_and_none_a_clock(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with path.open("w", encoding="utf-8") as stream:
        status = os.fstat(stream.fileno())
        journal = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        set_up_logging(LogConfig(log_level="debug"), stream, journal)
        for level in ("debug", "info", "warning", "error", "critical"):
            getattr(LOGGER, level)(level)
        try:
            raise ValueError("one\ntwo")
        except ValueError:
            LOGGER.exception("failed")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[:5] == ["<7>debug", "<6>info", "<4>warning", "<3>error", "<3>critical"]
    assert all(line.startswith("<3>") for line in lines[5:])
    assert "<3>two" in lines


def test_another_stream_than_the_journal_gets_no_priorities(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("w", encoding="utf-8") as stream:
        set_up_logging(LogConfig(), stream, {"JOURNAL_STREAM": "1:2"})
        LOGGER.info("words")
    assert not path.read_text(encoding="utf-8").startswith("<")


def test_what_repeats_is_held_back_and_counted() -> None:
    now_s = 0.0
    limit = RepeatLimit(2, 10.0, lambda: now_s)

    def passes(
        words: str, *values: object, level: int = logging.WARNING
    ) -> logging.LogRecord | None:
        record = logging.LogRecord("edge_runtime.x", level, "", 0, words, values, None)
        return record if limit.filter(record) else None

    assert [bool(passes("peer %s is gone", n)) for n in range(100)] == [True, True] + [False] * 98
    assert passes("another"), "others are not held back"
    assert passes("peer %s is gone", 1, level=logging.ERROR)
    now_s = 10.0
    record = passes("peer %s is gone", 5)
    assert record is not None
    assert record.__dict__["held_back"] == 98
    record = passes("peer %s is gone", 5)
    assert record is not None
    assert "held_back" not in record.__dict__


def test_the_count_of_what_was_held_back_is_in_the_line() -> None:
    stream = logged(LogConfig(log_repeats=1, log_repeat_s=1e-9))
    LOGGER.warning("gone")
    handler = logging.getLogger().handlers[-1]
    (limit,) = handler.filters
    assert isinstance(limit, RepeatLimit)
    limit._window_s = 1e9
    for _ in range(5):
        LOGGER.warning("gone")
    limit._window_s = 1e-9
    LOGGER.warning("gone")
    assert stream.getvalue().splitlines()[-1].endswith("gone [and 5 more like it before]")


def test_many_different_messages_do_not_fill_the_memory() -> None:
    limit = RepeatLimit(2, 10.0, lambda: 0.0)
    for number in range(2000):
        limit.filter(logging.LogRecord("x", 30, "", 0, f"words {number}", (), None))
    assert len(limit._seen) == 500


def test_a_flight_is_told_by_its_changes_of_state() -> None:
    stream = logged(LogConfig(log_format="json"))
    lines = FlightLines(0.0)
    for state in ("INIT", "INIT", "TRACKING", "TRACKING", "LOST", "TRACKING"):
        lines.fix(fix_of(IntegrityState(state)))
    told = as_json(stream)
    assert [(line["level"], line["message"]) for line in told] == [
        ("info", "INIT: why"),
        ("info", "TRACKING: why"),
        ("warning", "LOST: why"),
        ("info", "TRACKING: why"),
    ]
    assert told[1]["previous"] == "INIT"
    assert told[1]["radius95_m"] == 12.3
    assert "radius95_m" not in told[2]


def test_states_that_flutter_do_not_hide_the_rare_ones() -> None:
    stream = logged(LogConfig(log_format="json"))
    lines = FlightLines(0.0)
    for _ in range(50):
        lines.fix(fix_of(IntegrityState.TRACKING))
        lines.fix(fix_of(IntegrityState.COASTING))
    lines.fix(fix_of(IntegrityState.LOST))
    told = as_json(stream)
    assert len(told) == 7
    assert told[-1]["message"] == "LOST: why"


def test_figures_are_logged_each_so_many_seconds() -> None:
    stream = logged(LogConfig(log_format="json"))
    now_s = 0.0
    lines = FlightLines(30.0, now_s=lambda: now_s)
    for number in range(100):
        now_s = float(number)
        lines.counters({"captured": number, "source_fault": "", "link": {"sent": 2 * number}})
    told = as_json(stream)
    assert [(line["captured"], line["link_sent"]) for line in told] == [
        (30, 60),
        (60, 120),
        (90, 180),
    ]
    assert "source_fault" not in told[0]


def test_a_second_set_up_replaces_the_first() -> None:
    first, second = logged(LogConfig()), logged(LogConfig(log_level="error"))
    LOGGER.warning("quiet")
    LOGGER.error("loud")
    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1


def test_impossible_limits_are_refused() -> None:
    with pytest.raises(ConfigError, match="log_repeats"):
        LogConfig(log_repeats=0)
