"""Products of a few vectors with the many rows of a memory, where most of a step's time goes.

On a CPU they run on oneDNN: what `@` calls there has no AVX-512 kernels for AMD processors, and is
about half as fast on them. Both compute in float32.

Coarse rows are in bfloat16, which processors with units for it multiply more than twice as fast.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Small blocks stay in the cache, but each costs the threads a dozen meetings, which are dear where
# other processes want the same cores.
_CPU_BLOCK_ROWS = 8192


@torch.no_grad()
def row_products(vectors: Tensor, rows: Tensor) -> Tensor:
    """`vectors @ rows.T`, (B, N), of (B, D) vectors and (N, D) rows, without gradient."""
    return torch.cat([_products(vectors, block) for block in _blocks(rows)], dim=1)


def logits_of_rows(vectors: Tensor, rows: Tensor) -> Tensor:
    """`vectors @ rows.T`, (B, N), with its gradient for the vectors; the rows are constants."""
    logits: Tensor = _Logits.apply(vectors, rows)  # type: ignore[no-untyped-call]
    return logits


class _Logits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, rows: Tensor) -> Tensor:
        # Saved, so that autograd refuses a gradient once the memory has moved.
        ctx.save_for_backward(rows)
        return row_products(vectors, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return row_sums(gradient.contiguous(), rows), None


@torch.no_grad()
def row_sums(weights: Tensor, rows: Tensor) -> Tensor:
    """`weights @ rows`, (B, D), of (B, N) weights and (N, D) rows, without gradient."""
    if not _on_onednn(weights, rows):
        return weights @ rows
    # This is the gradient of `_products`, whose kernel takes the rows as they lie.
    shape = (len(weights), rows.shape[1])
    sums: Tensor = torch.ops.aten.mkldnn_linear_backward_input(shape, weights.to_mkldnn(), rows)
    return sums.to_dense()


@torch.no_grad()
def softmax_over_rows(logit_vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The log of the softmax's normaliser, and the mean row under it, without gradient.

    With z = rows . vector these are log sum exp z, (B,), and its gradient with respect to the
    vector, sum of softmax(z) x row, (B, D). Each block is read once: sums are kept relative to the
    largest z so far and shrink whenever a larger one comes.

    Args:
        logit_vectors: (B, D), whose products with the rows are the logits.
        rows: (N, D).
    """
    largest = logit_vectors.new_full((len(logit_vectors), 1), -torch.inf)
    total = torch.zeros_like(largest)
    weighted_rows = torch.zeros_like(logit_vectors)
    for block in _blocks(rows):
        logits = _products(logit_vectors, block)
        larger = torch.maximum(largest, logits.amax(dim=1, keepdim=True))
        shrink = (largest - larger).exp_()
        weights = logits.sub_(larger).exp_()
        total = total * shrink + weights.sum(dim=1, keepdim=True)
        weighted_rows = weighted_rows * shrink + row_sums(weights, block)
        largest = larger
    return (largest + total.log()).squeeze(1), weighted_rows / total


@torch.no_grad()
def softmax_over_coarse_rows(
    logit_vectors: Tensor, coarse_rows: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """What `softmax_over_rows` returns, the log to about 0.01 and the mean row to about 0.5 %.

    A logit is rounded only after `shift` is taken off: those near the largest, which matter, are
    small numbers by then and keep their digits.

    Args:
        logit_vectors: (B, D) float32.
        coarse_rows: (N, D) bfloat16.
        shift: (B,) about the largest logit of each.
    """
    vectors = logit_vectors.bfloat16()
    # Rounded first: what is taken off every logit is what is added to the normaliser.
    taken_off = shift.bfloat16()[:, None]
    largest = logit_vectors.new_full((len(logit_vectors), 1), -torch.inf)
    total = torch.zeros_like(largest)
    weighted_rows = torch.zeros_like(logit_vectors)
    for block in _blocks(coarse_rows):
        logits = torch.addmm(-taken_off, vectors, block.T)
        larger = torch.maximum(largest, logits.amax(dim=1, keepdim=True).float())
        shrink = (largest - larger).exp_()
        weights = logits.sub_(larger.bfloat16()).exp_()
        total = total * shrink + weights.sum(dim=1, keepdim=True, dtype=torch.float32)
        weighted_rows = weighted_rows * shrink + weights @ block
        largest = larger
    log_normaliser = taken_off.float() + largest + total.log()
    return log_normaliser.squeeze(1), weighted_rows / total


def _blocks(rows: Tensor) -> tuple[Tensor, ...]:
    """Rows in turn; all at once where it is not the CPU that computes."""
    return torch.split(rows, _CPU_BLOCK_ROWS if rows.device.type == "cpu" else max(len(rows), 1))


def _products(vectors: Tensor, block: Tensor) -> Tensor:
    if not _on_onednn(vectors, block):
        return vectors @ block.T
    return functional.linear(vectors.to_mkldnn(), block).to_dense()


def _on_onednn(vectors: Tensor, rows: Tensor) -> bool:
    """Whether it can take these: it has no kernel for products of nothing."""
    return (
        rows.device.type == "cpu"
        and vectors.dtype == rows.dtype == torch.float32
        and rows.is_contiguous()
        and vectors.numel() > 0
        and rows.numel() > 0
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    )
