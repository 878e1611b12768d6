"""From raw descriptors, as they came, to a map's own, in the map's order.

Descriptors never stand in memory together, so that a map may be larger than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dmnil_maps.distinctiveness import distinctiveness_of
from dmnil_maps.whitening import fit_projection, project, sample_rows
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.map_lattice import map_order
from edge_runtime.contract.region_map import MapLevel
from edge_runtime.contract.region_map_writer import tiles_on_lattice

_ROWS_PER_CHUNK = 4096


def sorted_tiles(
    levels: Sequence[MapLevel], frame: LocalFrame, raw_tiles: npt.NDArray[np.void]
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.intp]]:
    """Tiles in the map's order (N,), and the raw row of each one (N,)."""
    order = map_order(raw_tiles["level"], raw_tiles["lattice_row"], raw_tiles["lattice_column"])
    ordered = raw_tiles[order]
    tiles = tiles_on_lattice(
        frame, levels, ordered["level"], ordered["lattice_row"], ordered["lattice_column"]
    )
    return tiles, order


def fitted_axes(
    tiles: npt.NDArray[np.void],
    order: npt.NDArray[np.intp],
    levels: int,
    raw: npt.NDArray[np.float16],
    components: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The tiles' means and the map's axes, from the raw descriptors.

    Args:
        order: The raw row of each tile's descriptor.
        levels: How many levels the map has.
        raw: (N, D_encoder), may be memory-mapped.
        components: Values to keep per tile at most.

    Returns:
        Mean descriptor per level (levels, D_encoder), and the projection (D_encoder, D).
    """
    means = np.zeros((levels, raw.shape[1]), np.float64)
    for chunk in _chunks(len(order)):
        level, encoded = tiles["level"][chunk], raw[order[chunk]]
        for number in np.unique(level):
            means[number] += encoded[level == number].sum(axis=0, dtype=np.float64)
    means /= np.bincount(tiles["level"], minlength=levels)[:, None]
    mean = means.astype(np.float32)
    sample = sample_rows(len(order))
    centred = raw[order[sample]].astype(np.float32) - mean[tiles["level"][sample]]
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return mean, fit_projection(centred, components)


def write_projected(
    path: Path,
    tiles: npt.NDArray[np.void],
    order: npt.NDArray[np.intp],
    raw: npt.NDArray[np.float16],
    mean: npt.NDArray[np.float32],
    projection: npt.NDArray[np.float32],
) -> npt.NDArray[np.float16]:
    """The map's descriptors (N, D) in its order, on the map's axes, as a raw file."""
    with path.open("wb") as stream:
        for chunk in _chunks(len(order)):
            encoded = raw[order[chunk]].astype(np.float32)
            projected = project(encoded, mean[tiles["level"][chunk]], projection)
            stream.write(projected.astype("<f2").tobytes())
    return np.memmap(path, "<f2", "r", shape=(len(order), projection.shape[1]))


def descriptor_chunks(
    descriptors: npt.NDArray[np.float16],
) -> Iterator[npt.NDArray[np.float32]]:
    """Descriptors (N, D) a part at a time, as `write_region_map` takes them."""
    for chunk in _chunks(len(descriptors)):
        yield descriptors[chunk].astype(np.float32)


def set_distinctiveness(
    tiles: npt.NDArray[np.void],
    levels: Sequence[MapLevel],
    descriptors: npt.NDArray[np.float16],
    contrast: npt.NDArray[np.float32],
) -> None:
    """Fill in the tiles' distinctiveness, level by level.

    Args:
        descriptors: (N, D) of the map; likewise contrast (N,), in the map's order.
    """
    for number, level in enumerate(levels):
        rows = slice(*np.searchsorted(tiles["level"], [number, number + 1]).tolist())
        if rows.start == rows.stop:
            continue
        tiles["distinctiveness"][rows] = distinctiveness_of(
            descriptors[rows],
            level,
            tiles["lattice_row"][rows],
            tiles["lattice_column"][rows],
            contrast[rows],
        )


def _chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, _ROWS_PER_CHUNK):
        yield slice(start, min(start + _ROWS_PER_CHUNK, count))
