"""The sample that ships with the runtime: encoder, map and flight of a generated town."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.contract.errors import SourceError

SAMPLE_FOLDER = Path(__file__).parent / "sample"
SAMPLE_ENCODER = SAMPLE_FOLDER / "town.encoder"
SAMPLE_MAP = SAMPLE_FOLDER / "town.map"
SAMPLE_FLIGHT = SAMPLE_FOLDER / "flight"


def sample_arguments() -> list[str]:
    """Options of `edge_runtime run` that fly the sample.

    Raises:
        SourceError: If this installation came without it.
    """
    if not SAMPLE_FLIGHT.is_dir():
        raise SourceError(f"{SAMPLE_FOLDER} is missing: this installation came without the sample")
    return [
        f"--encoder={SAMPLE_ENCODER}",
        f"--map={SAMPLE_MAP}",
        f"--frames={SAMPLE_FLIGHT / 'frames'}",
        f"--telemetry={SAMPLE_FLIGHT / 'frames.csv'}",
        f"--truth={SAMPLE_FLIGHT / 'truth.csv'}",
        "--output=sample.flight",
    ]
