"""The camera's file: ROS's camera_info YAML, as camera_calibration writes it, and our mounting.

    image_width: 1280
    image_height: 720
    camera_matrix: {rows: 3, cols: 3, data: [fx, 0, cx, 0, fy, cy, 0, 0, 1]}
    distortion_model: plumb_bob            # or rational_polynomial, equidistant
    distortion_coefficients: {rows: 1, cols: 5, data: [k1, k2, p1, p2, k3]}
    mounting:                              # optional, ours
      type: fixed                          # or gimbal
      heading_deg: 0.0                     # fixed: the camera's on a level drone heading north;
      pitch_deg: -90.0                     # gimbal: corrections of what the gimbal says
      roll_deg: 0.0

Without a calibration, image_width, image_height and focal_px alone do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edge_runtime.contract.artefact import write_whole
from edge_runtime.contract.errors import ConfigError
from edge_runtime.lens import COEFFICIENTS, NO_DISTORTION, LensModel, Undistorter
from edge_runtime.localize.camera import PinholeCamera
from edge_runtime.mounting import FIXED, GIMBAL, Mounting

_LARGEST_FILE = 1 << 20
_OWN_KEYS = {
    "image_width",
    "image_height",
    "camera_matrix",
    "distortion_model",
    "distortion_coefficients",
    "focal_px",
    "mounting",
}
_IGNORED_KEYS = {
    "camera_name",
    "rectification_matrix",
    "projection_matrix",
    "binning_x",
    "binning_y",
    "roi",
    "header",
}
_MOUNTING_ANGLES = ("heading_deg", "pitch_deg", "roll_deg")


@dataclass(frozen=True)
class CameraInfo:
    """A camera's lens, and its mounting where the file has one."""

    lens: LensModel
    mounting: Mounting | None = None

    def undistorter_for(self, width: int, height: int) -> Undistorter:
        """What makes pinhole pictures of this camera's pictures of a size.

        Raises:
            ConfigError: If the camera was calibrated at another shape of picture.
        """
        return Undistorter(self.lens.scaled_to(width, height))


def read_camera_info(path: Path) -> CameraInfo:
    """Read a camera's file.

    Raises:
        ConfigError: If it cannot be read, misses something, or has a key that means nothing.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise ConfigError("larger than 1 MB")
        values = yaml.safe_load(content.decode("utf-8"))
        return _camera_info(_mapping(values, "the file"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ConfigError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error


def pinhole_text(camera: PinholeCamera) -> str:
    """A camera's file for one that nobody calibrated: its size and focal length."""
    return (
        f"image_width: {camera.width}\nimage_height: {camera.height}\n"
        f"focal_px: {camera.focal_px:.3f}\n"
    )


def write_mounting(path: Path, mounting: Mounting) -> None:
    """Set the mounting in a camera's file; its other lines stay as they are.

    Raises:
        ConfigError: If the file is none of a camera.
        OutputError: If it cannot be written.
    """
    read_camera_info(path)
    text = path.read_text(encoding="utf-8")
    kept = re.sub(r"(?m)^mounting:.*\n?(?:(?:[ \t].*)?\n|[ \t].*\Z)*", "", text).rstrip("\n")
    angles = "".join(f"  {name}: {getattr(mounting, name):.2f}\n" for name in _MOUNTING_ANGLES)
    write_whole(path, f"{kept}\nmounting:\n  type: {mounting.kind}\n{angles}")


def _camera_info(values: Mapping[str, Any]) -> CameraInfo:
    unknown = [str(key) for key in values if key not in _OWN_KEYS | _IGNORED_KEYS]
    if unknown:
        raise ConfigError(f"key {', '.join(unknown)} means nothing in a camera's file")
    width, height = (_whole(values, name) for name in ("image_width", "image_height"))
    mounting = _mounting(values["mounting"]) if "mounting" in values else None
    if "focal_px" in values:
        if "camera_matrix" in values or "distortion_coefficients" in values:
            raise ConfigError("give focal_px or camera_matrix, not both")
        focal_px = _number(values["focal_px"], "focal_px")
        middle = (width - 1) / 2, (height - 1) / 2
        return CameraInfo(LensModel(width, height, focal_px, focal_px, *middle), mounting)
    matrix = _array(values, "camera_matrix", (9,))
    fx, skew, cx, zero_a, fy, cy, *last = matrix
    if (skew, zero_a, *last) != (0.0, 0.0, 0.0, 0.0, 1.0):
        raise ConfigError("camera_matrix must be [fx, 0, cx, 0, fy, cy, 0, 0, 1]")
    model = values.get("distortion_model", NO_DISTORTION)
    if not isinstance(model, str) or model not in COEFFICIENTS:
        raise ConfigError(f"distortion_model {model!r} is none of {', '.join(COEFFICIENTS)}")
    coefficients: tuple[float, ...] = ()
    if model != NO_DISTORTION:
        coefficients = _array(values, "distortion_coefficients", COEFFICIENTS[model])
    elif "distortion_coefficients" in values:
        raise ConfigError("distortion_coefficients need a distortion_model")
    return CameraInfo(LensModel(width, height, fx, fy, cx, cy, model, coefficients), mounting)


def _mounting(given: Any) -> Mounting:
    values = _mapping(given, "mounting")
    unknown = [str(key) for key in values if key not in ("type", *_MOUNTING_ANGLES)]
    if unknown:
        raise ConfigError(f"mounting has no {', '.join(unknown)}")
    kind = values.get("type")
    if kind not in (FIXED, GIMBAL):
        raise ConfigError(f"mounting needs type: {FIXED} or {GIMBAL}")
    missing = [name for name in _MOUNTING_ANGLES if name not in values]
    if missing and kind == FIXED:
        raise ConfigError(f"mounting misses {', '.join(missing)}")
    angles = (_number(values.get(name, 0.0), f"mounting {name}") for name in _MOUNTING_ANGLES)
    return Mounting(kind, *angles)


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{what} must hold keys and values")
    return value


def _whole(values: Mapping[str, Any], name: str) -> int:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} must be a whole number, is {value!r}")
    if not 1 <= value <= 100_000:
        raise ConfigError(f"{name} must be 1 to 100000, is {value}")
    return value


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{what} must be a number, is {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise ConfigError(f"{what} is beyond all bounds") from None


def _array(values: Mapping[str, Any], name: str, lengths: tuple[int, ...]) -> tuple[float, ...]:
    if name not in values:
        raise ConfigError(f"{name} is missing")
    data = _mapping(values[name], name).get("data")
    if not isinstance(data, list) or len(data) not in lengths:
        expected = " or ".join(map(str, lengths))
        raise ConfigError(f"{name} needs data: a list of {expected} numbers")
    return tuple(_number(value, name) for value in data)
