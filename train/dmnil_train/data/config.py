"""What to train and to evaluate on."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from dmnil_train.data.sues200 import HEIGHTS_M
from dmnil_train.data.university1652 import DroneView, SatelliteView
from edge_runtime.contract.errors import ConfigError
from edge_runtime.flight_camera import CameraConfig
from edge_runtime.localize.quality import QualityConfig

Layout = Literal["university1652", "sues200", "denseuav", "region"]
View = Literal["rectified", "raw"]
Paths = Path | tuple[Path, ...]
LAYOUTS: tuple[Layout, ...] = ("university1652", "sues200", "denseuav", "region")


@dataclass(frozen=True)
class DataConfig:
    """Images to train on and to evaluate with: a public dataset, or one's own region."""

    layout: Layout
    """A public dataset in root, or a region with its own drone and satellite images."""
    root: Path | None = None
    """Folder of a public dataset, as it was published."""
    satellite: Path | None = None
    """Region: GeoTIFF, folder of XYZ tiles (z/x/y.jpg) or folder of plain images."""
    drone: Paths = ()
    """Region: folders of drone images or videos; several as [a,b]. None: satellite images alone."""
    telemetry: Paths = ()
    """Region: CSV or DJI SRT file of each drone folder or video, in their order."""
    truth: Paths = ()
    """Region: CSV of true places of each drone folder or video; for evaluation alone."""
    view: View = "rectified"
    """Region: warp drone images to nadir by their telemetry, as in flight; or raw, their middle."""
    every_s: float = 1.0
    """Region: take one video frame each so many seconds; 0 takes all."""
    telemetry_offset_s: float = 0.0
    """Region: added to a video's time to find its telemetry."""
    footprint_m: float = 120.0
    """Region: metres of ground along a tile's side; the map's."""
    stride_ratio: float = 0.25
    """Region: tile spacing as a share of the footprint; the map's."""
    zoom: int | None = None
    """Region: zoom of a tile folder, not its highest."""
    margin: float = 1.5
    """Region: side of the pictures kept over the side encoded, so that augmentation can turn,
    shift and scale them with real surroundings."""
    first_frame: str | None = None
    """Region: leave frames whose name sorts before this one out of the evaluation."""
    hit_radius_m: float = 50.0
    """Region: a tile is right if its centre lies this close to the ground truly viewed."""
    single_satellite_images: bool | None = None
    """Every satellite image shows a place of its own; the layout tells if left out."""
    drone_view: DroneView = "drone"
    """University-1652: first view; street makes it ground-to-aerial."""
    satellite_view: SatelliteView = "satellite"
    """University-1652: second view; drone only with street as the first."""
    heights_m: tuple[int, ...] = HEIGHTS_M
    """SUES-200: heights of flight to train on and to evaluate."""
    cache: Path | None = None
    """Folder for decoded pictures; ~/.cache/dmnil-train if left out."""
    threads: int = 0
    """Threads that decode; 0 takes one a processor, up to 8."""
    camera: CameraConfig = field(default_factory=CameraConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ConfigError(f"data.layout is {self.layout!r}: choose {', '.join(LAYOUTS)}")
        if self.layout == "region":
            self._check_region()
        else:
            self._check_public_dataset()
        if self.view not in ("rectified", "raw"):
            raise ConfigError(f"data.view is {self.view!r}: choose rectified or raw")
        positive = {
            "footprint_m": self.footprint_m,
            "stride_ratio": self.stride_ratio,
            "hit_radius_m": self.hit_radius_m,
        }
        for name, value in positive.items():
            if not 0.0 < value < float("inf"):
                raise ConfigError(f"data.{name} must be above 0 and finite, is {value}")
        if self.stride_ratio > 1.0:
            raise ConfigError(f"data.stride_ratio must be at most 1, is {self.stride_ratio}")
        if not 1.0 <= self.margin <= 4.0:
            raise ConfigError(f"data.margin must lie between 1 and 4, is {self.margin}")
        if not 0.0 <= self.every_s < float("inf") or not np.isfinite(self.telemetry_offset_s):
            raise ConfigError("data.every_s must be 0 or more, data.telemetry_offset_s finite")
        if self.threads < 0:
            raise ConfigError(f"data.threads must be 0 or more, is {self.threads}")

    @property
    def cache_folder(self) -> Path:
        """Where decoded pictures are kept."""
        if self.cache is not None:
            return self.cache
        base = os.environ.get("XDG_CACHE_HOME")
        return (Path(base) if base else Path.home() / ".cache") / "dmnil-train"

    @property
    def drone_sources(self) -> tuple[Path, ...]:
        """Folders and videos of drone images."""
        return _as_tuple(self.drone)

    @property
    def telemetry_files(self) -> tuple[Path, ...]:
        """Telemetry of each drone source; empty if there is none."""
        return _as_tuple(self.telemetry)

    @property
    def truth_files(self) -> tuple[Path, ...]:
        """True places of each drone source; empty if there are none."""
        return _as_tuple(self.truth)

    def _check_public_dataset(self) -> None:
        if self.root is None:
            raise ConfigError(f"data.root is missing: the folder of {self.layout}")
        given = [name for name in ("satellite", "drone", "telemetry", "truth") if self._has(name)]
        if given:
            raise ConfigError(
                f"data.{given[0]} belongs to layout region: {self.layout} takes all from data.root"
            )
        views = self.drone_view, self.satellite_view
        if self.layout != "university1652" and views != ("drone", "satellite"):
            raise ConfigError(f"other views than drone and satellite: {self.layout} has none")
        if self.drone_view not in ("drone", "street"):
            raise ConfigError(f"data.drone_view is {self.drone_view!r}: choose drone or street")
        if self.satellite_view not in ("satellite", "drone"):
            raise ConfigError(
                f"data.satellite_view is {self.satellite_view!r}: choose satellite or drone"
            )
        if views == ("drone", "drone"):
            raise ConfigError("data.satellite_view drone needs data.drone_view street")
        if not self.heights_m or not set(self.heights_m) <= set(HEIGHTS_M):
            raise ConfigError(f"data.heights_m must be some of {HEIGHTS_M}, is {self.heights_m}")

    def _check_region(self) -> None:
        if self.root is not None:
            raise ConfigError("data.root belongs to public datasets: a region has data.satellite")
        if self.satellite is None:
            raise ConfigError(
                "data.satellite is missing: a GeoTIFF, a folder of XYZ tiles or of images"
            )
        drones = len(self.drone_sources)
        for name, files in (("telemetry", self.telemetry_files), ("truth", self.truth_files)):
            if files and len(files) != drones:
                raise ConfigError(
                    f"data.{name} names {len(files)} files for {drones} drone folders or videos: "
                    "give one each, in their order"
                )
        if drones and self.view == "rectified" and not self.telemetry_files:
            raise ConfigError(
                "data.telemetry is missing: rectified views need the height and attitude of every "
                "frame; data.view raw does without"
            )

    def _has(self, name: str) -> bool:
        return getattr(self, name) not in (None, ())


def _as_tuple(paths: Paths) -> tuple[Path, ...]:
    return (paths,) if isinstance(paths, Path) else tuple(paths)
