"""University-1652 (Zheng et al. 2020, arXiv 2002.12186): drone, satellite and street views."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dmnil_train.data.labelled_files import TrainingFiles, files_by_place, task_of
from dmnil_train.data.pool import RetrievalTask, Side

DroneView = Literal["drone", "street"]
SatelliteView = Literal["satellite", "drone"]


def training_files(
    folder: Path, drone_view: DroneView = "drone", satellite_view: SatelliteView = "satellite"
) -> TrainingFiles:
    """The pools of `train/`.

    Args:
        drone_view: First view; street makes it ground-to-aerial.
        satellite_view: Second view; drone only with street as the first.

    Raises:
        SourceError: If a folder is missing or holds no pictures.
    """
    layout = _layout(drone_view, satellite_view)
    return TrainingFiles(
        satellite=files_by_place(folder / "train" / satellite_view, layout),
        drone=files_by_place(folder / "train" / drone_view, layout),
        single_satellite_images=satellite_view == "satellite",
    )


def retrieval_tasks(
    folder: Path, drone_view: DroneView = "drone", satellite_view: SatelliteView = "satellite"
) -> list[RetrievalTask]:
    """Both directions over `test/`.

    Raises:
        SourceError: If a folder is missing or holds no pictures.
    """
    layout = _layout(drone_view, satellite_view)
    directions: tuple[tuple[str, str, Side], ...] = (
        (drone_view, satellite_view, "gallery"),
        (satellite_view, drone_view, "queries"),
    )
    return [
        task_of(
            f"{query}->{gallery}",
            files_by_place(folder / "test" / f"query_{query}", layout),
            files_by_place(folder / "test" / f"gallery_{gallery}", layout),
            turnable if drone_view == "drone" else None,
        )
        for query, gallery, turnable in directions
    ]


def _layout(first: str, second: str) -> str:
    return (
        f"train/{{{first},{second}}}/<place>/* and test/{{query_{first},gallery_{second},"
        f"query_{second},gallery_{first}}}/<place>/* of University-1652"
    )
