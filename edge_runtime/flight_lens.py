"""A flight's lens, whatever is known of it: a focal length, or a calibration with distortion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.camera_info import CameraInfo, read_camera_info
from edge_runtime.lens import LensModel, Undistorter
from edge_runtime.localize.camera import PinholeCamera


class FlightLens:
    """Pictures of any size through one lens, as a pinhole camera would have taken them."""

    def __init__(
        self, info: CameraInfo | None = None, focal_length_35mm: float | None = None
    ) -> None:
        """A calibrated lens, else one known by its full-frame equivalent focal length in mm."""
        self._info = info
        self._focal_length_35mm = focal_length_35mm
        self._undistorters: dict[tuple[int, int], Undistorter] = {}

    def camera_for(self, width: int, height: int) -> PinholeCamera:
        """The pinhole camera of pictures of this size, once `undistorted`.

        Raises:
            ConfigError: If the lens was calibrated at another shape of picture.
        """
        return self._undistorter(width, height).camera

    def undistorted(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A picture (H, W, 3) without its distortion; the same object where there is none."""
        return self._undistorter(image.shape[1], image.shape[0]).undistort(image)

    def _undistorter(self, width: int, height: int) -> Undistorter:
        size = (width, height)
        if size not in self._undistorters:
            self._undistorters[size] = Undistorter(self._model(width, height))
        return self._undistorters[size]

    def _model(self, width: int, height: int) -> LensModel:
        if self._info is not None:
            return self._info.lens.scaled_to(width, height)
        pinhole = PinholeCamera.from_equivalent_focal_length(
            width, height, self._focal_length_35mm or 0.0
        )
        middle = (width - 1) / 2, (height - 1) / 2
        return LensModel(width, height, pinhole.focal_px, pinhole.focal_px, *middle)


def read_pinhole(path: Path) -> PinholeCamera:
    """The pinhole camera that a camera's file amounts to, at the size it was calibrated at.

    Raises:
        ConfigError: If the file cannot be used.
    """
    lens = read_camera_info(path).lens
    return Undistorter(lens).camera
