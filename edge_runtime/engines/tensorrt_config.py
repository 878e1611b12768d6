"""How TensorRT engines are built and where they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.errors import BundleError, ConfigError

USUAL_BATCH, MAX_BATCH = 1, 16
"""Of bundles that were exported before they named their own."""


@dataclass(frozen=True)
class TensorRtConfig:
    """Batch sizes and places of a TensorRT engine."""

    usual_batch: int | None = None
    """Pictures a call that the engine is tuned for; left out: as the bundle was exported for."""
    max_batch: int | None = None
    """Most pictures that one call on the GPU takes, more are split; left out: likewise."""
    cache_folder: Path | None = None
    """Where built engines are kept; by default `$XDG_CACHE_HOME/dmnil-edge/engines`."""
    engine_folder: Path | None = None
    """NAME.engine to fly with, built on this machine; nothing is built then."""

    def __post_init__(self) -> None:
        given = [size for size in (self.usual_batch, self.max_batch) if size is not None]
        if given != sorted(given) or any(size < 1 for size in given):
            raise ConfigError(
                f"1 <= usual_batch <= max_batch is needed, they are {self.usual_batch} and "
                f"{self.max_batch}"
            )

    def batches_for(self, bundle: EncoderBundle) -> tuple[int, int]:
        """Usual and largest batch: what is set here, else what `dmnil-export --batch` recorded.

        Raises:
            BundleError: If the bundle's manifest holds no batch sizes where it should.
        """
        recorded = bundle.manifest.get("engine_batches", [USUAL_BATCH, MAX_BATCH])
        try:
            usual, most = recorded
            valid = isinstance(usual, int) and isinstance(most, int) and 1 <= usual <= most
        except (TypeError, ValueError):
            valid = False
        if not valid:
            raise BundleError(
                f"{bundle.folder}: manifest field 'engine_batches' is {recorded!r}, not a usual "
                "and a largest batch: export it again"
            )
        # One that is set moves the other along where the two would contradict each other.
        if self.usual_batch is not None:
            usual, most = self.usual_batch, max(self.usual_batch, most)
        if self.max_batch is not None:
            usual, most = min(usual, self.max_batch), self.max_batch
        return usual, most
