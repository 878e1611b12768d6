"""What a flight needs loaded before its first frame: encoder, map and a sound engine."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from edge_runtime.contract.encoder_bundle import EncoderBundle, load_encoder_bundle
from edge_runtime.contract.errors import BundleError
from edge_runtime.contract.region_map import RegionMap, load_region_map
from edge_runtime.engines import Engine, open_engine, precision_run
from edge_runtime.engines.golden_check import golden_fault
from edge_runtime.flight.config import FlightConfig
from edge_runtime.map_signature import require_signature

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FlightInputs:
    """Encoder, map and engine that belong together."""

    bundle: EncoderBundle
    region_map: RegionMap
    engine: Engine
    precision: str
    """The graph that really runs."""
    engine_fault: str
    """What is wrong with an engine that is flown nevertheless; empty for a sound one."""


def load_flight_inputs(config: FlightConfig) -> FlightInputs:
    """Load what flies and check that it belongs together.

    Raises:
        DmnilError: If anything is missing, altered, or of another encoder.
    """
    bundle = load_encoder_bundle(config.encoder)
    if bundle.input_height != bundle.input_width:
        raise BundleError(f"{config.encoder}: the runtime needs a square encoder input")
    if config.require_signed is not None:
        require_signature(config.map, config.require_signed)
    region_map = load_region_map(config.map)
    region_map.require_encoder(bundle)
    precision = precision_run(bundle, config.precision, config.engine)
    engine = open_engine(
        bundle,
        config.precision,
        config.engine,
        config.threads,
        config.tensorrt,
        golden_check=not config.unsafe_engine,
    )
    fault = golden_fault(engine, bundle, precision) if config.unsafe_engine else ""
    if fault:
        logger.warning("the engine is unsafe and flown nevertheless: %s", fault)
    return FlightInputs(bundle, region_map, engine, precision, fault)
