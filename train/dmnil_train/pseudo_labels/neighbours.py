"""Exact nearest neighbours by inner product, in square blocks, on whatever device features lie."""

from __future__ import annotations

import torch
from torch import Tensor

from edge_runtime.contract.errors import TrainingError

# Rows a block: 64 MB of similarities on a processor, 1 GB on a GPU.
BLOCK_ROWS_CPU = 4096
BLOCK_ROWS_CUDA = 16384


class _Nearest:
    """The k most similar columns that each row has been shown so far."""

    def __init__(self, rows: int, k: int, like: Tensor) -> None:
        self.k = k
        self.similarities = like.new_full((rows, k), -torch.inf)
        self.indices = torch.full((rows, k), -1, dtype=torch.int64, device=like.device)

    def show(self, first_row: int, block: Tensor, first_column: int) -> None:
        """Take in similarities (rows, columns) of some rows to some columns."""
        values, columns = block.topk(min(self.k, block.shape[1]), dim=1)
        rows = slice(first_row, first_row + block.shape[0])
        values = torch.cat((self.similarities[rows], values), dim=1)
        indices = torch.cat((self.indices[rows], columns + first_column), dim=1)
        self.similarities[rows], best = values.topk(self.k, dim=1)
        self.indices[rows] = indices.gather(1, best)


@torch.no_grad()
def nearest_neighbours(
    features: Tensor, k: int, block_rows: int | None = None
) -> tuple[Tensor, Tensor]:
    """The k images most similar to each image, the image itself first.

    Every block of similarities is computed once and read both by rows and by columns, so half of
    the products are saved. An image comes first in its own row even among exact duplicates.
    Exact as far as float32 is: where a program lets CUDA multiply in TF32, near ties may swap.

    Args:
        features: (N, D) float32; unit length makes the inner product a cosine.
        k: Neighbours an image, itself counted, at most N.
        block_rows: Side of a block; memory beyond the result is a few blocks.
    Returns:
        Similarities (N, k), falling, and indices (N, k) int64, on the features' device.
    Raises:
        TrainingError: If features are not finite, or k is not in 1..N.
    """
    count = len(features)
    features = _checked(features, "features")
    _check_k(k, count)
    step = min(block_rows or _default_block_rows(features), count)
    nearest = _Nearest(count, k, features)
    block, turned = features.new_empty(step, step), features.new_empty(step, step)
    for i in range(0, count, step):
        rows = features[i : i + step]
        for j in range(i, count, step):
            columns = features[j : j + step]
            similarities = block[: len(rows), : len(columns)]
            # With `out` mixed precision, which would coarsen the ranking, keeps away.
            torch.mm(rows, columns.T, out=similarities)
            if i == j:
                similarities.fill_diagonal_(torch.inf)
            nearest.show(i, similarities, j)
            if i != j:
                nearest.show(j, turned[: len(columns), : len(rows)].copy_(similarities.T), i)
    nearest.similarities[:, 0] = torch.linalg.vector_norm(features, dim=1) ** 2
    return nearest.similarities, nearest.indices


@torch.no_grad()
def nearest_both_ways(
    queries: Tensor, gallery: Tensor, k_query: int, k_gallery: int, block_rows: int | None = None
) -> tuple[Tensor, Tensor]:
    """The gallery images most similar to each query, and the queries most similar to each of those.

    Args:
        queries: (Q, D) float32.
        gallery: (G, D) float32, or (G, V, D) for V views of each image, the most similar counts.
        k_query: Gallery images a query, at most G.
        k_gallery: Queries a gallery image, at most Q; 0 skips that direction.
        block_rows: Side of a block.
    Returns:
        Gallery indices (Q, k_query) and query indices (G, k_gallery), most similar first.
    Raises:
        TrainingError: If features are not finite, or a k is out of range.
    """
    queries, gallery = _checked(queries, "queries"), _checked(gallery, "gallery")
    views = gallery.shape[1] if gallery.dim() == 3 else 1
    _check_k(k_query, len(gallery))
    if k_gallery:
        _check_k(k_gallery, len(queries))
    step = block_rows or _default_block_rows(queries)
    of_queries = _Nearest(len(queries), k_query, queries)
    of_gallery = _Nearest(len(gallery), k_gallery, gallery)
    gallery_step = max(1, step // views)
    block = queries.new_empty(min(step, len(queries)), min(gallery_step, len(gallery)) * views)
    for i in range(0, len(queries), step):
        rows = queries[i : i + step]
        for j in range(0, len(gallery), gallery_step):
            columns = gallery[j : j + gallery_step].flatten(0, -2)
            similarities = block[: len(rows), : len(columns)]
            torch.mm(rows, columns.T, out=similarities)
            if views > 1:
                similarities = similarities.reshape(len(rows), -1, views).amax(dim=2)
            of_queries.show(i, similarities, j)
            if k_gallery:
                of_gallery.show(j, similarities.T.contiguous(), i)
    return of_queries.indices, of_gallery.indices


def _checked(features: Tensor, name: str) -> Tensor:
    if not torch.isfinite(torch.linalg.vector_norm(features, dim=-1)).all():
        raise TrainingError(
            f"{name} of {len(features)} images hold values that are not finite: "
            "the encoder has diverged, start again with a lower learning rate"
        )
    return features.detach().float().contiguous()


def _check_k(k: int, count: int) -> None:
    if not 1 <= k <= count:
        raise TrainingError(f"{k} neighbours asked for among {count} images: choose 1 to {count}")


def _default_block_rows(features: Tensor) -> int:
    return BLOCK_ROWS_CUDA if features.is_cuda else BLOCK_ROWS_CPU
