"""Learning from an image's neighbours in an instance memory (DMNIL, ICEL)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dmnil_train.objective.precision import without_autocast


def neighbour_loss(
    queries: Tensor,
    rows: Tensor,
    is_neighbour: Tensor,
    column: Tensor | None = None,
    temperature: float = 0.05,
    probability_floor: float = 1e-8,
) -> Tensor:
    """Mean over queries of (-sum over their neighbours of log p) / (number of neighbours + 1).

    p is the softmax over all rows of similarity / temperature, not less than the floor; a clamped
    neighbour has no gradient. The rows are constants.

    Args:
        queries: (B, D) unit length.
        rows: (N, D) unit length.
        is_neighbour: (N, U) boolean, a column for each distinct image of the batch.
        column: (B,) which column of `is_neighbour` holds each query's neighbours; None if they
            come in the queries' order.
    """
    with without_autocast(queries):
        scaled = queries.to(rows.dtype) / temperature
        loss: Tensor = _NeighbourLoss.apply(  # type: ignore[no-untyped-call]
            scaled, rows, is_neighbour, column, math.log(probability_floor)
        )
    return loss


class _NeighbourLoss(torch.autograd.Function):
    """The loss and, in the same pass, its exact gradient with respect to the queries.

    With z = rows . query, n neighbours of which the k in K are not clamped, and
    p = softmax(z): dL/dz = (k p - [in K]) / (n + 1). Taken at once, no (N, B) matrix has to be kept
    until the backward pass, and no more than two of floats exist at a time.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scaled_queries: Tensor,
        rows: Tensor,
        is_neighbour: Tensor,
        column: Tensor | None,
        log_floor: float,
    ) -> Tensor:
        log_p = rows @ scaled_queries.T
        log_p -= log_p.logsumexp(dim=0)
        if column is not None:
            is_neighbour = is_neighbour[:, column]
        kept = is_neighbour & (log_p > log_floor)
        found, unclamped = _count(is_neighbour), _count(kept)
        kept_log_p = torch.where(kept, log_p, 0.0).sum(dim=0)
        scale = 1.0 / ((found + 1) * len(scaled_queries)).to(log_p.dtype)
        loss = -((kept_log_p + (found - unclamped) * log_floor) * scale).sum()
        if ctx.needs_input_grad[0]:
            slope = log_p.exp_().mul_(unclamped * scale)
            slope -= torch.where(kept, scale, 0.0)
            ctx.save_for_backward(slope.T @ rows)
        return loss

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return gradient * slope, None, None, None, None


def _count(flags: Tensor) -> Tensor:
    # Several times faster than a sum of 64-bit integers.
    return flags.sum(dim=0, dtype=torch.int32)
