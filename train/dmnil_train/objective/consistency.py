"""The two small cross-view terms: consistency among nearest neighbours, mutual information."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dmnil_train.objective.precision import without_autocast


def neighbour_consistency(
    queries: Tensor, rows: Tensor, nearest_rows: Tensor, temperature: float = 0.05
) -> Tensor:
    """Mean over queries of KL(uniform || p), p over each query's own nearest rows.

    p is the softmax of similarity / temperature among them alone. The authors' released code
    gathers other samples' neighbours here; this is what the paper describes.

    Args:
        queries: (B, D) unit length.
        rows: (N, D) unit length, of the other view.
        nearest_rows: (B, K) rows of each query.
    """
    with without_autocast(queries):
        similarities = torch.einsum("bd,bkd->bk", queries.to(rows.dtype), rows[nearest_rows])
        log_p = torch.log_softmax(similarities / temperature, dim=1)
        return -math.log(nearest_rows.shape[1]) - log_p.mean()


def mutual_information(queries: Tensor, rows: Tensor, temperature: float = 0.05) -> Tensor:
    """H(mean of p) - mean of H(p) in nats, to be made large; 0 to log of the batch size.

    p is each query's softmax over all rows. It grows as each query is sure of a row and different
    queries are sure of different ones. The authors' released code clamps it so that it never acts.

    Args:
        queries: (B, D) unit length.
        rows: (N, D) unit length, of the other view.
    """
    with without_autocast(queries):
        log_p = torch.log_softmax(queries.to(rows.dtype) @ rows.T / temperature, dim=1)
        log_mean = torch.logsumexp(log_p, dim=0) - math.log(len(queries))
        # KL(p || mean of p), averaged: the same quantity, free of 0 log 0.
        return (log_p.exp() * (log_p - log_mean)).sum(dim=1).mean()
