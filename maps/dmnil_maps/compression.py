"""What a compressed storage of descriptors costs in recall, measured on the map itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.descriptor_store import DescriptorStore
from edge_runtime.contract.row_sample import evenly_spread

VIEW_COSINE = 0.3
"""Likeness of a view to its own tile: as on the real flight, from above the map's tiles."""
_NEIGHBOURS = 10
_MOST_TILES = 20_000
_QUERIES = 500
_TILES_IN_NOISE = 64
_QUERIES_AT_ONCE = 50


@dataclass(frozen=True)
class CompressionLoss:
    """How much of an exact search's answer the compressed descriptors keep.

    Args:
        recall_at_1: Share of views whose best tile is still the exact search's.
        recall_at_10: Share of the exact search's ten best tiles that are still among the ten.
        bytes_per_tile: Of the stored descriptor.
        exact_bytes_per_tile: Of the same as float16.
        views: Views that were tried.
        tiles: Tiles among which they were searched.
    """

    recall_at_1: float
    recall_at_10: float
    bytes_per_tile: float
    exact_bytes_per_tile: int
    views: int
    tiles: int

    def __str__(self) -> str:
        return (
            f"{self.bytes_per_tile:g} bytes a tile in place of {self.exact_bytes_per_tile}; of the "
            f"exact search's answers it keeps the best tile for {self.recall_at_1:.1%} of "
            f"{self.views} views, and {self.recall_at_10:.1%} of the ten best, among "
            f"{self.tiles:,} tiles"
        )


def compression_loss(
    exact: npt.NDArray[np.floating[Any]], store: DescriptorStore, seed: int = 0
) -> CompressionLoss:
    """Compare searches over compressed descriptors with exact ones.

    The views are tiles drawn at random, plus noise that varies as the map's tiles do, at a cosine
    of 0.3 to the tile: where the answer is near, as on a real flight. Up to 20,000 tiles, evenly
    spread over the map, are searched.

    Args:
        exact: (N, D) descriptors in the map's order, as they were before compression.
        store: The same, compressed.
    """
    rows = evenly_spread(len(exact), _MOST_TILES)
    tiles = np.asarray(exact[rows], np.float32)
    random = np.random.default_rng(seed)
    views = min(_QUERIES, len(rows))
    chosen = random.choice(len(rows), views, replace=False)
    mixed = random.integers(0, len(rows), (views, _TILES_IN_NOISE))
    weights = random.standard_normal((views, 1, _TILES_IN_NOISE)).astype(np.float32)
    centre = tiles.mean(axis=0)
    kept_first = kept = 0
    for start in range(0, views, _QUERIES_AT_ONCE):
        part = slice(start, start + _QUERIES_AT_ONCE)
        noise = (weights[part] @ (tiles[mixed[part]] - centre))[:, 0]
        queries = VIEW_COSINE * tiles[chosen[part]]
        queries += np.sqrt(1.0 - VIEW_COSINE**2) * _unit(noise)
        expected = _best(queries @ tiles.T)
        found = _best(store.similarity(rows, queries))
        kept_first += int(np.count_nonzero(expected[:, 0] == found[:, 0]))
        kept += int((expected[:, :, None] == found[:, None, :]).sum())
    scale_bytes = 4 if store.stored.dtype == np.int8 else 0
    return CompressionLoss(
        recall_at_1=kept_first / views,
        recall_at_10=kept / (views * min(_NEIGHBOURS, len(rows))),
        bytes_per_tile=store.stored.strides[0] + scale_bytes,
        exact_bytes_per_tile=2 * tiles.shape[1],
        views=views,
        tiles=len(rows),
    )


def _best(similarity: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Columns (Q, 10) of the largest, largest first."""
    kept = min(_NEIGHBOURS, similarity.shape[1])
    best = np.argpartition(-similarity, kept - 1, axis=1)[:, :kept]
    order = np.argsort(-np.take_along_axis(similarity, best, 1), axis=1, kind="stable")
    return np.take_along_axis(best, order, 1)


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
