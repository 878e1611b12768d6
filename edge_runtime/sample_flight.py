"""The sample that ships with the runtime: encoder, map and flight of a generated town."""

from __future__ import annotations

from pathlib import Path

SAMPLE_FOLDER = Path(__file__).parent / "sample"
SAMPLE_ENCODER = SAMPLE_FOLDER / "lite2.encoder"
SAMPLE_MAP = SAMPLE_FOLDER / "town.map"
SAMPLE_FLIGHT = SAMPLE_FOLDER / "flight"
SAMPLE_OUTPUT = Path("sample.flight")

SAMPLE_OPTIONS = {
    "encoder": SAMPLE_ENCODER,
    "map": SAMPLE_MAP,
    "frames": SAMPLE_FLIGHT / "frames",
    "telemetry": SAMPLE_FLIGHT / "frames.csv",
    "truth": SAMPLE_FLIGHT / "truth.csv",
}
"""Options of `edge_runtime run` that fly it."""
