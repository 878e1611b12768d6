"""DenseUAV (Dai et al. 2024, arXiv 2201.09201): nadir views, six satellite images a place."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dmnil_train.data.labelled_files import (
    LabelledFiles,
    TrainingFiles,
    files_by_place,
    task_of,
)
from dmnil_train.data.pool import RetrievalTask
from edge_runtime.contract.errors import SourceError

logger = logging.getLogger(__name__)

_LAYOUT = (
    "train/{drone,satellite}/<place>/*, test/{query_drone,gallery_satellite}/<place>/* and "
    "Dense_GPS_ALL.txt of DenseUAV"
)
_POSITION_FILES = ("Dense_GPS_ALL.txt", "Dense_GPS_test.txt")
_NUMBER = r"\s*(?P<degrees>[-+]?\d+(?:\.\d+)?)(?![.\d])"
_PLACE = re.compile(r"(?P<place>\d+)[/\\][^/\\\s]+\s")
_LONGITUDE = re.compile(r"(?<=[\s,])(?P<side>[EW])" + _NUMBER, re.IGNORECASE)
_LATITUDE = re.compile(r"(?<=[\s,])(?P<side>[NS])" + _NUMBER, re.IGNORECASE)


def training_files(folder: Path) -> TrainingFiles:
    """The pools of `train/`: three drone and six satellite images a place.

    Raises:
        SourceError: If a folder is missing or holds no pictures.
    """
    return TrainingFiles(
        satellite=files_by_place(folder / "train" / "satellite", _LAYOUT),
        drone=files_by_place(folder / "train" / "drone", _LAYOUT),
        single_satellite_images=False,
    )


def retrieval_tasks(folder: Path) -> list[RetrievalTask]:
    """Drone views among all satellite images, with positions where the dataset's file has them.

    Raises:
        SourceError: If a folder is missing or holds no pictures, or the file of positions lacks
            a place.
    """
    queries = files_by_place(folder / "test" / "query_drone", _LAYOUT)
    gallery = files_by_place(folder / "test" / "gallery_satellite", _LAYOUT)
    task = task_of("drone->satellite", queries, gallery, "gallery")
    path = next((path for name in _POSITION_FILES if (path := folder / name).is_file()), None)
    if path is None:
        logger.warning(
            "%s has no %s: distances (SDM@K) cannot be scored",
            folder,
            " or ".join(_POSITION_FILES),
        )
        return [task]
    positions = read_positions(path)
    return [
        replace(
            task,
            query_positions_deg=_positions_of(queries, positions, path),
            gallery_positions_deg=_positions_of(gallery, positions, path),
        )
    ]


def read_positions(path: Path) -> dict[int, tuple[float, float]]:
    """Longitude and latitude of each place, in degrees.

    A line reads `.../<place>/<file> E<longitude> N<latitude> <height>`; other lines are left out.
    Where a place has several, the last counts, as in the dataset's own evaluation.

    Raises:
        SourceError: If the file cannot be read or has no such line.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    positions: dict[int, tuple[float, float]] = {}
    for line in text.splitlines():
        place, east, north = (pattern.search(line) for pattern in (_PLACE, _LONGITUDE, _LATITUDE))
        if place is None or east is None or north is None:
            continue
        longitude, latitude = _signed(east), _signed(north)
        if abs(longitude) <= 180.0 and abs(latitude) <= 90.0:
            positions[int(place["place"])] = longitude, latitude
    if not positions:
        raise SourceError(
            f"{path} has no positions: expected lines <place>/<file> E<longitude> N<latitude> "
            "<height>"
        )
    return positions


def _signed(found: re.Match[str]) -> float:
    """Degrees, negative in the west and in the south."""
    return float(found["degrees"]) * (-1.0 if found["side"].upper() in "WS" else 1.0)


def _positions_of(
    images: LabelledFiles, positions: dict[int, tuple[float, float]], path: Path
) -> npt.NDArray[np.float64]:
    missing = sorted(set(images.places.tolist()) - set(positions))
    if missing:
        raise SourceError(
            f"{path} has no position of {len(missing)} places, {missing[0]:06d} the first: "
            "expected lines <place>/<file> E<longitude> N<latitude> <height>"
        )
    return np.array([positions[place] for place in images.places.tolist()])
