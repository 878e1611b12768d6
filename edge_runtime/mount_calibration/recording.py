"""A recorded flight as a calibration reads it: views beside telemetry and true place."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from edge_runtime.camera_info import read_camera_info
from edge_runtime.contract.errors import ConfigError, TelemetryError, reason_of
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.flight_camera import open_flight_camera
from edge_runtime.localize.camera import PinholeCamera
from edge_runtime.mount_calibration.agreement import CalibrationView, shrunk
from edge_runtime.mount_calibration.config import MountCalibrationConfig, calibration_file
from edge_runtime.mounting import GIMBAL
from edge_runtime.outputs.fix_log import read_fixes
from edge_runtime.sources.open import open_source

_POSITION_COLUMNS = ("drone_latitude_deg", "drone_longitude_deg")
_LARGEST_WIDTH = 960
_METRES_PER_DEGREE = 1.0


class Recording:
    """A flight's frames beside telemetry and position, undistorted."""

    def __init__(self, config: MountCalibrationConfig) -> None:
        self._config = config
        self._camera = open_flight_camera(
            config.telemetry, config.camera, config.telemetry_offset_s
        )
        self._places = _places(config)
        self.mounting = self._camera.offsets
        calibration = calibration_file(config)
        if calibration is not None:
            self.mounting = read_camera_info(calibration).mounting or self.mounting
        if self.mounting.kind == GIMBAL:
            self.mounting = self._camera.offsets
        self.camera = PinholeCamera(1, 1, 1.0)

    def spread_views(self, region_map: RegionMap) -> list[CalibrationView]:
        """About as many views as are asked for, evenly over the way and the turns."""
        kept: list[CalibrationView] = []
        spacing_m = 0.0
        for view in self._views(region_map):
            if kept and _way_between(kept[-1], view) < spacing_m:
                continue
            kept.append(shrunk(view, _LARGEST_WIDTH))
            if len(kept) >= 2 * self._config.views:
                kept = kept[::2]
                ways = [_way_between(*pair) for pair in pairwise(kept)]
                spacing_m = max(float(np.median(ways)), spacing_m)
        chosen = np.linspace(0, len(kept) - 1, min(self._config.views, len(kept)))
        return [kept[int(index)] for index in np.unique(chosen.astype(int))]

    def _views(self, region_map: RegionMap) -> Iterator[CalibrationView]:
        size: tuple[int, ...] | None = None
        for frame in open_source(self._config.frames, self._config.every_s):
            place = self._places.get(frame.name)
            if frame.image is None or place is None:
                continue
            sample = self._camera.sample_of(frame)
            if sample is None or sample.pose is None or sample.pose.height_m <= 0.0:
                continue
            if size is None:
                size = frame.image.shape
                self.camera = self._camera.camera_for(size[1], size[0])
            if frame.image.shape != size:
                continue
            east_north_m = region_map.frame.to_local(np.array(place[0]), np.array(place[1]))
            image = self._camera.undistorted(frame.image)
            yield CalibrationView(image, self.camera, sample, east_north_m)


def _places(config: MountCalibrationConfig) -> dict[str, tuple[float, float]]:
    """Latitude and longitude of the drone by frame."""
    if config.positions is not None:
        return _read_positions(config.positions)
    if config.fixes is None:
        raise ConfigError("give positions or fixes")
    places = {
        fix.frame: (fix.position.latitude_deg, fix.position.longitude_deg)
        for fix in read_fixes(config.fixes)
        if fix.position is not None
    }
    if not places:
        raise TelemetryError(f"{config.fixes} has no position at all: calibrate with positions")
    return places


def _read_positions(path: Path) -> dict[str, tuple[float, float]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            columns = ("frame", *_POSITION_COLUMNS)
            missing = [name for name in columns if name not in (rows.fieldnames or [])]
            if missing:
                raise TelemetryError(f"{path}: column {', '.join(missing)} is missing")
            places = {
                row["frame"]: (float(row[_POSITION_COLUMNS[0]]), float(row[_POSITION_COLUMNS[1]]))
                for row in rows
            }
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
        raise TelemetryError(f"{path} cannot be read: {reason_of(error)}") from error
    places = {name: place for name, place in places.items() if np.isfinite(place).all()}
    if not places:
        raise TelemetryError(f"{path} has no position")
    return places


def _way_between(first: CalibrationView, second: CalibrationView) -> float:
    """Metres from view to view; a degree of turning counts as a metre."""
    turn_deg = (second.sample.heading_deg or 0.0) - (first.sample.heading_deg or 0.0)
    turn_deg = abs((turn_deg + 180.0) % 360.0 - 180.0)
    distance_m = float(np.linalg.norm(second.east_north_m - first.east_north_m))
    return distance_m + _METRES_PER_DEGREE * turn_deg
