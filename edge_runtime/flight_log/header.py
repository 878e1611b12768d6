"""What flew: settings, artefacts and software of a flight, at the head of each log file."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge_runtime import __version__
from edge_runtime.engines.tensorrt_config import TensorRtConfig
from edge_runtime.flight_log.plain_values import from_plain, to_plain, without_unknown
from edge_runtime.localize.config import LocaliserConfig

LOG_SCHEMA_VERSION = 1
_PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless", "mcap")


def software_versions() -> dict[str, str]:
    """Versions of what a fix depends on, and the machine's kind."""
    versions = {"dmnil-edge": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed as a package"
    return {**versions, "machine": platform.machine(), "system": platform.platform()}


@dataclass(frozen=True)
class FlightHeader:
    """What a replay needs to know beside frames and telemetry."""

    is_live: bool
    """Whether times are `time.monotonic()`; a recording has a clock of its own."""
    encoder: Path
    encoder_sha256: str
    map: Path
    map_manifest_sha256: str
    precision: str
    """The graph that was asked for."""
    engine: str
    threads: int
    localiser: LocaliserConfig
    prior: tuple[float, float, float] | None = None
    saved_state: str | None = None
    """The localiser's state that the flight began with, as its file's text; None: it began anew."""
    unsafe_engine: bool = False
    tensorrt: TensorRtConfig = field(default_factory=TensorRtConfig)
    config: Mapping[str, Any] = field(default_factory=dict)
    """Every setting of the flight, for people."""
    versions: Mapping[str, str] = field(default_factory=software_versions)
    unknown_settings: tuple[str, ...] = ()
    """Settings of the flight that this release does not have."""


def header_as_plain(header: FlightHeader) -> dict[str, Any]:
    """JSON-ready values; paths are made absolute, so that a replay finds them from anywhere."""
    plain: dict[str, Any] = to_plain(header)
    del plain["unknown_settings"]
    plain["encoder"], plain["map"] = str(header.encoder.absolute()), str(header.map.absolute())
    return {"log_schema_version": LOG_SCHEMA_VERSION, **plain}


def header_from_plain(values: Any) -> FlightHeader:
    """The header of a log.

    Raises:
        TypeError, ValueError, DmnilError: If it is of another release, or damaged.
    """
    if not isinstance(values, dict):
        raise TypeError("the header is not an object")
    found = values.get("log_schema_version")
    if found != LOG_SCHEMA_VERSION:
        raise ValueError(f"log schema {found!r}, this release reads {LOG_SCHEMA_VERSION}")
    rest = {name: value for name, value in values.items() if name != "log_schema_version"}
    known, unknown = without_unknown(FlightHeader, rest)
    return from_plain(FlightHeader, {**known, "unknown_settings": unknown})
