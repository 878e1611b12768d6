from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from dmnil_train.objective.consistency import mutual_information, neighbour_consistency


def test_equal_similarity_to_all_neighbours_costs_nothing() -> None:
    rows = torch.eye(3)
    query = functional.normalize(torch.tensor([[1.0, 1.0, 0.0]]), dim=1)
    loss = neighbour_consistency(query, rows, torch.tensor([[0, 1]]))
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_consistency_by_hand() -> None:
    # Similarities 1 and 0 at temperature 1: p = (e, 1) / (e + 1).
    loss = neighbour_consistency(torch.eye(2)[[0]], torch.eye(2), torch.tensor([[0, 1]]), 1.0)
    p = math.e / (math.e + 1)
    expected = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_each_query_looks_at_its_own_neighbours() -> None:
    rows = functional.normalize(torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, 0.0]]), dim=1)
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    own = torch.tensor([[0, 1], [2, 2]])
    assert neighbour_consistency(queries, rows, own).item() == pytest.approx(0.0, abs=1e-5)
    assert neighbour_consistency(queries, rows, own.flip(0)).item() > 1.0


def test_sure_and_different_matches_carry_the_most_information() -> None:
    rows = torch.eye(4)
    assert mutual_information(rows, rows).item() == pytest.approx(math.log(4), rel=1e-4)
    assert mutual_information(rows[[0, 0, 0]], rows).item() == pytest.approx(0.0, abs=1e-6)
    unsure = torch.full((4, 4), 0.5)
    assert mutual_information(unsure, rows).item() == pytest.approx(0.0, abs=1e-6)


def test_mutual_information_by_its_definition() -> None:
    torch.manual_seed(2)
    queries, rows = (functional.normalize(torch.randn(n, 6), dim=1) for n in (5, 9))
    p = torch.softmax(queries @ rows.T / 0.2, dim=1)

    def entropy(q: torch.Tensor) -> torch.Tensor:
        return -(q * q.log()).sum(dim=-1)

    expected = entropy(p.mean(dim=0)) - entropy(p).mean()
    torch.testing.assert_close(mutual_information(queries, rows, 0.2), expected)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(4)
    rows = functional.normalize(torch.randn(7, 4, dtype=torch.float64), dim=1)
    queries = functional.normalize(torch.randn(3, 4, dtype=torch.float64), dim=1).requires_grad_()
    nearest = torch.tensor([[0, 1, 2], [6, 5, 4], [3, 0, 6]])
    assert torch.autograd.gradcheck(lambda q: neighbour_consistency(q, rows, nearest), (queries,))
    assert torch.autograd.gradcheck(lambda q: mutual_information(q, rows, 0.3), (queries,))
