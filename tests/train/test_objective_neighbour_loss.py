from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dmnil_train.objective.neighbour_loss import neighbour_loss


def by_definition(
    queries: Tensor, rows: Tensor, is_neighbour: Tensor, temperature: float, floor: float
) -> Tensor:
    losses = []
    for query, found in zip(queries, is_neighbour, strict=True):
        p = torch.softmax(rows @ query / temperature, dim=0).clamp_min(floor)
        losses.append(-p[found].log().sum() / (found.sum() + 1))
    return torch.stack(losses).mean()


def some_case(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(5)
    queries = functional.normalize(torch.randn(6, 5, dtype=dtype), dim=1)
    rows = functional.normalize(torch.randn(30, 5, dtype=dtype), dim=1)
    return queries.requires_grad_(), rows, torch.rand(6, 30) > 0.7


# A floor of 1e-3 clamps many of these neighbours, one of 1e-30 none.
@pytest.mark.parametrize("floor", [1e-30, 1e-8, 1e-3])
def test_loss_and_gradient_are_those_of_the_definition(floor: float) -> None:
    queries, rows, is_neighbour = some_case()
    loss = neighbour_loss(queries, rows, is_neighbour, None, 0.05, floor)
    (slope,) = torch.autograd.grad(2.0 * loss, queries)
    expected = by_definition(queries, rows, is_neighbour, 0.05, floor)
    (expected_slope,) = torch.autograd.grad(2.0 * expected, queries)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(slope, expected_slope)


@pytest.mark.parametrize("floor", [1e-8, 1e-3])
def test_the_gradient_is_that_of_finite_differences(floor: float) -> None:
    queries, rows, is_neighbour = some_case()
    assert torch.autograd.gradcheck(
        lambda q: neighbour_loss(q, rows, is_neighbour, None, 0.05, floor), (queries,)
    )


def test_single_precision_loses_no_more_than_its_own_rounding() -> None:
    torch.manual_seed(6)
    rows = functional.normalize(torch.randn(9_000, 96, dtype=torch.float64), dim=1)
    queries = functional.normalize(rows[::300] + 0.05 * torch.randn(30, 96), dim=1)
    is_neighbour = rows[::300] @ rows.T > 0.3
    (slope,), (expected_slope,) = (
        torch.autograd.grad(neighbour_loss(q, rows.to(q.dtype), is_neighbour), q)
        for q in (queries.float().requires_grad_(), queries.requires_grad_())
    )
    error = (slope - expected_slope).norm() / expected_slope.norm()
    assert error < 1e-6


def test_a_neighbour_below_the_floor_costs_a_constant_and_pulls_nothing() -> None:
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    query = torch.tensor([[0.8, 0.6]], requires_grad=True)
    loss = neighbour_loss(query, rows, torch.tensor([[False, True]]), None, 0.05, 1e-8)
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(1e-8) / 2)
    assert torch.equal(query.grad, torch.zeros(1, 2))


def test_queries_of_one_image_share_a_line() -> None:
    queries, rows, is_neighbour = some_case()
    line = torch.tensor([1, 0, 1, 1, 0, 5])
    shared = neighbour_loss(queries, rows, is_neighbour, line)
    apart = neighbour_loss(queries, rows, is_neighbour[line])
    torch.testing.assert_close(shared, apart)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_query_without_neighbours_costs_nothing(dtype: torch.dtype) -> None:
    queries, rows, is_neighbour = some_case(dtype)
    loss = neighbour_loss(queries, rows, torch.zeros_like(is_neighbour))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(queries.grad, torch.zeros_like(queries))


def test_half_precision_queries_are_scored_in_full_precision() -> None:
    queries, rows, is_neighbour = some_case(torch.float32)
    rounded = queries.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = neighbour_loss(rounded, rows, is_neighbour)
    loss.backward()
    assert loss.dtype == torch.float32
    assert rounded.grad is not None
    assert torch.equal(loss, neighbour_loss(rounded.float(), rows, is_neighbour))


def test_coarse_rows_give_much_the_same_loss_and_gradient() -> None:
    torch.manual_seed(6)
    rows = functional.normalize(torch.randn(9_000, 96), dim=1)
    queries = functional.normalize(rows[::300] + 0.05 * torch.randn(30, 96), dim=1)
    is_neighbour = rows[::300] @ rows.T > 0.3
    queries.requires_grad_()
    exact = neighbour_loss(queries, rows, is_neighbour)
    coarse = neighbour_loss(queries, rows, is_neighbour, coarse_rows=rows.bfloat16())
    assert coarse.item() == pytest.approx(exact.item(), abs=0.01)
    (slope,), (exact_slope,) = (torch.autograd.grad(loss, queries) for loss in (coarse, exact))
    assert (slope - exact_slope).norm() < 0.005 * exact_slope.norm()


def test_coarse_rows_cost_a_query_without_neighbours_nothing() -> None:
    queries, rows, is_neighbour = some_case(torch.float32)
    for none in (torch.zeros_like(is_neighbour), is_neighbour & (torch.arange(6) > 0)[:, None]):
        loss = neighbour_loss(queries, rows, none, coarse_rows=rows.bfloat16())
        (slope,) = torch.autograd.grad(loss, queries)
        assert torch.equal(slope[0], torch.zeros(5))
        assert torch.isfinite(loss)
