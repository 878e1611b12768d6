from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dmnil_train.objective import row_products as module
from dmnil_train.objective.row_products import (
    logits_of_rows,
    row_products,
    row_sums,
    softmax_over_coarse_rows,
    softmax_over_rows,
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few rows make several blocks, the last of them shorter."""
    monkeypatch.setattr(module, "_CPU_BLOCK_ROWS", 16)


def some_case(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    torch.manual_seed(7)
    vectors = 20.0 * functional.normalize(torch.randn(5, 24, dtype=dtype), dim=1)
    return vectors, functional.normalize(torch.randn(55, 24, dtype=dtype), dim=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_and_sums_are_those_of_matrices(dtype: torch.dtype) -> None:
    vectors, rows = some_case(dtype)
    torch.testing.assert_close(row_products(vectors, rows), vectors @ rows.T)
    weights = torch.rand(5, 55, dtype=dtype)
    torch.testing.assert_close(row_sums(weights, rows), weights @ rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("descending", [False, True])
def test_the_softmax_over_blocks_is_that_over_all_rows(
    dtype: torch.dtype, descending: bool
) -> None:
    vectors, rows = some_case(dtype)
    # Rows by similarity: the largest logit grows with every block, or comes first.
    rows = rows[(rows @ vectors[0]).argsort(descending=descending)]
    log_normaliser, mean_row = softmax_over_rows(vectors, rows)
    logits = vectors @ rows.T
    torch.testing.assert_close(log_normaliser, logits.logsumexp(dim=1))
    torch.testing.assert_close(mean_row, logits.softmax(dim=1) @ rows)


def test_logits_far_beyond_the_range_of_exp_do_no_harm() -> None:
    vectors, rows = some_case(torch.float32)
    for factor in (1e3, -1e3):
        log_normaliser, mean_row = softmax_over_rows(factor * vectors, rows)
        logits = factor * vectors @ rows.T
        torch.testing.assert_close(log_normaliser, logits.logsumexp(dim=1))
        torch.testing.assert_close(mean_row, logits.softmax(dim=1) @ rows, rtol=1e-3, atol=1e-4)


def test_rows_that_do_not_lie_side_by_side_are_summed_as_well() -> None:
    vectors, rows = some_case(torch.float32)
    torch.testing.assert_close(
        row_products(vectors[:, ::2], rows[:, ::2]), vectors[:, ::2] @ rows[:, ::2].T
    )
    weights = torch.rand(5, 55)
    torch.testing.assert_close(row_sums(weights, rows[:, ::2]), weights @ rows[:, ::2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_of_constant_rows_have_their_gradient(dtype: torch.dtype) -> None:
    vectors, rows = some_case(dtype)
    vectors.requires_grad_()
    weights = torch.rand(5, 55, dtype=dtype)
    (slope,) = torch.autograd.grad((logits_of_rows(vectors, rows) * weights).sum(), vectors)
    torch.testing.assert_close(logits_of_rows(vectors, rows), vectors @ rows.T)
    torch.testing.assert_close(slope, weights @ rows)


def test_rows_that_move_before_the_gradient_is_taken_are_refused() -> None:
    vectors, rows = some_case(torch.float32)
    logits = logits_of_rows(vectors.requires_grad_(), rows)
    rows.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logits.sum().backward()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("off", [0.0, 3.0])
def test_coarse_rows_give_much_the_same_softmax(descending: bool, off: float) -> None:
    vectors, rows = some_case(torch.float32)
    rows = rows[(rows @ vectors[0]).argsort(descending=descending)]
    logits = vectors @ rows.T
    shift = logits.amax(dim=1) + off  # it need not be the largest to the digit
    log_normaliser, mean_row = softmax_over_coarse_rows(vectors, rows.bfloat16(), shift)
    torch.testing.assert_close(log_normaliser, logits.logsumexp(dim=1), rtol=0.0, atol=0.05)
    expected = logits.softmax(dim=1) @ rows
    assert ((mean_row - expected).norm(dim=1) / expected.norm(dim=1)).max() < 0.02


def test_coarse_logits_far_beyond_the_range_of_exp_do_no_harm() -> None:
    vectors, rows = some_case(torch.float32)
    for factor in (10.0, -10.0):
        logits = factor * vectors @ rows.T
        found = softmax_over_coarse_rows(factor * vectors, rows.bfloat16(), logits.new_zeros(5))
        torch.testing.assert_close(found[0], logits.logsumexp(dim=1), rtol=0.01, atol=0.5)
        assert torch.isfinite(found[1]).all()
