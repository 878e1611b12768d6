"""Learning from an image's neighbours in an instance memory (DMNIL, ICEL)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dmnil_train.objective.precision import without_autocast
from dmnil_train.objective.row_products import (
    row_products,
    row_sums,
    softmax_over_coarse_rows,
    softmax_over_rows,
)


def neighbour_loss(
    queries: Tensor,
    rows: Tensor,
    is_neighbour: Tensor,
    line: Tensor | None = None,
    temperature: float = 0.05,
    probability_floor: float = 1e-8,
    coarse_rows: Tensor | None = None,
) -> Tensor:
    """Mean over queries of (-sum over their neighbours of log p) / (number of neighbours + 1).

    p is the softmax over all rows of similarity / temperature, not less than the floor; a clamped
    neighbour has no gradient. The rows are constants.

    Args:
        queries: (B, D) unit length.
        rows: (N, D) unit length.
        is_neighbour: (U, N) boolean, a line for each distinct image of the batch.
        line: (B,) which line of `is_neighbour` holds each query's neighbours; None if they come
            in the queries' order.
        coarse_rows: (N, D) the rows in bfloat16: with them the softmax is a quick and coarse one.
    """
    near = is_neighbour.any(dim=0).nonzero().squeeze(1)
    is_neighbour = is_neighbour[:, near]
    if line is not None:
        is_neighbour = is_neighbour[line]
    with without_autocast(queries):
        scaled = queries.to(rows.dtype) / temperature
        loss: Tensor = _NeighbourLoss.apply(  # type: ignore[no-untyped-call]
            scaled, rows, rows[near], is_neighbour, math.log(probability_floor), coarse_rows
        )
    return loss


class _NeighbourLoss(torch.autograd.Function):
    """The loss and, in the same pass, its exact gradient with respect to the queries.

    With z = rows . query, n neighbours of which the k in K are not clamped, and p = softmax(z):
    dL/dz = (k p - [in K]) / (n + 1). The first part is the mean row under p; the second touches
    only the R rows that are some query's neighbour. No (B, N) matrix comes into being.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scaled_queries: Tensor,
        rows: Tensor,
        near_rows: Tensor,
        is_neighbour: Tensor,
        log_floor: float,
        coarse_rows: Tensor | None,
    ) -> Tensor:
        near_logits = row_products(scaled_queries, near_rows)
        if coarse_rows is None:
            log_normaliser, mean_row = softmax_over_rows(scaled_queries, rows)
        else:
            shift = _largest_of_neighbours(near_logits, is_neighbour)
            log_normaliser, mean_row = softmax_over_coarse_rows(scaled_queries, coarse_rows, shift)
        log_p = near_logits - log_normaliser[:, None]
        kept = is_neighbour & (log_p > log_floor)
        found, unclamped = is_neighbour.sum(dim=1), kept.sum(dim=1)
        kept_log_p = torch.where(kept, log_p, 0.0).sum(dim=1)
        scale = 1.0 / ((found + 1) * len(scaled_queries)).to(log_p.dtype)
        loss = -((kept_log_p + (found - unclamped) * log_floor) * scale).sum()
        pull = unclamped[:, None] * mean_row - row_sums(kept.to(log_p.dtype), near_rows)
        ctx.save_for_backward(scale[:, None] * pull)
        return loss

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return gradient * slope, None, None, None, None, None


def _largest_of_neighbours(near_logits: Tensor, is_neighbour: Tensor) -> Tensor:
    """The largest logit of each query's neighbours, (B,); 0 where it has none."""
    if not near_logits.shape[1]:
        return near_logits.new_zeros(len(near_logits))
    largest = torch.where(is_neighbour, near_logits, -torch.inf).amax(dim=1)
    return torch.where(torch.isfinite(largest), largest, 0.0)
