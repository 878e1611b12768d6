"""The sample that ships with the runtime: encoder, map and flight of a generated town."""

from __future__ import annotations

from pathlib import Path

SAMPLE_FOLDER = Path(__file__).parent / "sample"
SAMPLE_ENCODER = SAMPLE_FOLDER / "lite2.encoder"
SAMPLE_MAP = SAMPLE_FOLDER / "town.map"
SAMPLE_FLIGHT = SAMPLE_FOLDER / "flight"


def sample_arguments() -> list[str]:
    """Options of `edge_runtime run` that fly the sample."""
    return [
        f"--encoder={SAMPLE_ENCODER}",
        f"--map={SAMPLE_MAP}",
        f"--frames={SAMPLE_FLIGHT / 'frames'}",
        f"--telemetry={SAMPLE_FLIGHT / 'frames.csv'}",
        f"--truth={SAMPLE_FLIGHT / 'truth.csv'}",
        "--output=sample.flight",
    ]
