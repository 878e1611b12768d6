"""What the flight campaign flies over and with: worlds, their maps, and rendered flights.

Everything is made once and kept in a work folder, so that settings can be compared without
rendering or encoding again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, astuple, dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from campaign_plans import MAPS, FlightPlan, TakeOffPlan
from campaign_take_off import take_off_path
from campaign_weather import weathered

from dmnil_maps.build import build_map
from dmnil_maps.build_config import BuildConfig
from dmnil_maps.sample_world.appearance import SATELLITE, random_appearance
from dmnil_maps.sample_world.camera_view import DroneRenderer
from dmnil_maps.sample_world.flight import TimedPose, plan_flight
from dmnil_maps.sample_world.satellite import render_satellite, write_geotiff
from dmnil_maps.sample_world.world import World, generate_world
from edge_runtime.contract.artefact import write_whole
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.localize.camera import PinholeCamera

WORLD_SIZE_M = 2000.0
SAMPLE_DISTANCE_M = 0.5
SURFACE_RESOLUTION_M = 0.4
LATITUDE_DEG, LONGITUDE_DEG = 47.2, 9.6
CAMERA = PinholeCamera.from_equivalent_focal_length(384, 216, 24.0)
FRAMES, INTERVAL_S = 80, 1.25
DOUBLED_M, PART_SHARE = 500.0, 0.7
_RENDERING, _PATH = 53, 55


@dataclass(frozen=True)
class RenderedFlight:
    """Frames as compressed pictures, with the true pose (east, north, height, heading, pitch,
    roll) of each."""

    time_s: np.ndarray
    poses: np.ndarray
    pictures: list[np.ndarray]

    def picture(self, frame: int) -> np.ndarray:
        """A frame (H, W, 3) RGB."""
        return cv2.cvtColor(cv2.imdecode(self.pictures[frame], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


@lru_cache(maxsize=len(MAPS))
def world_of(seed: int) -> World:
    """A campaign's world; kept, since it takes seconds to generate."""
    return generate_world(seed, WORLD_SIZE_M)


def map_of(kind: str, encoder: Path, folder: Path) -> Path:
    """Build a kind's map where it is not there yet; its folder."""
    output = folder / f"{kind}.map"
    if output.is_dir():
        return output
    picture = render_satellite(world_of(MAPS[kind]), SATELLITE, SAMPLE_DISTANCE_M)
    width, shift_m = picture.shape[1], 0.0
    if kind == "doubles":
        # Shifted by an odd number of pixels, so that the doubles lie otherwise on the lattice.
        strip = picture[:, 13 : 13 + round(DOUBLED_M / SAMPLE_DISTANCE_M)]
        picture = np.concatenate([picture, strip], axis=1)
        shift_m = DOUBLED_M / 2
    elif kind == "part":
        picture = picture[:, -round(PART_SHARE * width) :]
        shift_m = (1.0 - PART_SHARE) * WORLD_SIZE_M / 2
    latitude_deg, longitude_deg = LocalFrame(LATITUDE_DEG, LONGITUDE_DEG).to_geodetic(
        [shift_m, 0.0]
    )
    imagery = folder / f"{kind}.tif"
    write_geotiff(
        imagery,
        np.ascontiguousarray(picture),
        float(latitude_deg),
        float(longitude_deg),
        SAMPLE_DISTANCE_M,
    )
    build_map(BuildConfig(imagery=imagery, encoder=encoder, output=output, threads=1))
    return output


def rendered(plan: FlightPlan, seed: int, folder: Path) -> RenderedFlight:
    """Render a flight, or read it where it has been rendered before."""
    path = folder / f"{plan.name}.frames.npz"
    if path.is_file():
        with np.load(path) as stored:
            count = len(stored["time_s"])
            pictures = [stored[f"picture{frame}"] for frame in range(count)]
            return RenderedFlight(stored["time_s"], stored["poses"], pictures)
    flight = _render(plan, seed)
    arrays = {f"picture{frame}": coded for frame, coded in enumerate(flight.pictures)}
    beside = path.with_suffix(".partial.npz")
    np.savez(beside, time_s=flight.time_s, poses=flight.poses, **arrays)
    beside.rename(path)
    write_whole(path.with_suffix(".json"), json.dumps(asdict(plan), indent=2))
    return flight


def _render(plan: FlightPlan, seed: int) -> RenderedFlight:
    world = world_of(plan.world_seed)
    rng = plan.drawing(seed, _RENDERING)
    appearance = replace(random_appearance(rng), jpeg_quality=int(rng.integers(75, 95)))
    renderer = DroneRenderer(world, appearance, SURFACE_RESOLUTION_M)
    pictures, poses, times = [], [], []
    for frame, at in enumerate(_path(plan, seed, world)):
        picture = renderer.render(at.pose, CAMERA)
        picture = weathered(
            picture, plan.weather, plan.weather_strength, 1000 * plan.number + frame
        )
        quality = [cv2.IMWRITE_JPEG_QUALITY, appearance.jpeg_quality]
        pictures.append(cv2.imencode(".jpg", picture[..., ::-1], quality)[1])
        poses.append(astuple(at.pose))
        times.append(at.time_s)
    return RenderedFlight(np.array(times), np.array(poses), pictures)


def _path(plan: FlightPlan, seed: int, world: World) -> list[TimedPose]:
    if isinstance(plan, TakeOffPlan):
        return take_off_path(world, plan, plan.drawing(seed, _PATH))
    climb_s = plan.height_m / 4.0 + 12.0
    timed = plan_flight(
        world,
        1000 * seed + plan.number,
        climb_s + FRAMES * INTERVAL_S,
        1.0 / INTERVAL_S,
        plan.height_m,
        plan.speed_m_s,
        plan.pitch_deg,
    )
    high = next(i for i, at in enumerate(timed) if at.pose.height_m >= 0.6 * plan.height_m)
    return timed[high : high + FRAMES]
