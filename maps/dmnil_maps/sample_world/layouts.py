"""The generated world in the folder layout of a public dataset, for training and benchmarks."""

import shutil
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world.appearance import DRONE, SATELLITE, Appearance
from dmnil_maps.sample_world.camera_view import CameraPose, DroneRenderer
from dmnil_maps.sample_world.satellite import render_satellite
from dmnil_maps.sample_world.scene import FloatArray
from dmnil_maps.sample_world.world import World
from edge_runtime.localize.camera import PinholeCamera

SATELLITE_GSD_M = 0.5
HEIGHTS_M, PITCHES_DEG = (80.0, 150.0), (-80.0, -42.0)


def write_university1652(
    folder: Path,
    world: World,
    places: int,
    views_per_place: int,
    *,
    seed: int = 0,
    satellite: Appearance = SATELLITE,
    drone: Appearance = DRONE,
    train_share: float = 0.5,
    crop_m: float = 160.0,
    image_px: int = 512,
    surface_resolution_m: float = 0.2,
) -> Path:
    """Write places of a world as University-1652 (Zheng et al. 2020) lays them out; the folder.

    `train/{drone,satellite}/<id>/*` and `test/{query_drone,gallery_satellite,query_satellite,
    gallery_drone}/<id>/*`; drone views circle each place, the satellite crop is centred on it.
    The folder appears whole or not at all; one that is there is replaced.

    Raises:
        ValueError: If the world has no room for so many places.
    """
    rng = np.random.default_rng([world.seed, seed, 41])
    spots = _places(rng, world, places, crop_m)
    beside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    overview = render_satellite(world, satellite, SATELLITE_GSD_M)
    renderer = DroneRenderer(world, drone, surface_resolution_m)
    camera = PinholeCamera(image_px, image_px, 1.1 * image_px)
    for number, spot in enumerate(spots):
        name = f"{number:04d}"
        crop = _crop(overview, spot, crop_m, image_px)
        views = [renderer.render(pose, camera) for pose in _circle(rng, spot, views_per_place)]
        if number < train_share * places:
            tops, bottoms = ["train/satellite"], ["train/drone"]
        else:
            tops = ["test/gallery_satellite", "test/query_satellite"]
            bottoms = ["test/query_drone", "test/gallery_drone"]
        for part in tops:
            _write(beside / part / name / f"{name}.jpg", crop, satellite.jpeg_quality)
        for part in bottoms:
            for index, view in enumerate(views, start=1):
                path = beside / part / name / f"image-{index:02d}.jpeg"
                _write(path, view, drone.jpeg_quality)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
    return folder


def _places(rng: np.random.Generator, world: World, count: int, crop_m: float) -> FloatArray:
    """(count, 2) spots whose crops share no ground, unless the world is too small for that.

    Buildings, as in the dataset; any ground once no building is left that is far enough from the
    others.

    Raises:
        ValueError: If crops would share more than a half of their sides.
    """
    room = world.size_m / 2 - crop_m / 2
    if room > 0:
        # Squares dropped at random come to rest at a density of about a half; 0.4 is soon found.
        apart_m = min(crop_m, 2 * room * float(np.sqrt(0.4 / count)))
        if apart_m >= crop_m / 2:
            buildings = rng.permutation(_building_centres(world, room))
            anywhere = rng.uniform(-room, room, (200 * count, 2))
            chosen = np.empty((0, 2))
            for option in np.vstack([buildings, anywhere]):
                if (np.abs(chosen - option).max(axis=1) >= apart_m).all():
                    chosen = np.vstack([chosen, option])
                if len(chosen) == count:
                    rng.shuffle(chosen)
                    return chosen
    raise ValueError(f"no room for {count} places of {crop_m} m in a world of {world.size_m} m")


def _building_centres(world: World, room: float) -> FloatArray:
    """(N, 2) centres of the buildings' first wings within `room` of the middle on both axes."""
    firsts = {part.building: (part.east, part.north) for part in reversed(world.parts)}
    centres = np.array(list(firsts.values()), np.float64).reshape(-1, 2)
    inside: NDArray[np.bool_] = np.abs(centres).max(axis=1, initial=0.0) <= room
    return centres[inside]


def _circle(rng: np.random.Generator, spot: FloatArray, views: int) -> list[CameraPose]:
    """Poses around a spot that look at it."""
    first = rng.uniform(0, 360)
    poses = []
    for view in range(views):
        heading = first + 360 * view / views
        height, pitch = float(rng.uniform(*HEIGHTS_M)), float(rng.uniform(*PITCHES_DEG))
        reach = height / np.tan(np.deg2rad(-pitch))
        back = np.array([np.sin(np.deg2rad(heading)), np.cos(np.deg2rad(heading))]) * reach
        east, north = spot - back
        poses.append(CameraPose(float(east), float(north), height, heading % 360, pitch))
    return poses


def _crop(
    overview: NDArray[np.uint8], spot: FloatArray, crop_m: float, image_px: int
) -> NDArray[np.uint8]:
    """A square of the overview about a spot, resized."""
    middle = (len(overview) - 1) / 2
    centre = middle + spot[0] / SATELLITE_GSD_M, middle - spot[1] / SATELLITE_GSD_M
    side = round(crop_m / SATELLITE_GSD_M)
    patch = cv2.getRectSubPix(overview, (side, side), centre)
    return cv2.resize(patch, (image_px, image_px), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def _write(path: Path, image: NDArray[np.uint8], quality: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, quality]):
        raise OSError(f"could not write {path}")
