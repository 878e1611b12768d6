"""Every setting of a flight: what to fly, with what, and where the results go."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edge_runtime.contract.errors import ConfigError
from edge_runtime.engines.tensorrt_config import TensorRtConfig
from edge_runtime.flight_camera import CameraConfig
from edge_runtime.flight_log.config import FlightLogConfig
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.mavlink.link import MavlinkConfig
from edge_runtime.monitor.config import MonitorConfig
from edge_runtime.outputs.open import OutputsConfig
from edge_runtime.power_governor import PowerGovernorConfig
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.uri import without_password
from edge_runtime.telemetry.mavlink_telemetry import MavlinkTelemetryConfig


@dataclass(frozen=True)
class FlightConfig:
    """What to fly, with what, and where the results go."""

    encoder: Path
    """Encoder bundle, NAME.encoder."""
    map: Path
    """Region map built with that encoder, NAME.map."""
    output: Path
    """Flight directory to write, NAME.flight."""
    frames: Path | None = None
    """Recording to fly: a folder of pictures, or a video file. Every frame is flown."""
    telemetry: Path | None = None
    """CSV with one row a frame or on a clock of its own, or the camera's DJI SRT file. A live
    camera has its autopilot's instead; dir:// and file:// may have either."""
    state: Path | None = None
    """File that keeps what a live flight knows, so that a restart finds its place again at once;
    localiser.state beside the flights if left out."""
    prior: tuple[float, float, float] | None = None
    """Latitude, longitude and a radius in metres that holds the drone at the start."""
    truth: Path | None = None
    """True positions, drawn into the picture and used for nothing else."""
    every_s: float = 0.0
    """Take one video frame each so many seconds; 0 takes all."""
    rate_hz: float = 0.0
    """Take at most so many frames a second from a live camera; 0 takes all that come."""
    telemetry_offset_s: float = 0.0
    """Added to a video's time to find its telemetry."""
    figures_s: float = 30.0
    """Log a live flight's figures each so many seconds; 0 never does."""
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
    source: SourceConfig = field(default_factory=SourceConfig)
    mavlink: MavlinkConfig = field(default_factory=MavlinkConfig)
    autopilot: MavlinkTelemetryConfig = field(default_factory=MavlinkTelemetryConfig)
    outputs: OutputsConfig = field(default_factory=OutputsConfig)
    log: FlightLogConfig = field(default_factory=FlightLogConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    power: PowerGovernorConfig = field(default_factory=PowerGovernorConfig)
    tensorrt: TensorRtConfig = field(default_factory=TensorRtConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    localiser: LocaliserConfig = field(default_factory=LocaliserConfig)

    @property
    def shown(self) -> FlightConfig:
        """These settings for logs and people: without the password that a camera's URI may hold."""
        if self.source.uri is None:
            return self
        return replace(self, source=replace(self.source, uri=without_password(self.source.uri)))

    def __post_init__(self) -> None:
        if (self.frames is None) == (self.source.uri is None):
            raise ConfigError(
                "give either frames (a recording: folder or video) or source (a live camera: "
                "v4l2:///dev/video0, rtsp://..., csi://0)"
            )
        if self.frames is not None and self.telemetry is None:
            raise ConfigError("a recording needs its telemetry: a CSV or DJI SRT file")
        if not 0.0 <= self.every_s < float("inf") or not np.isfinite(self.telemetry_offset_s):
            raise ConfigError("every_s must be 0 or more seconds, telemetry_offset_s finite")
        if not 0.0 <= self.rate_hz < float("inf"):
            raise ConfigError("rate_hz must be 0 or more frames a second")
        if self.threads < 0:
            raise ConfigError(f"threads must be 0 or more, is {self.threads}")
        if self.prior is not None:
            latitude_deg, longitude_deg, radius_m = self.prior
            if not np.isfinite(self.prior).all() or radius_m <= 0.0:
                raise ConfigError("prior must be finite, its radius above 0 metres")
            if abs(latitude_deg) > 90.0 or abs(longitude_deg) > 180.0:
                raise ConfigError("prior is LAT,LON,RADIUS_M in degrees, degrees and metres")
