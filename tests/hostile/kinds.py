"""Every kind of input by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.hostile.flights import fix_lines, flight_log, saved_state
from tests.hostile.network import http_request, mavlink
from tests.hostile.outgoing import fix_outputs
from tests.hostile.reader import InputReader, OpenReader
from tests.hostile.recordings import csv_telemetry, dji_subtitle, truth
from tests.hostile.settings import camera_info, settings_yaml, source_uri

READERS: dict[str, OpenReader] = {
    "mavlink": mavlink,
    "dji_srt": dji_subtitle,
    "csv_telemetry": csv_telemetry,
    "truth": truth,
    "camera_info": camera_info,
    "edge_yaml": settings_yaml,
    "saved_state": saved_state,
    "flight_log": flight_log,
    "fix_lines": fix_lines,
    "http": http_request,
    "uri": source_uri,
    "fix_outputs": fix_outputs,
}


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[InputReader]:
    """A reader of a kind, closed at the end."""
    with ExitStack() as closing:
        yield READERS[kind](folder, closing)
