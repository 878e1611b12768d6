"""SUES-200 (Zhu et al. 2023, arXiv 2204.10704): 200 places from four heights.

As published: `drone_view_512/<place>/{150,200,250,300}/*.jpg` and `satellite-view/<place>/0.png`,
split by the benchmark's list of places. Or split already, as the benchmark's own script leaves it:
`Training/<height>/{drone,satellite}/<place>/*` and
`Testing/<height>/{query_drone,gallery_satellite,query_satellite,gallery_drone}/<place>/*`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dmnil_train.data.labelled_files import (
    LabelledFiles,
    TrainingFiles,
    files_by_place,
    require_folder,
    task_of,
)
from dmnil_train.data.picture_files import FilePool
from dmnil_train.data.pool import RetrievalTask
from edge_runtime.contract.errors import SourceError

HEIGHTS_M = (150, 200, 250, 300)
# fmt: off
TEST_PLACES = frozenset({
    8, 12, 14, 17, 18, 19, 22, 23, 35, 38, 40, 41, 42, 46, 47, 48, 49, 50, 52, 53, 54, 59, 61, 62,
    63, 65, 68, 71, 72, 75, 78, 79, 83, 92, 93, 95, 98, 99, 107, 108, 109, 110, 111, 112, 114, 115,
    117, 121, 122, 124, 128, 130, 131, 133, 135, 136, 138, 140, 143, 144, 150, 153, 154, 161, 162,
    164, 165, 170, 172, 173, 175, 176, 177, 178, 181, 188, 189, 190, 194, 195,
})
# fmt: on
"""The 80 places that the benchmark keeps for testing; the other 120 are for training."""
_DRONE, _SATELLITE = "drone_view_512", "satellite-view"
_LAYOUT = (
    "drone_view_512/<place>/<height>/* and satellite-view/<place>/*, or "
    "Training/<height>/{drone,satellite}/<place>/* and Testing/<height>/{query_drone,"
    "gallery_satellite,query_satellite,gallery_drone}/<place>/* of SUES-200"
)


def training_files(folder: Path, heights_m: tuple[int, ...] = HEIGHTS_M) -> TrainingFiles:
    """The pools of the training places: drone views of the given heights, satellite images.

    Raises:
        SourceError: If a folder is missing or holds no pictures.
    """
    if _is_split(folder):
        parts = [folder / "Training" / str(height) for height in heights_m]
        drone = _joined([files_by_place(part / "drone", _LAYOUT) for part in parts], folder)
        # Every height's folder holds a copy of the same satellite images.
        satellite = files_by_place(parts[0] / "satellite", _LAYOUT)
    else:
        drone = files_by_place(folder / _DRONE, _LAYOUT, _names(heights_m), _is_for_training)
        satellite = files_by_place(folder / _SATELLITE, _LAYOUT, wanted=_is_for_training)
    return TrainingFiles(satellite, drone, single_satellite_images=True)


def retrieval_tasks(folder: Path, heights_m: tuple[int, ...] = HEIGHTS_M) -> list[RetrievalTask]:
    """Both directions for each height: queries of the test places, galleries of all places.

    Satellite images are the same at every height: all tasks share their two pools.

    Raises:
        SourceError: If a folder is missing or holds no pictures.
    """
    opened = _split_test_files if _is_split(folder) else _published_test_files
    satellite_queries, satellite_gallery = opened(folder, "satellite", heights_m[0])
    tasks = []
    for height in heights_m:
        drone_queries, drone_gallery = opened(folder, "drone", height)
        tasks += [
            task_of(f"drone->satellite, {height} m", drone_queries, satellite_gallery, "gallery"),
            task_of(f"satellite->drone, {height} m", satellite_queries, drone_gallery, "queries"),
        ]
    return tasks


def _split_test_files(
    folder: Path, view: str, height_m: int
) -> tuple[LabelledFiles, LabelledFiles]:
    """Queries and gallery of a view; every height's folder holds the same satellite images."""
    part = folder / "Testing" / str(height_m)
    return (
        files_by_place(part / f"query_{view}", _LAYOUT),
        files_by_place(part / f"gallery_{view}", _LAYOUT),
    )


def _published_test_files(
    folder: Path, view: str, height_m: int
) -> tuple[LabelledFiles, LabelledFiles]:
    """Queries and gallery of a view; satellite images know no height."""
    source, inside = folder / _SATELLITE, ("",)
    if view == "drone":
        source, inside = folder / _DRONE, (str(height_m),)
    return (
        files_by_place(source, _LAYOUT, inside, TEST_PLACES.__contains__),
        files_by_place(source, _LAYOUT, inside),
    )


def _is_split(folder: Path) -> bool:
    """Whether the folder is divided into Training and Testing.

    Raises:
        SourceError: If it is neither that nor as published.
    """
    require_folder(folder, _LAYOUT)
    if (folder / _DRONE).is_dir() or (folder / _SATELLITE).is_dir():
        return False
    if (folder / "Training").is_dir() or (folder / "Testing").is_dir():
        return True
    raise SourceError(f"{folder / _DRONE} is missing: expected {_LAYOUT}")


def _is_for_training(place: int) -> bool:
    return place not in TEST_PLACES


def _names(heights_m: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(str(height) for height in heights_m)


def _joined(parts: list[LabelledFiles], folder: Path) -> LabelledFiles:
    paths = tuple(path for part in parts for path in part.files.paths)
    places = np.concatenate([part.places for part in parts])
    return LabelledFiles(FilePool(paths, folder, _LAYOUT), places)
