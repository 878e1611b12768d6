"""Drone images of one's own flights as the encoder is to see them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dmnil_train.data.config import DataConfig
from dmnil_train.data.picture_cache import PictureWriter, cached_pictures
from dmnil_train.data.picture_files import fingerprint_of, pictures_in, quiet_decoder
from dmnil_train.data.pool import PreparedPool
from dmnil_train.data.prepare import LARGEST_UNREADABLE_SHARE, stored_size, too_many_unreadable
from dmnil_train.data.resize import centre_crop, resized
from edge_runtime.contract.errors import ConfigError, SourceError, TelemetryError
from edge_runtime.flight_camera import CAMERA_FILE_NAME, FlightCamera, open_flight_camera
from edge_runtime.localize.camera import CameraPose, centre_ground_point
from edge_runtime.localize.quality import QualityConfig, picture_fault, pose_fault
from edge_runtime.localize.rectify import GroundWindow, choose_window, rectify
from edge_runtime.progress import progress_bar
from edge_runtime.sources.frame import Frame, FrameSource
from edge_runtime.sources.open import open_source

logger = logging.getLogger(__name__)

_QUIET_S = 1.0
_UNDECODABLE = "undecodable"
_NO_TELEMETRY = "without telemetry"
_OTHER_SIZE = "of another size than the first"
_POSE = "too low, or camera too shallow or banked"
_LITTLE_SEEN = "with too little of the footprint in view"
_PICTURE = "blurred, flat or badly exposed"


@dataclass(frozen=True)
class DroneViews:
    """A pool of drone views, and for scoring what each was made of.

    Args:
        sources: (N,) which drone folder or video, from 0.
        frames: Each frame's own name.
        to_image_centre_m: (N, 2) east and north from the middle of the view to the flat ground in
            the centre of the camera's picture; 0 where the view is the picture's own middle.
    """

    pool: PreparedPool
    sources: npt.NDArray[np.int64]
    frames: tuple[str, ...]
    to_image_centre_m: npt.NDArray[np.float64]


@dataclass(frozen=True)
class DroneView:
    """A picture (H, W, 3) as it is kept, and `DroneViews.to_image_centre_m` of it."""

    picture: npt.NDArray[np.uint8]
    to_image_centre_m: tuple[float, float] = (0.0, 0.0)


def prepare_drone_views(config: DataConfig, height: int, width: int) -> DroneViews:
    """Decode every flight once, warp its frames as the runtime does, and keep what it would use.

    Rectified views have the configuration's margin: what the camera sees around the window is
    real, what it does not see has the picture's mean colour, as in flight. Raw views have none.
    Frames that the runtime's quality gate turns away are left out, counted in a warning.

    Raises:
        ConfigError: If the encoder's input is not square though views are rectified, or the lens
            is unknown.
        SourceError: If a source cannot be read, or more than 5 % of its frames cannot be decoded.
        TelemetryError: If telemetry cannot be read or covers none of the frames.
        OutputError: If the cache cannot be written.
    """
    is_rectified = config.view == "rectified"
    if is_rectified and height != width:
        raise ConfigError(
            f"rectified views need a square encoder input, not {height}x{width}: choose "
            "data.view raw or another input size"
        )
    margin = config.margin if is_rectified else 1.0
    sources = [open_source(path, config.every_s) for path in config.drone_sources]
    cameras: list[FlightCamera | None] = [
        open_flight_camera(path, config.camera, config.telemetry_offset_s)
        for path in config.telemetry_files
    ] or [None for _ in sources]

    def make(writer: PictureWriter) -> dict[str, Any]:
        notes: dict[str, Any] = {"views": [], "reports": []}
        for number, (source, camera) in enumerate(zip(sources, cameras, strict=True)):
            path = config.drone_sources[number]
            left_out: Counter[str] = Counter()
            used = 0
            for frame, view in _views(source, camera, config, (height, width), left_out, path):
                writer.append(view.picture)
                notes["views"].append([number, frame.name, *view.to_image_centre_m])
                used += 1
            if not used:
                raise _nothing_used(path, config, number, left_out)
            if left_out:
                notes["reports"].append(f"{path}: {used} frames used, {_counts(left_out)}")
        return notes

    cached = cached_pictures(
        config.cache_folder,
        "drone",
        _made_from(config, height, width),
        stored_size(height, width, margin),
        sum(len(source) for source in sources),
        make,
    )
    for report in cached.notes["reports"]:
        logger.warning("%s", report)
    views = cached.notes["views"]
    frames = tuple(str(view[1]) for view in views)
    numbers = np.array([view[0] for view in views], np.int64)
    prefixes = [""] if len(sources) == 1 else [f"{path}/" for path in config.drone_sources]
    pool = PreparedPool(
        pictures=cached.pictures,
        names=tuple(prefixes[view[0]] + view[1] for view in views),
        places=np.full(len(views), -1, np.int64),
        footprint_m=config.footprint_m if is_rectified else None,
        margin=margin,
    )
    offsets_m = np.array([view[2:] for view in views], np.float64)
    return DroneViews(pool, numbers, frames, offsets_m)


def rectified_view(
    image: npt.NDArray[np.uint8],
    camera: FlightCamera,
    pose: CameraPose,
    footprint_m: float,
    size: int,
    margin: float,
    quality: QualityConfig,
) -> DroneView | str:
    """A frame's view as the runtime makes it, with a margin around it, or why it has none.

    Args:
        image: (H, W, 3) RGB of the camera.
        size: Side of what the encoder is to see, in the middle of the picture.
        margin: Side of the picture over the side that the encoder is to see.
    """
    attitude = pose.attitude
    image = camera.undistorted(image)
    pinhole = camera.camera_for(image.shape[1], image.shape[0])
    window, coverage = choose_window(pinhole, attitude, pose.height_m, footprint_m)
    if coverage < quality.smallest_coverage:
        return _LITTLE_SEEN
    stored, _ = stored_size(size, size, margin)
    pixel_m = footprint_m / size
    # An odd difference leaves the middle half a pixel north-west of the picture's centre.
    shift_m = 0.5 * pixel_m * ((stored - size) % 2)
    wider = GroundWindow(window.east_m + shift_m, window.north_m - shift_m, stored * pixel_m)
    picture = rectify(image, pinhole, attitude, pose.height_m, wider, stored)
    start = (stored - size) // 2
    if picture_fault(picture[start : start + size, start : start + size], quality) is not None:
        return _PICTURE
    east_m, north_m = centre_ground_point(attitude, pose.height_m) - window.offset_m
    return DroneView(picture, (float(east_m), float(north_m)))


def _views(
    source: FrameSource,
    camera: FlightCamera | None,
    config: DataConfig,
    size: tuple[int, int],
    left_out: Counter[str],
    path: Path,
) -> Iterator[tuple[Frame, DroneView]]:
    """A source's usable frames; the others are counted."""
    undecodable: list[str] = []
    frames = 0
    first_shape: tuple[int, ...] | None = None
    with quiet_decoder(), progress_bar(f"drone {path.name}", len(source), "frame", _QUIET_S) as bar:
        for frame in source:
            bar.update()
            frames += 1
            if frame.image is None:
                undecodable.append(frame.name)
                left_out[_UNDECODABLE] += 1
                continue
            first_shape = first_shape or frame.image.shape
            if camera is not None and frame.image.shape != first_shape:
                left_out[_OTHER_SIZE] += 1
                continue
            view = _view(frame, frame.image, camera, config, size)
            if isinstance(view, DroneView):
                yield frame, view
            else:
                left_out[view] += 1
    if len(undecodable) > LARGEST_UNREADABLE_SHARE * frames:
        raise too_many_unreadable(str(path), undecodable, frames)


def _view(
    frame: Frame,
    image: npt.NDArray[np.uint8],
    camera: FlightCamera | None,
    config: DataConfig,
    size: tuple[int, int],
) -> DroneView | str:
    """A frame's view, or why it has none."""
    if camera is not None:
        sample = camera.sample_of(frame)
        if sample is None:
            return _NO_TELEMETRY
        pose = sample.pose
        if pose is None:
            return _NO_TELEMETRY
        if pose_fault(pose, config.quality) is not None:
            return _POSE
        if config.view == "rectified":
            return rectified_view(
                image, camera, pose, config.footprint_m, size[0], config.margin, config.quality
            )
    picture = resized(centre_crop(image, *size), *size)
    return _PICTURE if picture_fault(picture, config.quality) is not None else DroneView(picture)


def _nothing_used(
    path: Path, config: DataConfig, number: int, left_out: Counter[str]
) -> SourceError | TelemetryError:
    if left_out[_NO_TELEMETRY] and left_out[_NO_TELEMETRY] == left_out.total():
        return TelemetryError(
            f"{config.telemetry_files[number]} covers none of the {left_out.total()} frames of "
            f"{path}: do their names or times belong together?"
        )
    return SourceError(
        f"{path}: no frame can be used, {_counts(left_out) or 'there is none'}; check the "
        "telemetry and the camera, or loosen data.quality"
    )


def _counts(left_out: Counter[str]) -> str:
    parts = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())
    return f"{left_out.total()} left out: {parts}" if parts else ""


def _made_from(config: DataConfig, height: int, width: int) -> dict[str, Any]:
    """Everything that the views depend on."""
    sources = []
    for number, path in enumerate(config.drone_sources):
        files = list(pictures_in(path)) if path.is_dir() else [path]
        beside: list[Path] = []
        if config.telemetry_files:
            telemetry = config.telemetry_files[number]
            camera_file = telemetry.parent / CAMERA_FILE_NAME
            beside = [telemetry, *([camera_file] if camera_file.is_file() else [])]
        if config.camera.calibration is not None:
            beside.append(config.camera.calibration)
        folder = path if path.is_dir() else path.parent
        sources.append([fingerprint_of(files, folder), fingerprint_of(beside, folder)])
    return {
        "sources": sources,
        "every_s": config.every_s,
        "telemetry_offset_s": config.telemetry_offset_s,
        "view": config.view,
        "footprint_m": config.footprint_m,
        "seen": [height, width],
        "camera": {**asdict(config.camera), "calibration": str(config.camera.calibration)},
        "quality": asdict(config.quality),
        "opencv": cv2.__version__,
    }
