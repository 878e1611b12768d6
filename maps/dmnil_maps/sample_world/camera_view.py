"""Perspective views of the world, as a drone's pinhole camera sees them."""

import zlib
from dataclasses import astuple, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world.appearance import Appearance
from dmnil_maps.sample_world.facades import Facades
from dmnil_maps.sample_world.object_paint import CAR, VEGETATION
from dmnil_maps.sample_world.ray_march import Hits, march
from dmnil_maps.sample_world.scene import FloatArray
from dmnil_maps.sample_world.scene_index import SceneIndex
from dmnil_maps.sample_world.sensor import HAZE_RGB, expose
from dmnil_maps.sample_world.sunlight import Sun
from dmnil_maps.sample_world.surface import SurfacePainter
from dmnil_maps.sample_world.surface_store import StoredWindow, SurfaceStore
from dmnil_maps.sample_world.world import MARGIN_M, World
from edge_runtime.localize.camera import CameraAttitude, PinholeCamera

FARTHEST_M = 1100.0  # horizontal; beyond there is only haze
SIDE_STEP_M = 0.35  # a ray that ends this far under the surface has met a side
LOWEST_CAMERA_M = 1.5
HAZE_PER_M = 0.0035
GRAIN_M = 0.07  # of the texture that is finer than the surface raster
_GRAIN = cv2.GaussianBlur(
    np.random.default_rng(17).standard_normal((256, 256)).astype(np.float32), (0, 0), 0.8
) * np.float32(2.2)


@dataclass(frozen=True)
class CameraPose:
    """Where a camera is and where it looks."""

    east_m: float
    north_m: float
    height_m: float  # above the flat ground
    heading_deg: float = 0.0  # of the camera's axis, clockwise from north
    pitch_deg: float = -90.0  # -90 looks straight down, 0 at the horizon
    roll_deg: float = 0.0  # positive: right side down

    def axes(self) -> FloatArray:
        """(3, 3) rows: the picture's right, the picture's down, forward, in east, north, up."""
        return CameraAttitude(self.heading_deg, self.pitch_deg, self.roll_deg).rotation


def project(pose: CameraPose, camera: PinholeCamera, points: FloatArray) -> FloatArray:
    """(N, 2) pixel column, row of (N, 3) east, north, up points; pixel centres at integers."""
    relative = points - np.array([pose.east_m, pose.north_m, pose.height_m])
    seen = relative @ pose.axes().T
    middle = np.array([(camera.width - 1) / 2, (camera.height - 1) / 2])
    pixels: FloatArray = camera.focal_px * seen[:, :2] / seen[:, 2:] + middle
    return pixels


def viewed_ground_point(pose: CameraPose) -> tuple[float, float]:
    """East, north of the ground point in the middle of the picture.

    Raises:
        ValueError: If the camera does not look down.
    """
    forward = pose.axes()[2]
    if forward[2] >= -1e-6:
        raise ValueError(f"a camera at pitch {pose.pitch_deg} deg does not look at the ground")
    reach = pose.height_m / -forward[2]
    return pose.east_m + reach * float(forward[0]), pose.north_m + reach * float(forward[1])


class DroneRenderer:
    """Renders views of one world under one appearance.

    The surface is painted at `surface_resolution_m` where a view first needs it (about a second
    for 4 hectares) and kept, so that later views of the same place are fast.
    """

    def __init__(
        self, world: World, appearance: Appearance, surface_resolution_m: float = 0.16
    ) -> None:
        self._world = world
        self._appearance = appearance
        painter = SurfacePainter(SceneIndex(world), appearance)
        self._store = SurfaceStore(painter, world.size_m / 2 + MARGIN_M, surface_resolution_m)
        self._tallest_m = 2.0 + max(
            [part.top_m for part in world.parts] + [float(h) for h in world.trees["height_m"]],
            default=0.0,
        )
        self._sun = Sun.of(appearance)
        self._facades = Facades(world.parts, self._sun, appearance.shadow_strength)

    def render(self, pose: CameraPose, camera: PinholeCamera) -> NDArray[np.uint8]:
        """(H, W, 3) RGB view; the same pose gives the same bytes.

        Raises:
            ValueError: If the camera is lower than 1.5 m.
        """
        if pose.height_m < LOWEST_CAMERA_M:
            raise ValueError(
                f"camera height {pose.height_m} m: must be {LOWEST_CAMERA_M} m or more"
            )
        to_east, to_north, sky = _ground_rays(pose, camera)
        distance = np.sqrt(to_east**2 + to_north**2 + np.float32(pose.height_m) ** 2)
        # Ground size of a pixel, averaged over its two directions, grows faster than distance.
        slant = np.sqrt(distance / np.float32(pose.height_m))
        footprint = distance / np.float32(camera.focal_px) * slant
        # Rays are followed from the height of the tallest thing down to the ground.
        share = max(0.0, 1 - self._tallest_m / pose.height_m)
        window = self._store.window(
            pose.east_m + min(float(to_east.min()), share * float(to_east.min())) - 3,
            pose.north_m + min(float(to_north.min()), share * float(to_north.min())) - 3,
            pose.east_m + max(float(to_east.max()), share * float(to_east.max())) + 3,
            pose.north_m + max(float(to_north.max()), share * float(to_north.max())) + 3,
        )
        resolution = window.resolution_m
        camera_column = (pose.east_m - window.west_m) / resolution - 0.5
        camera_row = (window.north_m - pose.north_m) / resolution - 0.5
        hits = march(
            window,
            camera_column,
            camera_row,
            pose.height_m,
            np.float32(camera_column) + to_east / np.float32(resolution),
            np.float32(camera_row) - to_north / np.float32(resolution),
            footprint,
        )
        colour = _sample_colour(window, hits, footprint)
        self._paint_sides(window, hits, footprint, colour)
        colour = _smooth_outlines(colour, hits, footprint)
        _add_grain(colour, window, hits, footprint)
        veil = 1 - np.exp(-distance * np.float32(HAZE_PER_M * self._appearance.haze * 4))
        if sky.any():
            colour[sky] = HAZE_RGB
            fade = np.clip(np.hypot(to_east, to_north) / FARTHEST_M * 3 - 2, 0, 1)
            veil = np.maximum(veil, fade)
        seed = zlib.crc32(repr((self._world.seed, astuple(pose))).encode())
        return expose(colour, self._appearance, veil, seed)

    def _paint_sides(
        self,
        window: StoredWindow,
        hits: Hits,
        footprint: NDArray[np.float32],
        colour: NDArray[np.uint8],
    ) -> None:
        """Replace the colours where rays met walls, trunks or the flanks of cars."""
        columns = (hits.column + 0.5).astype(np.int32)
        rows = (hits.row + 0.5).astype(np.int32)
        surface_m = window.height_cm[rows, columns].astype(np.float32) * np.float32(0.01)
        side = np.flatnonzero((surface_m - hits.height_m > SIDE_STEP_M) & (hits.height_m > 0))
        if side.size == 0:
            return
        owner = window.owner[rows, columns].ravel()[side].astype(np.int64)
        height, surface = hits.height_m.ravel()[side], surface_m.ravel()[side]
        pixels = colour.reshape(-1, 3)
        soft = (owner == VEGETATION) | (owner == CAR) | (owner == 0)
        share = np.clip(height[soft] / np.maximum(surface[soft], 0.1), 0, 1)
        grain = _GRAIN[
            (hits.row.ravel()[side[soft]] * 1.3 + 4.7 * height[soft]).astype(np.int32) % 256,
            (hits.column.ravel()[side[soft]] * 1.3 - 3.1 * height[soft]).astype(np.int32) % 256,
        ]
        dark = (0.42 + 0.5 * share) * (1 + 0.2 * grain)
        under = window.colour[0][rows.ravel()[side[soft]], columns.ravel()[side[soft]]]
        pixels[side[soft]] = np.clip(under * dark[:, None], 0, 255)
        wall = side[~soft]
        if wall.size == 0:
            return
        part = owner[~soft] - 1
        height = height[~soft]
        east = window.west_m + (hits.column.ravel()[wall] + 0.5) * window.resolution_m
        north = window.north_m - (hits.row.ravel()[wall] + 0.5) * window.resolution_m
        normal_east, normal_north, along = self._facades.outward(part, east, north)
        outside = 0.7 / window.resolution_m
        limit = window.height_cm.shape
        out_column = np.clip(hits.column.ravel()[wall] + normal_east * outside, 0, limit[1] - 1)
        out_row = np.clip(hits.row.ravel()[wall] - normal_north * outside, 0, limit[0] - 1)
        tops = window.shadow_top_cm[out_row.astype(np.int32), out_column.astype(np.int32)]
        lit = self._facades.colour(
            part,
            (normal_east, normal_north),
            along,
            height,
            tops.astype(np.float32) * np.float32(0.01),
            footprint.ravel()[wall],
        )
        pixels[wall] = np.clip(lit, 0, 255)


def _ground_rays(
    pose: CameraPose, camera: PinholeCamera
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """East and north from the camera to each ray's ground point (H, W), and which rays miss it."""
    right, down, forward = pose.axes() / camera.focal_px
    x = np.arange(camera.width) - (camera.width - 1) / 2
    y = np.arange(camera.height) - (camera.height - 1) / 2
    focal = camera.focal_px
    rays = [right[k] * x[None, :] + down[k] * y[:, None] + focal * forward[k] for k in range(3)]
    level = np.hypot(rays[0], rays[1])
    lowest = level * (pose.height_m / FARTHEST_M)
    sky = -rays[2] < lowest
    scale = pose.height_m / np.maximum(-rays[2], np.maximum(lowest, 1e-9))
    return (rays[0] * scale).astype(np.float32), (rays[1] * scale).astype(np.float32), sky


def _sample_colour(
    window: StoredWindow, hits: Hits, footprint: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Surface colours at the hits, from the pyramid level that suits each pixel's footprint."""
    level = np.log2(np.maximum(footprint / np.float32(window.resolution_m), 1)) + np.float32(0.25)
    level = np.clip(level.astype(np.int32), 0, len(window.colour) - 1)
    colour: NDArray[np.uint8] | None = None
    for k in range(int(level.min()), int(level.max()) + 1):
        scale = np.float32(0.5**k)
        rows = np.flatnonzero((level == k).any(1))
        if rows.size == 0:
            continue
        span = slice(int(rows[0]), int(rows[-1]) + 1)
        sampled = cv2.remap(
            window.colour[k],
            (hits.column[span] + 0.5) * scale - 0.5,
            (hits.row[span] + 0.5) * scale - 0.5,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if colour is None:
            colour = np.zeros((*level.shape, 3), np.uint8)
        np.copyto(colour[span], sampled, where=(level[span] == k)[..., None])
    if colour is None:
        raise ValueError("a picture without pixels cannot be rendered")
    return colour


def _add_grain(
    colour: NDArray[np.uint8], window: StoredWindow, hits: Hits, footprint: NDArray[np.float32]
) -> None:
    """Roughen near surfaces, in place, with grain fixed to the ground."""
    strength = np.clip(1.2 - footprint / np.float32(0.3), 0, 1) * np.float32(0.06)
    near = np.flatnonzero((strength > 0.002).any(1))
    if near.size == 0:
        return
    span = slice(int(near[0]), int(near[-1]) + 1)
    scale = np.float32(window.resolution_m / GRAIN_M)
    offset = window.west_m / GRAIN_M, window.north_m / GRAIN_M
    columns = (hits.column[span] * scale + np.float32(offset[0] % 256)).astype(np.int32) & 255
    rows = (hits.row[span] * scale - np.float32(offset[1] % 256)).astype(np.int32) & 255
    gain = 1 + strength[span] * _GRAIN[rows, columns]
    # Foliage is rough at every height, at the size of twigs.
    height = hits.height_m[span]
    owner = window.owner[
        (hits.row[span] + 0.5).astype(np.int32), (hits.column[span] + 0.5).astype(np.int32)
    ]
    twig = np.float32(window.resolution_m / 0.3)
    rows = (hits.row[span] * twig + height * np.float32(2.9)).astype(np.int32) & 255
    columns = (hits.column[span] * twig - height * np.float32(2.3)).astype(np.int32) & 255
    leafy = np.float32(0.13) * (owner == VEGETATION)
    gain *= 1 + leafy * _GRAIN[rows, columns]
    colour[span] = np.clip(colour[span] * gain[..., None], 0, 255)


def _smooth_outlines(
    colour: NDArray[np.uint8], hits: Hits, footprint: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Soften the stair steps that the raster leaves along roofs and walls."""
    height = hits.height_m
    jump = np.zeros(height.shape, np.uint8)
    limit = 0.5 + 2 * footprint
    jump[:, 1:] |= (np.abs(np.diff(height, axis=1)) > limit[:, 1:]).astype(np.uint8)
    jump[1:] |= (np.abs(np.diff(height, axis=0)) > limit[1:]).astype(np.uint8)
    near = cv2.dilate(jump, np.ones((3, 3), np.uint8))
    soft = cv2.GaussianBlur(colour, (3, 3), 0.8).astype(np.uint8, copy=False)
    return np.where(near[..., None] > 0, soft, colour)
