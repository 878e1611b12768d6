"""When and with what a picture is taken: season, sun, haze, sensor, and what changed."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dmnil_maps.sample_world.palette import Season


@dataclass(frozen=True)
class Appearance:
    """Everything that makes two pictures of one place differ.

    Raises:
        ValueError: If the sun is below 8 degrees, or haze or JPEG quality is out of range.
    """

    season: Season = "summer"
    sun_azimuth_deg: float = 150.0  # clockwise from north
    sun_elevation_deg: float = 52.0
    change_seed: int = 0  # which cars are there, which buildings are missing, what is sown
    haze: float = 0.0  # 0 clear, 1 thick
    shadow_strength: float = 1.0  # 0: overcast
    exposure: float = 1.0
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    saturation: float = 1.0
    contrast: float = 1.0
    gamma: float = 1.0
    blur_px: float = 0.5
    sharpening: float = 0.0  # as cameras do it, 0-1
    noise: float = 1.5  # standard deviation in 8-bit levels
    vignetting: float = 0.0  # darkening of the corners, 0-1
    jpeg_quality: int = 92
    missing_buildings: float = 0.0  # share that is not there (not yet, or no longer)

    def __post_init__(self) -> None:
        if not 8 <= self.sun_elevation_deg <= 90:
            raise ValueError(f"sun_elevation_deg is {self.sun_elevation_deg}: choose 8 to 90")
        if not 0 <= self.haze <= 1:
            raise ValueError(f"haze is {self.haze}: choose 0 (clear) to 1 (thick)")
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality is {self.jpeg_quality}: choose 1 to 100")


SATELLITE = Appearance(
    season="summer",
    sun_azimuth_deg=152.0,
    sun_elevation_deg=55.0,
    change_seed=1,
    haze=0.07,
    exposure=1.06,
    white_balance=(0.99, 1.0, 1.0),
    saturation=0.92,
    contrast=1.02,
    blur_px=0.6,
    noise=1.6,
    missing_buildings=0.02,
)
DRONE = Appearance(
    season="autumn",
    sun_azimuth_deg=228.0,
    sun_elevation_deg=34.0,
    change_seed=2,
    haze=0.05,
    exposure=1.12,
    white_balance=(1.0, 1.0, 1.0),
    saturation=1.1,
    contrast=1.06,
    gamma=0.97,
    blur_px=0.5,
    sharpening=0.55,
    noise=2.0,
    vignetting=0.16,
    jpeg_quality=90,
    missing_buildings=0.02,
)


def random_appearance(
    rng: np.random.Generator, kind: Literal["drone", "satellite"] = "drone"
) -> Appearance:
    """A plausible appearance: any season, light, sensor; calmer for satellites."""
    seasons: tuple[Season, ...] = ("spring", "summer", "autumn", "winter")
    drone = kind == "drone"
    season = seasons[int(rng.integers(4))]
    highest = {"spring": 52.0, "summer": 62.0, "autumn": 40.0, "winter": 24.0}[season]
    warmth = float(rng.normal(0, 0.035 if drone else 0.015))
    return Appearance(
        season=season,
        sun_azimuth_deg=float(rng.uniform(95, 265) if drone else rng.uniform(135, 175)),
        sun_elevation_deg=float(rng.uniform(max(15.0, highest - 25), highest)),
        change_seed=int(rng.integers(1 << 30)),
        haze=float(rng.beta(1.2, 8)),
        shadow_strength=float(rng.choice([1.0, 1.0, 0.8, 0.35, 0.1])),
        exposure=float(rng.normal(1.0, 0.07)),
        white_balance=(1 + warmth, 1.0, 1 - warmth),
        saturation=float(rng.uniform(0.8, 1.2)),
        contrast=float(rng.uniform(0.92, 1.15)),
        gamma=float(rng.uniform(0.9, 1.1)),
        blur_px=float(rng.uniform(0.4, 0.9)),
        sharpening=float(rng.uniform(0, 0.7)) if drone else 0.0,
        noise=float(rng.uniform(0.8, 4.0)),
        vignetting=float(rng.uniform(0, 0.25)) if drone else 0.0,
        jpeg_quality=int(rng.integers(70, 96)),
        missing_buildings=float(rng.uniform(0, 0.03)),
    )
