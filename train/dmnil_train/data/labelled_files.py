"""Files in folders named by the number of the place that they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dmnil_train.data.picture_files import FilePool, pictures_in
from dmnil_train.data.pool import RetrievalTask, Side
from edge_runtime.contract.errors import SourceError


@dataclass(frozen=True)
class LabelledFiles:
    """Picture files and the place (N,) that each shows."""

    files: FilePool
    places: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True)
class TrainingFiles:
    """A public dataset's two pools for training; places are for evaluation alone.

    Args:
        single_satellite_images: Every satellite place has one image.
    """

    satellite: LabelledFiles
    drone: LabelledFiles
    single_satellite_images: bool


def files_by_place(
    folder: Path,
    layout: str,
    inside: Sequence[str] = ("",),
    wanted: Callable[[int], bool] = lambda place: True,
) -> LabelledFiles:
    """The pictures of `folder/<place>/<inside>/`, places and names in the order of their numbers.

    Folders that are not named by a number are left alone.

    Args:
        layout: What the whole dataset should look like, for messages.
        inside: Folders of each place to take pictures from; those that are missing are skipped.
        wanted: Which places to take.

    Raises:
        SourceError: If the folder is missing or holds no such picture.
    """
    require_folder(folder, layout)
    numbered = sorted(
        (int(entry.name), entry.name) for entry in folder.iterdir() if entry.name.isdecimal()
    )
    paths: list[Path] = []
    places: list[int] = []
    for place, name in numbered:
        if not wanted(place):
            continue
        for part in inside:
            source = folder / name / part
            found = pictures_in(source) if source.is_dir() else ()
            paths += found
            places += [place] * len(found)
    below = {part for part in inside if part}
    example = f"<place>/{{{','.join(sorted(below))}}}" if below else "<place>"
    if not paths:
        raise SourceError(f"{folder} holds no pictures in {example}; expected {layout}")
    return LabelledFiles(FilePool(tuple(paths), folder, layout), np.array(places, np.int64))


def require_folder(folder: Path, layout: str) -> None:
    """Refuse to go on without a folder.

    Raises:
        SourceError: Naming it and the layout expected.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is missing: expected {layout}")


def task_of(
    name: str,
    queries: LabelledFiles,
    gallery: LabelledFiles,
    turnable_side: Side | None,
) -> RetrievalTask:
    """A retrieval task in which places tell what counts as found."""
    return RetrievalTask(
        name=name,
        queries=queries.files,
        gallery=gallery.files,
        query_places=queries.places,
        gallery_places=gallery.places,
        turnable_side=turnable_side,
    )
