"""How TensorRT engines are built and where they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_runtime.contract.errors import ConfigError


@dataclass(frozen=True)
class TensorRtConfig:
    """Batch sizes and places of a TensorRT engine."""

    usual_batch: int = 1
    """Pictures a call that the engine is tuned for: a view a frame."""
    max_batch: int = 16
    """Most pictures that one call on the GPU takes; more are split."""
    cache_folder: Path | None = None
    """Where built engines are kept; by default `$XDG_CACHE_HOME/dmnil-edge/engines`."""
    engine_folder: Path | None = None
    """NAME.engine to fly with, built on this machine; nothing is built then."""

    def __post_init__(self) -> None:
        if not 1 <= self.usual_batch <= self.max_batch:
            raise ConfigError(
                f"1 <= usual_batch <= max_batch is needed, they are {self.usual_batch} and "
                f"{self.max_batch}"
            )
