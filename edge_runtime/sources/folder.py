"""Frames from a folder of pictures, in the order of their names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.contract.errors import SourceError
from edge_runtime.sources.frame import Frame

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"})


class FolderSource:
    """Every picture of a folder; a number in the name is the camera's frame count.

    Raises:
        SourceError: If the folder holds no picture.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(
            path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES
        )
        if not self._paths:
            raise SourceError(f"{folder} holds no picture ({', '.join(sorted(PICTURE_SUFFIXES))})")

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._paths)

    def __iter__(self) -> Iterator[Frame]:
        """Decode one picture after another."""
        for path in self._paths:
            digits = re.findall(r"\d+", path.stem)
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
            yield Frame(
                name=path.name,
                image=None
                if picture is None
                else np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8),
                number=int(digits[-1]) if digits else None,
            )
