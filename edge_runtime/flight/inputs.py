"""What a flight needs loaded before its first frame: encoder, map and a sound engine."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.engines import Engine, precision_run
from edge_runtime.engines.golden_check import golden_fault
from edge_runtime.flight.config import FlightConfig
from edge_runtime.opening import open_encoder_and_map, open_engine_as_set

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
    opened = open_encoder_and_map(config.encoder, config.map, config.require_signed)
    bundle = opened.bundle
    precision = precision_run(bundle, config.precision, config.engine)
    engine = open_engine_as_set(bundle, config, golden_check=not config.unsafe_engine)
    fault = golden_fault(engine, bundle, precision) if config.unsafe_engine else ""
    if fault:
        logger.warning("the engine is unsafe and flown nevertheless: %s", fault)
    return FlightInputs(bundle, opened.region_map, engine, precision, fault)
