"""Settings of the flight log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_runtime.contract.errors import ConfigError


@dataclass(frozen=True)
class FlightLogConfig:
    """What the flight log keeps, and how much of the disk it may take."""

    pictures: Literal["jpeg", "none"] = "jpeg"
    """jpeg keeps every frame flown, so that the flight can be flown again bit for bit: as the
    camera coded it, else as JPEG, and then what is flown is the JPEG. none keeps no pictures."""
    jpeg_quality: int = 80
    """Quality, 1-100, of pictures that the camera did not code itself."""
    pictures_per_s: float = 0.0
    """Keep at most so many pictures a second; 0 keeps all. A flight with fewer pictures than
    frames cannot be flown again bit for bit."""
    max_file_mb: float = 256.0
    """A log goes on in a new file when this one is so large, in 10^6 bytes."""
    max_file_minutes: float = 10.0
    """A log goes on in a new file after so long."""
    max_total_mb: float = 0.0
    """Space in 10^6 bytes for all flights of a folder: before and during a flight the oldest
    others are deleted until they fit, and a flight that alone takes more goes on without
    pictures. 0 deletes nothing."""
    min_free_mb: float = 500.0
    """The log pauses while the disk has less free space than this, in 10^6 bytes."""

    def __post_init__(self) -> None:
        if not 1 <= self.jpeg_quality <= 100:
            raise ConfigError(f"log.jpeg_quality must be 1 to 100, is {self.jpeg_quality}")
        for name in ("pictures_per_s", "max_total_mb", "min_free_mb"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"log.{name} must be 0 or more, is {getattr(self, name)}")
        for name in ("max_file_mb", "max_file_minutes"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"log.{name} must be above 0, is {getattr(self, name)}")
