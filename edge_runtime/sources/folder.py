"""Frames from a folder of pictures, in the order of their names, numbers by value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.contract.errors import SourceError
from edge_runtime.sources.decoding import decode_whole_picture
from edge_runtime.sources.frame import Frame

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"})


class FolderSource:
    """Every picture of a folder; a number in the name is the camera's frame count.

    Raises:
        SourceError: If the folder holds no picture.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(
            (path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES),
            key=natural_order,
        )
        if not self._paths:
            raise SourceError(f"{folder} holds no picture ({', '.join(sorted(PICTURE_SUFFIXES))})")

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self._paths)

    def __iter__(self) -> Iterator[Frame]:
        """Decode one picture after another."""
        for path in self._paths:
            yield read_frame(path)

    @property
    def paths(self) -> list[Path]:
        """The pictures' files in their order."""
        return list(self._paths)


def read_frame(path: Path) -> Frame:
    """Decode one picture; its bytes are kept where that succeeds."""
    digits = re.findall(r"\d+", path.stem)
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    image = decode_whole_picture(data)
    return Frame(
        name=path.name,
        image=image,
        number=int(digits[-1]) if digits else None,
        encoded=None if image is None else data,
    )


def natural_order(path: Path) -> tuple[list[tuple[bool, int, str]], str]:
    """Numbers in names by their value, so that frame2 comes before frame10."""
    parts = re.findall(r"\d+|\D+", path.stem)
    ranks = [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
    return ranks, path.name
