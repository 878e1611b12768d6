"""Opening what belongs together: an encoder, a map that it made, and the engine that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_runtime.contract.encoder_bundle import EncoderBundle, load_encoder_bundle
from edge_runtime.contract.errors import BundleError
from edge_runtime.contract.region_map import RegionMap, load_region_map
from edge_runtime.engines import Engine, open_engine
from edge_runtime.engines.tensorrt_config import TensorRtConfig
from edge_runtime.map_signature import require_signature


@dataclass(frozen=True)
class EncoderAndMap:
    """An encoder that the runtime can use, and a map whose tiles it described."""

    bundle: EncoderBundle
    region_map: RegionMap

    @property
    def input_size(self) -> int:
        """Side of the encoder's square input in pixels."""
        return self.bundle.input_width


def open_encoder_and_map(
    encoder: Path, region_map: Path, signed_by: Path | None = None
) -> EncoderAndMap:
    """Open both, seeing that they belong together.

    Args:
        encoder: Encoder bundle.
        region_map: Region map.
        signed_by: Public key (PEM) whose owner must have signed the map; nothing of a map that is
            not signed so is read.
    Raises:
        BundleError: If the encoder is unusable.
        ConfigError: If the key is.
        MapError: If the map is unusable, not signed so, or of another encoder.
    """
    bundle = load_encoder_bundle(encoder)
    if bundle.input_height != bundle.input_width:
        raise BundleError(f"{encoder}: the runtime needs a square encoder input")
    if signed_by is not None:
        require_signature(region_map, signed_by)
    opened = load_region_map(region_map)
    opened.require_encoder(bundle)
    return EncoderAndMap(bundle, opened)


class EngineSettings(Protocol):
    """Whatever says how an encoder is to be run: a flight's settings, a log's header."""

    @property
    def precision(self) -> str:
        """Graph of the bundle."""

    @property
    def engine(self) -> str:
        """Backend."""

    @property
    def threads(self) -> int:
        """Processor threads; 0 leaves it to the backend."""

    @property
    def tensorrt(self) -> TensorRtConfig:
        """Of that backend."""


def open_engine_as_set(
    bundle: EncoderBundle, settings: EngineSettings, *, golden_check: bool
) -> Engine:
    """Open a bundle's engine as settings have it.

    Args:
        golden_check: Refuse an engine that computes wrongly.
    Raises:
        BundleError: If the bundle lacks the precision.
        EngineError: If the engine cannot be opened, or is refused.
    """
    return open_engine(
        bundle,
        settings.precision,
        settings.engine,
        settings.threads,
        settings.tensorrt,
        golden_check=golden_check,
    )
