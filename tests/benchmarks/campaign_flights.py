"""What the flight campaign flies over and with: worlds, their maps, and rendered flights.

Everything is made once and kept in a work folder, so that settings can be compared without
rendering or encoding again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from campaign_weather import WEATHER, weathered

from dmnil_maps.build import build_map
from dmnil_maps.build_config import BuildConfig
from dmnil_maps.sample_world.appearance import SATELLITE, random_appearance
from dmnil_maps.sample_world.camera_view import DroneRenderer
from dmnil_maps.sample_world.flight import plan_flight
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
FOREIGN_EVERY = 5

MAPS = {"town": 101, "doubles": 102, "part": 103}
"""Kinds of maps and the seed of their world: all of a town; a town whose western quarter is there
twice, which is what look-alike streets are at their worst; and the eastern 70 % of a town that is
flown over whole."""
DOUBLED_M, PART_SHARE = 500.0, 0.7


@dataclass(frozen=True)
class FlightPlan:
    """One flight of the campaign, drawn from its number alone."""

    number: int
    map_kind: str
    world_seed: int
    weather: str
    weather_strength: float
    height_m: float
    pitch_deg: float
    speed_m_s: float

    @property
    def is_foreign(self) -> bool:
        """Whether it is flown over another world than its map's."""
        return self.world_seed != MAPS[self.map_kind]


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


def plan_of(number: int, seed: int) -> FlightPlan:
    """Draw a flight: every fifth is over a world that its map does not show."""
    rng = np.random.default_rng([seed, number, 51])
    kinds = list(MAPS)
    map_kind = kinds[number % len(kinds)]
    world_seed = MAPS[map_kind]
    if number % FOREIGN_EVERY == FOREIGN_EVERY - 1:
        world_seed = MAPS[kinds[(number + 1 + int(rng.integers(2))) % len(kinds)]]
    return FlightPlan(
        number=number,
        map_kind=map_kind,
        world_seed=world_seed,
        weather=WEATHER[(number // 2) % len(WEATHER)],
        weather_strength=float(rng.uniform()),
        height_m=float(rng.uniform(80.0, 160.0)),
        pitch_deg=float(rng.choice([-90.0, -60.0, -45.0])),
        speed_m_s=float(rng.uniform(8.0, 15.0)),
    )


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
    path = folder / f"{plan.number:03d}.frames.npz"
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
    rng = np.random.default_rng([seed, plan.number, 53])
    appearance = replace(random_appearance(rng), jpeg_quality=int(rng.integers(75, 95)))
    climb_s = plan.height_m / 4.0 + 12.0
    duration_s = climb_s + FRAMES * INTERVAL_S
    timed = plan_flight(
        world,
        1000 * seed + plan.number,
        duration_s,
        1.0 / INTERVAL_S,
        plan.height_m,
        plan.speed_m_s,
        plan.pitch_deg,
    )
    high = next(i for i, at in enumerate(timed) if at.pose.height_m >= 0.6 * plan.height_m)
    renderer = DroneRenderer(world, appearance, SURFACE_RESOLUTION_M)
    pictures, poses, times = [], [], []
    for frame, at in enumerate(timed[high : high + FRAMES]):
        picture = renderer.render(at.pose, CAMERA)
        picture = weathered(
            picture, plan.weather, plan.weather_strength, 1000 * plan.number + frame
        )
        quality = [cv2.IMWRITE_JPEG_QUALITY, appearance.jpeg_quality]
        pictures.append(cv2.imencode(".jpg", picture[..., ::-1], quality)[1])
        pose = at.pose
        poses.append(
            [
                pose.east_m,
                pose.north_m,
                pose.height_m,
                pose.heading_deg,
                pose.pitch_deg,
                pose.roll_deg,
            ]
        )
        times.append(at.time_s)
    return RenderedFlight(np.array(times), np.array(poses), pictures)
