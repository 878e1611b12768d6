"""Picture files of any kind as 8-bit RGB, and pools of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import SourceError
from edge_runtime.sources.decoding import is_cut_short
from edge_runtime.sources.folder import PICTURE_SUFFIXES, natural_order

_PNG_START, _PNG_END = b"\x89PNG", b"IEND"
_LARGEST_16_BIT = 65535
_USES_16_BITS = _LARGEST_16_BIT // 4
_PERCENTILES = (2.0, 98.0)
_MOST_THREADS = 8
_QUIET = cv2.utils.logging.LOG_LEVEL_SILENT


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """One file as (H, W, 3) RGB, upright as its EXIF orientation says.

    Grey is repeated; alpha is dropped, as the runtime's own decoding drops it.

    Raises:
        SourceError: If it cannot be read, is cut short or is no picture.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    return decode_picture(data, str(path))


def decode_picture(data: bytes, name: str) -> npt.NDArray[np.uint8]:
    """A file's content as (H, W, 3) RGB; deeper pixels than 8 bits are scaled to them.

    16-bit pixels that use their range are divided by 257. Fewer bits in a 16-bit file, and
    floating point, are stretched between the picture's own 2nd and 98th percentile, all
    channels alike.

    Raises:
        SourceError: If it is cut short or no picture.
    """
    if not data or is_cut_short(data) or _is_cut_short_png(data):
        raise SourceError(f"{name} is empty or cut short: copy it again")
    pixels = np.frombuffer(data, np.uint8)
    picture = _decoded(pixels, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if picture is None:
        picture = _decoded(pixels, cv2.IMREAD_UNCHANGED)  # such as grey floating point
    if picture is None:
        raise SourceError(f"{name} cannot be decoded as a picture")
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    return np.ascontiguousarray(_to_8_bits(picture[..., 2::-1]))


def pictures_in(folder: Path) -> tuple[Path, ...]:
    """A folder's picture files, numbers in their names by value."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    return tuple(sorted((path for path in files if path.is_file()), key=natural_order))


def decoder_threads(wanted: int) -> int:
    """Threads to decode pictures with; 0 wants one a processor, up to 8."""
    return wanted or min(os.cpu_count() or 1, _MOST_THREADS)


@contextmanager
def quiet_decoder() -> Iterator[None]:
    """Keeps OpenCV's own complaints off the terminal; what matters is raised."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(_QUIET)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


def fingerprint_of(files: Iterable[Path], folder: Path) -> str:
    """SHA-256 over files' names inside a folder, their sizes and times of change.

    Raises:
        SourceError: If one is gone.
    """
    digest = hashlib.sha256()
    for path in files:
        try:
            state = path.stat()
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}") from error
        name = path.relative_to(folder) if path.is_relative_to(folder) else path
        digest.update(f"{name.as_posix()}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class FilePool:
    """Picture files, decoded whenever they are read.

    Args:
        folder: What all of them lie in; names are given from there.
        layout: What was expected in the folder, for messages.
    """

    paths: tuple[Path, ...]
    folder: Path
    layout: str = "picture files"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Each file's path inside the folder."""
        return tuple(path.relative_to(self.folder).as_posix() for path in self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """One image, (H, W, 3) RGB, of its own size.

        Raises:
            SourceError: If it cannot be decoded.
        """
        return read_picture(self.paths[index])


def _decoded(pixels: npt.NDArray[np.uint8], flags: int) -> npt.NDArray[np.generic] | None:
    try:
        return cv2.imdecode(pixels, flags)
    except cv2.error:
        return None


def _to_8_bits(picture: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    if picture.dtype == np.uint8:
        return np.asarray(picture, np.uint8)
    finite = picture[np.isfinite(picture)]
    low, high = np.percentile(finite, _PERCENTILES) if finite.size else (0.0, 1.0)
    if picture.dtype == np.uint16 and high >= _USES_16_BITS:
        low, high = 0.0, float(_LARGEST_16_BIT)
    scale = 255.0 / max(float(high - low), 1e-9)
    scaled = (np.nan_to_num(picture.astype(np.float64)) - low) * scale
    return np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)


def _is_cut_short_png(data: bytes) -> bool:
    """Whether a PNG lacks its end; some versions of OpenCV leave the rest black."""
    return data.startswith(_PNG_START) and data.rfind(_PNG_END, len(data) // 2) < 0
