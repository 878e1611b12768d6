"""A generated world on disk: its satellite picture and a flight, or a dataset for training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from rasterio.errors import RasterioError

from dmnil_maps.sample_world.appearance import DRONE, SATELLITE, random_appearance
from dmnil_maps.sample_world.flight import plan_flight, write_flight
from dmnil_maps.sample_world.layouts import write_university1652
from dmnil_maps.sample_world.satellite import render_satellite, write_geotiff
from dmnil_maps.sample_world.world import generate_world
from edge_runtime.contract.artefact import staged_directory, write_manifest
from edge_runtime.contract.errors import ConfigError, OutputError
from edge_runtime.localize.camera import PinholeCamera

SAMPLE_KIND = "sample world"
SAMPLE_SCHEMA_VERSION = 1
SATELLITE_FILE = "satellite.tif"
FLIGHT_FOLDER = "flight"
DATASET_FOLDER = "university1652"
Layout = Literal["flight", "university1652"]


@dataclass(frozen=True)
class SampleConfig:
    """What to generate; the same settings give the same bytes.

    Args:
        output: Folder to write, NAME.world.
        layout: A satellite picture and a flight, or a dataset in University-1652's layout.
        seed: Seed of the world: streets, houses, fields.
        flight_seed: Seed of the path, of the telemetry's errors and of a random appearance.
        size_m: Side of the square world.
        ground_sample_distance_m: Size of the satellite picture's pixels on the ground.
        latitude_deg: Where on Earth the world's centre is put.
        longitude_deg: Where on Earth the world's centre is put.
        duration_s: Length of the flight, climb and hover included.
        rate_hz: Frames per second.
        height_m: Height that the flight climbs to.
        speed_m_s: Speed between waypoints.
        pitch_deg: Camera pitch, -90 straight down.
        image_width: Width of the frames; their height is 9/16 of it.
        jpeg_quality: Compression of the frames, 1-100.
        random_light: Season, light and sensor of the drone at random, not the usual autumn day.
        places: Places of a dataset.
        views: Drone views of each place of a dataset.
    """

    output: Path
    layout: Layout = "flight"
    seed: int = 1
    flight_seed: int = 1
    size_m: float = 2000.0
    ground_sample_distance_m: float = 0.5
    latitude_deg: float = 47.2
    longitude_deg: float = 9.6
    duration_s: float = 150.0
    rate_hz: float = 1.0
    height_m: float = 120.0
    speed_m_s: float = 12.0
    pitch_deg: float = -45.0
    image_width: int = 960
    jpeg_quality: int = 85
    random_light: bool = False
    places: int = 200
    views: int = 20

    def __post_init__(self) -> None:
        if not 300.0 <= self.size_m <= 20000.0:
            raise ConfigError(f"size must lie between 300 m and 20 km: {self.size_m}")
        if not 0.1 <= self.ground_sample_distance_m <= 5.0:
            raise ConfigError(f"pixels must span 0.1 to 5 m: {self.ground_sample_distance_m}")
        motion = (self.duration_s, self.rate_hz, self.height_m, self.speed_m_s)
        if not all(0.0 < value < float("inf") for value in motion):
            raise ConfigError("duration, rate, height and speed must be above 0 and finite")
        if not (abs(self.latitude_deg) <= 90.0 and abs(self.longitude_deg) <= 180.0):
            raise ConfigError(
                f"no such place: latitude {self.latitude_deg}, longitude {self.longitude_deg}"
            )
        if min(self.seed, self.flight_seed) < 0:
            raise ConfigError("seeds must be 0 or more")
        if not -90.0 <= self.pitch_deg <= -20.0:
            raise ConfigError(f"pitch must lie between -90 and -20 degrees: {self.pitch_deg}")
        if self.image_width < 160 or min(self.places, self.views) < 1:
            raise ConfigError("images must be 160 px wide or more, places and views 1 or more")
        if not 1 <= self.jpeg_quality <= 100:
            raise ConfigError(f"JPEG quality must lie between 1 and 100: {self.jpeg_quality}")


def write_sample(config: SampleConfig) -> Path:
    """Generate a world and write it in the chosen layout.

    Raises:
        ConfigError: If the world is too small for the flight or the dataset.
        OutputError: If the folder cannot be written, or holds something else.
    """
    drone = DRONE
    if config.random_light:
        drone = random_appearance(np.random.default_rng([config.flight_seed, 41]))
    drone = replace(drone, jpeg_quality=config.jpeg_quality)
    with staged_directory(config.output, SAMPLE_KIND) as staging:
        try:
            world = generate_world(config.seed, config.size_m)
            if config.layout == "university1652":
                write_university1652(
                    staging / DATASET_FOLDER,
                    world,
                    config.places,
                    config.views,
                    drone=drone,
                    seed=config.flight_seed,
                )
            else:
                poses = plan_flight(
                    world,
                    config.flight_seed,
                    config.duration_s,
                    config.rate_hz,
                    config.height_m,
                    config.speed_m_s,
                    config.pitch_deg,
                )
                write_geotiff(
                    staging / SATELLITE_FILE,
                    render_satellite(world, SATELLITE, config.ground_sample_distance_m),
                    config.latitude_deg,
                    config.longitude_deg,
                    config.ground_sample_distance_m,
                )
                camera = PinholeCamera.from_equivalent_focal_length(
                    config.image_width, config.image_width * 9 // 16, 24.0
                )
                write_flight(
                    staging / FLIGHT_FOLDER,
                    world,
                    drone,
                    poses,
                    camera,
                    config.latitude_deg,
                    config.longitude_deg,
                    config.flight_seed,
                )
        except ValueError as error:
            raise ConfigError(str(error)) from error
        except RasterioError as error:
            reason = error.__cause__ or error
            raise OutputError(
                f"cannot write {config.output}: {reason}: is the disk full?"
            ) from error
        settings = {name: value for name, value in asdict(config).items() if name != "output"}
        body = {
            "settings": settings,
            "drone_appearance": asdict(drone),
            "satellite_appearance": asdict(SATELLITE),
            "licence": "generated by dmnil-map sample; CC0-1.0",
        }
        write_manifest(staging, SAMPLE_KIND, SAMPLE_SCHEMA_VERSION, body)
    return config.output
