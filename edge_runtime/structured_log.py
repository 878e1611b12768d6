"""Logs as lines for people or JSON objects for machines, on stderr or into systemd's journal.

A record may carry figures beside its words: `logger.info("...", extra=fields(radius95_m=12.0))`.
What repeats is told a few times a while and then counted.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal, TextIO

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import Fix, IntegrityState

LOGGER_NAME = "edge_runtime"
_FIELDS, _REPEAT_KEY = "figures", "repeat_key"
_KEYS_REMEMBERED = 500
_LONGEST_TEXT = 2000
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_GRAVE = (IntegrityState.LOST, IntegrityState.OUT_OF_MAP, IntegrityState.FAULT)


@dataclass(frozen=True)
class LogConfig:
    """What is logged, and in what form."""

    log_format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object a line."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""
    log_repeats: int = 3
    """So often the same message is told within `log_repeat_s`; further ones are counted."""
    log_repeat_s: float = 30.0
    """Seconds over which repetitions are counted."""

    def __post_init__(self) -> None:
        if self.log_repeats < 1 or not self.log_repeat_s > 0.0:
            raise ConfigError("log_repeats must be 1 or more, its seconds above 0")


def set_up_logging(
    config: LogConfig,
    stream: TextIO | None = None,
    environment: Mapping[str, str] | None = None,
) -> logging.Handler:
    """Send all of this package's records to a stream; an earlier set-up is replaced.

    Where the stream is systemd's journal, each line carries its priority, and the journal's own
    clock.

    Args:
        stream: stderr if left out.
        environment: The process's own if left out.
    """
    target = sys.stderr if stream is None else stream
    in_journal = _is_journal(target, os.environ if environment is None else environment)
    handler = logging.StreamHandler(target)
    handler.setFormatter(LineFormatter(config.log_format, in_journal=in_journal))
    handler.addFilter(RepeatLimit(config.log_repeats, config.log_repeat_s))
    root = logging.getLogger()
    for previous in [h for h in root.handlers if getattr(h, "is_structured", False)]:
        root.removeHandler(previous)
    handler.is_structured = True  # type: ignore[attr-defined]
    root.addHandler(handler)
    logging.getLogger(LOGGER_NAME).setLevel(_LEVELS[config.log_level])
    return handler


@contextmanager
def logging_as(config: LogConfig) -> Iterator[None]:
    """Log as configured for the length of a block."""
    handler = set_up_logging(config)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def fields(repeat_key: str | None = None, **figures: object) -> dict[str, Any]:
    """What a record carries beside its words, as logging's `extra`.

    Args:
        repeat_key: Tells repetitions apart where the message's template does not.
    """
    return {_FIELDS: figures, _REPEAT_KEY: repeat_key}


class LineFormatter(logging.Formatter):
    """One record as one line; a traceback follows as further lines, in JSON inside the object."""

    def __init__(self, log_format: str, *, in_journal: bool) -> None:
        super().__init__()
        self._as_json = log_format == "json"
        self._in_journal = in_journal

    def format(self, record: logging.LogRecord) -> str:
        """The record's line or lines, without an end of line."""
        told = self._json(record) if self._as_json else self._text(record)
        if not self._in_journal:
            return told
        prefix = f"<{_priority(record.levelno)}>"
        return "\n".join(f"{prefix}{line}" for line in told.splitlines())

    def _text(self, record: logging.LogRecord) -> str:
        words = _one_line(_message(record))
        figures = " ".join(f"{name}={_plain(value)}" for name, value in _figures(record).items())
        line = f"{words} ({figures})" if figures else words
        if not self._in_journal:
            clock = time.strftime("%H:%M:%S", time.localtime(record.created))
            line = f"{clock} {record.levelname.lower():7} {line}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line

    def _json(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, timezone.utc)
        told: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _one_line(_message(record)),
        }
        for name, value in _figures(record).items():
            told.setdefault(name, _json_value(value))
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            told["exception"] = trace.encode("utf-8", "replace").decode("utf-8")
        return json.dumps(told, ensure_ascii=False, allow_nan=False)


class RepeatLimit(logging.Filter):
    """Lets the same message through a few times a while; the next one that passes has the count.

    The same are records of one logger and level with one template, whatever was put into it.
    """

    def __init__(
        self, repeats: int, window_s: float, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._repeats, self._window_s, self._now_s = repeats, window_s, now_s
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, int, str], _Repeats] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record passes."""
        template = getattr(record, _REPEAT_KEY, None) or str(record.msg)
        key = (record.name, record.levelno, template)
        now_s = self._now_s()
        with self._lock:
            repeats = self._seen.pop(key, None) or _Repeats(now_s)
            self._seen[key] = repeats  # the latest stand last
            if len(self._seen) > _KEYS_REMEMBERED:
                self._seen.popitem(last=False)
            if now_s - repeats.since_s >= self._window_s:
                repeats.since_s, repeats.passed = now_s, 0
            if repeats.passed >= self._repeats:
                repeats.held_back += 1
                return False
            repeats.passed += 1
            held_back, repeats.held_back = repeats.held_back, 0
        if held_back:
            record.held_back = held_back
        return True


@dataclass
class _Repeats:
    since_s: float
    passed: int = 0
    held_back: int = 0


class FlightLines:
    """A flight told by its changes of state and, now and then, its figures."""

    def __init__(
        self,
        figures_s: float,
        logger: logging.Logger | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._figures_s = figures_s
        self._logger = logging.getLogger(f"{LOGGER_NAME}.flight") if logger is None else logger
        self._now_s = now_s
        self._state: IntegrityState | None = None
        self._figures_at_s = now_s()

    def fix(self, fix: Fix) -> None:
        """A fix: logged where its state is another than the last one's."""
        if fix.state is self._state:
            return
        previous, self._state = self._state, fix.state
        figures: dict[str, object] = {"state": fix.state.value, "frame": fix.frame}
        if previous is not None:
            figures["previous"] = previous.value
        if fix.position is not None:
            figures["radius95_m"] = round(fix.position.radius95_m, 1)
            figures["latitude_deg"] = round(fix.position.latitude_deg, 6)
            figures["longitude_deg"] = round(fix.position.longitude_deg, 6)
        if fix.reset_counter:
            figures["reset_counter"] = fix.reset_counter
        level = logging.WARNING if fix.state in _GRAVE else logging.INFO
        extra = fields(f"state {fix.state.value}", **figures)
        self._logger.log(level, "%s: %s", fix.state.value, fix.reason, extra=extra)

    def counters(self, values: Mapping[str, object]) -> None:
        """The flight's figures; logged when their time has come."""
        now_s = self._now_s()
        if not self._figures_s or now_s - self._figures_at_s < self._figures_s:
            return
        self._figures_at_s = now_s
        self._logger.info("figures", extra=fields("figures", **_flat(values)))


def _flat(values: Mapping[str, object]) -> dict[str, object]:
    """Figures of groups under the group's name and their own; what is empty is left out."""
    told: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            told |= {f"{name}_{inner}": item for inner, item in value.items()}
        else:
            told[name] = value
    return {name: value for name, value in told.items() if value not in ("", None)}


def _is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether a stream is the one that systemd says is the journal's, by device and inode."""
    device, colon, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return bool(colon) and (device, inode) == (str(status.st_dev), str(status.st_ino))


def _priority(level: int) -> int:
    """A level as syslog counts: 3 error, 4 warning, 6 information, 7 debugging."""
    return next((priority for least, priority in _PRIORITIES if level >= least), 7)


def _message(record: logging.LogRecord) -> str:
    message = record.getMessage()
    held_back = getattr(record, "held_back", 0)
    return f"{message} [and {held_back} more like it before]" if held_back else message


def _one_line(text: str) -> str:
    """Words that cannot pass for another line, nor for a terminal's commands."""
    clean = "".join(c if c.isprintable() else " " for c in text[:_LONGEST_TEXT])
    return " ".join(clean.split())


def _figures(record: logging.LogRecord) -> Mapping[str, object]:
    figures = getattr(record, _FIELDS, None)
    return figures if isinstance(figures, Mapping) else {}


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    text = _one_line(str(value))
    return json.dumps(text, ensure_ascii=False) if " " in text or not text else text


def _json_value(value: object) -> object:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return _one_line(value)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return _one_line(str(value))
    return number if math.isfinite(number) else None
