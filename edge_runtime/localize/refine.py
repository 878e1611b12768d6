"""From the filter's tens of metres to metres: a view laid over the map's own picture.

Twice: the view as telemetry places it, searched as far as the filter may be off, then the view as
it looks once telemetry's errors are taken out, searched closely. Each time its parts are matched
one by one, and the drone's place follows from all of them together (`resection`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.map_imagery import MapImagery
from edge_runtime.localize.camera import CameraPose, FloatArray, PinholeCamera, ground_to_image
from edge_runtime.localize.orientation_features import FloatPicture, orientation_features
from edge_runtime.localize.picture_match import match_picture
from edge_runtime.localize.rectify import GroundWindow
from edge_runtime.localize.resection import (
    UNKNOWNS,
    Resection,
    corrected_ground,
    moved,
    solve_resection,
)

_SIDE_PX = 96
_PARTS_ALONG = 4
_BLUR_PX = 1.5
_APART_M = 10.0
_CLOSE_SEARCH_M = 12.0
_PART_REACH_M = (12.0, 8.0)
_PART_SEEN = 0.7
_PART_SIMILARITY = 0.25
_LEAST_PARTS = 6
_FULL_PART_SIMILARITY = 0.45
_OVERLAP_WEIGHT = 0.35
"""Parts overlap by half, so that four of them see every pixel: what each is worth alone."""
_MATCH_ERROR_M = 2.0
_INLIER_M = 4.0
_IMAGERY_COVERED = 0.9
_EDGE_PX = 5


@dataclass(frozen=True)
class RefineConfig:
    """Refinement of positions against the map's imagery, and when it is believed."""

    enabled: bool = False
    """Refine positions where the map carries its imagery."""
    search_radius_m: float = 40.0
    """How far the filter may be off; where it says that it may be further, nothing is refined."""
    heading_deg: float = 5.0
    """Standard deviation of the heading that telemetry gives."""
    pitch_deg: float = 3.0
    """Likewise of the camera's pitch, and its roll."""
    height_share: float = 0.1
    """Likewise of the height above the viewed ground, relative."""
    ground_slope: float = 0.1
    """Likewise of the viewed ground's slope, metres a metre."""
    imagery_error_m: float = 8.0
    """Standard deviation of what no view can tell, in each direction: how far the imagery itself
    is off, and ground that is neither flat nor an even slope."""
    least_margin: float = 0.05
    """By how much the best place's similarity must exceed that of any other."""
    least_parts: int = 15
    """Parts of the view that must agree on it to 4 m."""
    least_agreement: float = 0.6
    """Their share of all parts that were found at all."""
    largest_disagreement_m: float = 6.0
    """Between the first look and the second, closer one."""
    largest_surprise: float = 4.0
    """Telemetry errors, in standard deviations, beyond which the match is held to be chance."""

    def __post_init__(self) -> None:
        sizes = (
            self.search_radius_m, self.heading_deg, self.pitch_deg, self.height_share,
            self.ground_slope, self.imagery_error_m, self.largest_disagreement_m,
            self.largest_surprise,
        )  # fmt: skip
        if not np.isfinite(sizes).all() or min(sizes) <= 0.0:
            raise ConfigError("refine: metres, degrees and shares must be finite and > 0")
        if not 0.0 <= self.least_margin < 1.0 or not 0.0 < self.least_agreement <= 1.0:
            raise ConfigError("refine: least_margin and least_agreement lie between 0 and 1")


@dataclass(frozen=True)
class Refinement:
    """Where the drone is beside where the filter had it.

    Args:
        offset_m: East and north metres to add to the position.
        covariance_m2: (2, 2) of the refined position.
        heading_correction_deg: To add to telemetry's heading, with its standard deviation.
        quality: Share of the view's parts that agree, 0-1.
    """

    offset_m: FloatArray
    covariance_m2: FloatArray
    heading_correction_deg: float
    heading_standard_deviation_deg: float
    quality: float


@dataclass(frozen=True)
class _Look:
    """One registration of a view: whether it stands out, and what its parts say together."""

    margin: float
    resection: Resection


def refine(
    view: npt.NDArray[np.uint8],
    window: GroundWindow,
    pose: CameraPose,
    camera: PinholeCamera,
    imagery: MapImagery,
    position_m: FloatArray,
    search_radius_m: float,
    config: RefineConfig,
) -> Refinement | None:
    """Lay a rectified view over the map's imagery; None where that is not clearly right.

    Args:
        view: (size, size, 3) RGB, the window as the camera sees it (`rectify`).
        pose: What it was rectified with.
        position_m: East and north of the drone in the map's frame, as the filter has it.
        search_radius_m: How far that may be off.
    """
    if search_radius_m > config.search_radius_m:
        return None
    scene = _Scene(view, window, pose, camera, imagery, np.asarray(position_m, np.float64), config)
    try:
        first = scene.look(np.zeros(UNKNOWNS), search_radius_m, _PART_REACH_M[0])
        if first is None or first.margin < config.least_margin:
            return None
        second = scene.look(first.resection.unknowns, _CLOSE_SEARCH_M, _PART_REACH_M[1])
    except np.linalg.LinAlgError:
        return None
    if second is None:
        return None
    return _believed(first.resection, second.resection, config)


def _believed(first: Resection, second: Resection, config: RefineConfig) -> Refinement | None:
    agreeing = second.residual_m < _INLIER_M
    offset = second.unknowns[:2]
    surprise = np.abs(second.unknowns[2:6]) / _usual_errors(config)[2:6]
    if (
        not np.isfinite(second.unknowns).all()
        or int(agreeing.sum()) < config.least_parts
        or float(agreeing.mean()) < config.least_agreement
        or float(np.linalg.norm(offset - first.unknowns[:2])) > config.largest_disagreement_m
        or float(surprise.max()) > config.largest_surprise
    ):
        return None
    return Refinement(
        offset_m=offset,
        covariance_m2=second.covariance[:2, :2] + np.eye(2) * config.imagery_error_m**2,
        heading_correction_deg=float(second.unknowns[2]),
        heading_standard_deviation_deg=float(np.sqrt(second.covariance[2, 2])),
        quality=float(agreeing.mean()),
    )


def _usual_errors(config: RefineConfig) -> FloatArray:
    """Standard deviations of the unknowns; the position is free within the search."""
    position, tilt, slope = config.search_radius_m, config.pitch_deg, config.ground_slope
    return np.array(
        [position, position, config.heading_deg, tilt, tilt, config.height_share, slope, slope]
    )


@dataclass(frozen=True)
class _Scene:
    """A view and the imagery around where it should lie."""

    view: npt.NDArray[np.uint8]
    window: GroundWindow
    pose: CameraPose
    camera: PinholeCamera
    imagery: MapImagery
    position_m: FloatArray
    config: RefineConfig

    @property
    def step_m(self) -> float:
        """Ground along a pixel's side."""
        return self.window.footprint_m / _SIDE_PX

    def look(self, unknowns: FloatArray, search_m: float, part_reach_m: float) -> _Look | None:
        """Register the view as it looks with some errors taken out; None if it cannot be."""
        correction = corrected_ground(self.pose, unknowns[2:])
        beside_drone = moved(correction, self.window.offset_m[None])[0]
        centre = self.position_m + unknowns[:2] + beside_drone
        if not np.isfinite(centre).all():
            return None
        margin_px = int(np.ceil(search_m / self.step_m))
        side = _SIDE_PX + 2 * margin_px
        ground = self.imagery.view(centre, side * self.step_m, side, _IMAGERY_COVERED)
        if ground is None:
            return None
        east_m, north_m = beside_drone.tolist()
        target = GroundWindow(east_m, north_m, self.window.footprint_m)
        seen, picture = self._as_seen_from(correction, target)
        if float(seen.mean()) < _PART_SEEN:
            return None
        within = orientation_features(ground, _BLUR_PX)
        within -= within.mean(axis=(0, 1))
        part = orientation_features(picture, _BLUR_PX)
        part = (part - part[seen].mean(axis=0)) * seen[..., None]
        whole = match_picture(part, within, _APART_M / self.step_m)
        if whole.is_at_edge:
            return None
        corner = round(whole.row), round(whole.column)
        reach_px = round(part_reach_m / self.step_m)
        placed, found, weights = _matched_parts(part, seen, within, corner, reach_px)
        if len(placed) < _LEAST_PARTS:
            return None
        on_ground = target.from_unit_square(_SIDE_PX)
        placed_m = moved(np.linalg.inv(correction) @ on_ground, placed)
        from_centre = (found - (side - 1) / 2) * self.step_m * (1.0, -1.0)
        resection = solve_resection(
            self.pose,
            placed_m,
            centre + from_centre - self.position_m,
            weights,
            _usual_errors(self.config),
            _MATCH_ERROR_M,
        )
        return _Look(whole.margin, resection)

    def _as_seen_from(
        self, correction: FloatArray, target: GroundWindow
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
        """The view on corrected ground, small, and which of its pixels the camera saw."""
        view_px = self.view.shape[0]
        to_placed = np.linalg.inv(correction) @ target.from_unit_square(_SIDE_PX)
        to_view = np.linalg.inv(self.window.from_unit_square(view_px)) @ to_placed
        sharp = self.view
        if view_px > _SIDE_PX:
            sharp = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 0.5 * view_px / _SIDE_PX), np.uint8)
        picture = cv2.warpPerspective(
            sharp,
            to_view,
            (_SIDE_PX, _SIDE_PX),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        to_image = ground_to_image(self.camera, self.pose.attitude, self.pose.height_m) @ to_placed
        seen = _inside(to_view, view_px, view_px)
        seen &= _inside(to_image, self.camera.width, self.camera.height)
        around = np.ones((_EDGE_PX, _EDGE_PX), np.uint8)
        seen = cv2.erode(seen.astype(np.uint8), around, borderValue=1) > 0
        return seen, np.asarray(picture, np.uint8)


def _inside(homography: FloatArray, width: int, height: int) -> npt.NDArray[np.bool_]:
    """Which pixels of the small view fall into a picture, and in front of it."""
    column, row = np.meshgrid(np.arange(_SIDE_PX), np.arange(_SIDE_PX))
    pixels = np.stack([column, row, np.ones_like(row)], axis=-1)
    x, y, depth = np.moveaxis(pixels @ homography.T, -1, 0)
    inside = (depth > 0.0) & (x >= 0.0) & (x <= (width - 1) * depth)
    return np.asarray(inside & (y >= 0.0) & (y <= (height - 1) * depth))


def _matched_parts(
    view: FloatPicture,
    seen: npt.NDArray[np.bool_],
    within: FloatPicture,
    corner: tuple[int, int],
    reach_px: int,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Middles (n, 2) of the view's parts, where they were found, and what each match is worth.

    Both are column and row, in the view and in the picture that it lies in.
    """
    side = _SIDE_PX // _PARTS_ALONG
    starts = range(0, _SIDE_PX - side + 1, side // 2)
    placed, found, weights = [], [], []
    for top in starts:
        for left in starts:
            own = slice(top, top + side), slice(left, left + side)
            first_row, first_column = corner[0] + top - reach_px, corner[1] + left - reach_px
            reach = side + 2 * reach_px
            if (
                min(first_row, first_column) < 0
                or first_row + reach > within.shape[0]
                or first_column + reach > within.shape[1]
                or float(seen[own].mean()) < _PART_SEEN
            ):
                continue
            around = within[first_row : first_row + reach, first_column : first_column + reach]
            match = match_picture(view[own], around, float(reach))
            if match.is_at_edge or match.similarity < _PART_SIMILARITY:
                continue
            middle = (side - 1) / 2
            placed.append((left + middle, top + middle))
            found.append((first_column + match.column + middle, first_row + match.row + middle))
            weights.append(_OVERLAP_WEIGHT * min(1.0, match.similarity / _FULL_PART_SIMILARITY))
    return np.reshape(placed, (-1, 2)), np.reshape(found, (-1, 2)), np.array(weights)
