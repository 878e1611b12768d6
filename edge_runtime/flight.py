"""Fly a recorded flight: frames and telemetry in, a flight directory out."""

from __future__ import annotations

import json
import logging
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from edge_runtime.contract.artefact import (
    MANIFEST_NAME,
    sha256_of_file,
    staged_directory,
    write_manifest,
)
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.errors import BundleError, ConfigError, SourceError, TelemetryError
from edge_runtime.contract.fix import Fix
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.engines import open_engine, precision_run
from edge_runtime.engines.golden_check import golden_fault
from edge_runtime.engines.tensorrt_config import TensorRtConfig
from edge_runtime.flight_camera import CameraConfig, open_flight_camera
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.localiser import Localiser
from edge_runtime.map_signature import require_signature
from edge_runtime.outputs.fix_log import GEOJSON_NAME, FixLog, write_geojson
from edge_runtime.outputs.track_picture import draw_track, read_preview
from edge_runtime.progress import progress_bar
from edge_runtime.service_notify import ServiceNotifier
from edge_runtime.sources.open import open_source
from edge_runtime.telemetry.truth import read_truth

logger = logging.getLogger(__name__)

FLIGHT_KIND = "flight log"
FLIGHT_SCHEMA_VERSION = 1
TRACK_PICTURE_NAME = "track.png"
SUMMARY_NAME = "summary.json"
_QUIET_S = 1.0


@dataclass(frozen=True)
class FlightConfig:
    """What to fly, with what, and where the results go."""

    encoder: Path
    """Encoder bundle, NAME.encoder."""
    map: Path
    """Region map built with that encoder, NAME.map."""
    frames: Path
    """Folder of pictures, or a video file."""
    telemetry: Path
    """CSV with one row a frame or on a clock of its own, or the camera's DJI SRT file."""
    output: Path
    """Flight directory to write, NAME.flight."""
    prior: tuple[float, float, float] | None = None
    """Latitude, longitude and a radius in metres that holds the drone at the start."""
    truth: Path | None = None
    """True positions, drawn into the picture and used for nothing else."""
    every_s: float = 0.0
    """Take one video frame each so many seconds; 0 takes all."""
    telemetry_offset_s: float = 0.0
    """Added to a video's time to find its telemetry."""
    precision: str = "fp32"
    """Graph to run: fp32, fp16, int8 or int8-cpu; on a processor int8 runs int8-cpu."""
    engine: str = "onnxruntime"
    """Inference engine: onnxruntime, onnxruntime-cuda, onnxruntime-tensorrt or tensorrt."""
    require_signed: Path | None = None
    """Public key (PEM): fly only a map that its owner signed (dmnil-map sign), unaltered since."""
    unsafe_engine: bool = False
    """Fly even if the engine computes other descriptors than the encoder; every fix says so."""
    threads: int = 0
    """Processor threads of the engine; 0 leaves it to the engine."""
    tensorrt: TensorRtConfig = field(default_factory=TensorRtConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    localiser: LocaliserConfig = field(default_factory=LocaliserConfig)

    def __post_init__(self) -> None:
        if not 0.0 <= self.every_s < float("inf") or not np.isfinite(self.telemetry_offset_s):
            raise ConfigError("every_s must be 0 or more seconds, telemetry_offset_s finite")
        if self.threads < 0:
            raise ConfigError(f"threads must be 0 or more, is {self.threads}")
        if self.prior is not None:
            latitude_deg, longitude_deg, radius_m = self.prior
            if not np.isfinite(self.prior).all() or radius_m <= 0.0:
                raise ConfigError("prior must be finite, its radius above 0 metres")
            if abs(latitude_deg) > 90.0 or abs(longitude_deg) > 180.0:
                raise ConfigError("prior is LAT,LON,RADIUS_M in degrees, degrees and metres")


@dataclass(frozen=True)
class FlightReport:
    """What became of a flight's frames."""

    output: Path
    frames: int
    undecodable: int
    without_telemetry: int
    of_another_size: int
    states: dict[str, int]
    last: Fix | None
    wall_s: float
    interrupted: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        return {
            "frames": self.frames,
            "undecodable": self.undecodable,
            "without_telemetry": self.without_telemetry,
            "of_another_size": self.of_another_size,
            "states": self.states,
            "interrupted": self.interrupted,
        }


def fly(config: FlightConfig, service: ServiceNotifier | None = None) -> FlightReport:
    """Localise every frame of a recorded flight and write its flight directory.

    Ctrl-C ends the flight early, and so does an error in the middle of it; what was flown until
    then is written in full.

    Args:
        service: Hears when the inputs are loaded, of every frame, and of the end.
    Raises:
        DmnilError: If an input is unusable or the output cannot be written; nothing is left
            behind if it shows before the first fix.
    """
    started = time.perf_counter()
    service = ServiceNotifier() if service is None else service
    bundle = load_encoder_bundle(config.encoder)
    if bundle.input_height != bundle.input_width:
        raise BundleError(f"{config.encoder}: the runtime needs a square encoder input")
    if config.require_signed is not None:
        require_signature(config.map, config.require_signed)
    region_map = load_region_map(config.map)
    region_map.require_encoder(bundle)
    read_preview(region_map)  # what cannot be drawn at the end should not be flown for
    truth = None if config.truth is None else read_truth(config.truth)
    flight_camera = open_flight_camera(config.telemetry, config.camera, config.telemetry_offset_s)
    source = open_source(config.frames, config.every_s)
    precision = precision_run(bundle, config.precision, config.engine)
    engine = open_engine(
        bundle,
        config.precision,
        config.engine,
        config.threads,
        config.tensorrt,
        golden_check=not config.unsafe_engine,
    )
    engine_fault = golden_fault(engine, bundle, precision) if config.unsafe_engine else ""
    if engine_fault:
        logger.warning("the engine is unsafe and flown nevertheless: %s", engine_fault)
    localiser: Localiser | None = None
    fixes: list[Fix] = []
    undecodable = without_telemetry = of_another_size = 0
    first_shape: tuple[int, ...] | None = None
    with (
        _stop_on_interrupt() as interrupted,
        staged_directory(config.output, FLIGHT_KIND) as staging,
    ):
        with (
            closing(FixLog(staging)) as log,
            progress_bar("edge_runtime", len(source), "frame", _QUIET_S) as progress,
            _kept_until_written() as failures,
        ):
            service.ready()
            for frame in source:
                if interrupted:
                    break
                progress.update()
                service.alive()
                if frame.image is None:
                    undecodable += 1
                    continue
                sample = flight_camera.sample_of(frame)
                if sample is None:
                    without_telemetry += 1
                    continue
                if first_shape is not None and frame.image.shape != first_shape:
                    of_another_size += 1
                    continue
                if localiser is None:
                    first_shape = frame.image.shape
                    height, width = frame.image.shape[:2]
                    localiser = Localiser(
                        engine,
                        region_map,
                        bundle.input_width,
                        flight_camera.camera_for(width, height),
                        config.localiser,
                        config.prior,
                    )
                fix = localiser.process(frame.name, frame.image, sample)
                if engine_fault:
                    fix = replace(fix, engine_fault=engine_fault)
                log.write(fix)
                fixes.append(fix)
                progress.set_postfix_str(_progress_text(fix), refresh=False)
                service.status(fix.state.value)
        service.stopping()
        if failures and not fixes:
            raise failures[0]
        if not fixes and not interrupted:
            raise _nothing_flown(config, undecodable, without_telemetry)
        report = FlightReport(
            output=config.output,
            frames=len(fixes),
            undecodable=undecodable,
            without_telemetry=without_telemetry,
            of_another_size=of_another_size,
            states=dict(Counter(fix.state.value for fix in fixes)),
            last=fixes[-1] if fixes else None,
            wall_s=time.perf_counter() - started,
            interrupted=bool(interrupted),
        )
        write_geojson(staging / GEOJSON_NAME, fixes)
        title = config.output.name.removesuffix(".flight")
        draw_track(staging / TRACK_PICTURE_NAME, region_map, fixes, truth, title)
        summary = json.dumps(report.as_dict(), indent=2) + "\n"
        (staging / SUMMARY_NAME).write_text(summary, encoding="utf-8")
        body = {
            "encoder_sha256": bundle.encoder_sha256,
            "precision": precision,
            "map_manifest_sha256": sha256_of_file(config.map / MANIFEST_NAME),
            "telemetry_sha256": sha256_of_file(config.telemetry),
            "config": json.loads(json.dumps(asdict(config), default=str)),
        }
        write_manifest(staging, FLIGHT_KIND, FLIGHT_SCHEMA_VERSION, body)
    if failures:
        raise failures[0]
    return report


@contextmanager
def _kept_until_written() -> Iterator[list[Exception]]:
    """Takes an exception of the block into the list, so that what was done before is kept."""
    failures: list[Exception] = []
    try:
        yield failures
    except Exception as error:  # noqa: BLE001 - raised again once the flight is written
        failures.append(error)


def _nothing_flown(
    config: FlightConfig, undecodable: int, without_telemetry: int
) -> SourceError | TelemetryError:
    if without_telemetry:
        return TelemetryError(
            f"{config.telemetry} covers none of the {without_telemetry} frames of "
            f"{config.frames}: do their names or times belong together?"
        )
    return SourceError(f"{config.frames}: none of its {undecodable} frames can be decoded")


def _progress_text(fix: Fix) -> str:
    if fix.position is None:
        return fix.state.value
    position = fix.position
    return (
        f"{fix.state.value} {position.latitude_deg:.5f},{position.longitude_deg:.5f} "
        f"+-{position.radius95_m:.0f} m"
    )


@contextmanager
def _stop_on_interrupt() -> Iterator[list[int]]:
    """A list that is filled when the user or the system asks to stop.

    It holds until the results are in place, so that no second Ctrl-C tears them up.
    """
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)

    previous = {
        number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
