from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from dmnil_train.objective.place_contrast import place_contrast, soft_place_contrast

# Four tiles in a row, 50 m apart, and one far away.
POSITIONS_M = torch.tensor([[0.0, 0.0], [50.0, 0.0], [100.0, 0.0], [150.0, 0.0], [0.0, 900.0]])
PLACES = torch.eye(5)
QUERY = PLACES[[0]]


def test_tiles_around_the_right_one_are_left_out_of_the_contrast() -> None:
    # Within 75 m of tile 0 lies tile 1; against it stand tiles 2, 3 and 4, of similarity 0.
    loss = place_contrast(QUERY, torch.tensor([0]), PLACES, POSITIONS_M, 75.0, 1.0)
    assert loss.item() == pytest.approx(math.log(1 + 3 / math.e), rel=1e-5)


def test_the_radius_is_inclusive_and_measured_from_each_querys_own_tile() -> None:
    queries, targets = PLACES[[0, 2]], torch.tensor([0, 2])
    # 50 m from tile 0: tile 1. 50 m from tile 2: tiles 1 and 3.
    loss = place_contrast(queries, targets, PLACES, POSITIONS_M, 50.0, 1.0)
    expected = (math.log(1 + 3 / math.e) + math.log(1 + 2 / math.e)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_neighbouring_tile_neither_attracts_nor_repels() -> None:
    places = PLACES.clone().requires_grad_()
    place_contrast(QUERY, torch.tensor([0]), places, POSITIONS_M).backward()
    assert places.grad is not None
    assert torch.equal(places.grad[1], torch.zeros(5))
    assert places.grad[2].abs().sum() > 0


def test_without_a_radius_it_is_cross_entropy_over_all_tiles() -> None:
    torch.manual_seed(1)
    queries = functional.normalize(torch.randn(6, 5), dim=1)
    targets = torch.tensor([0, 4, 1, 1, 2, 3])
    loss = place_contrast(queries, targets, PLACES, POSITIONS_M, 0.0, 0.1)
    torch.testing.assert_close(loss, functional.cross_entropy(queries @ PLACES.T / 0.1, targets))


def test_two_positive_tiles_share_a_query_by_weight() -> None:
    # Positives 0 (3/4) and 4 (1/4); tile 1 left out; logits 1, 0 and twice 0 for tiles 2, 3.
    loss = soft_place_contrast(
        QUERY,
        torch.tensor([[0, 4]]),
        torch.tensor([[3.0, 1.0]]),
        PLACES,
        POSITIONS_M,
        75.0,
        1.0,
    )
    total = math.log(math.e + 3)
    assert loss.item() == pytest.approx(0.75 * (total - 1) + 0.25 * total, rel=1e-5)


def test_a_positive_beside_another_positive_stays_in() -> None:
    loss = soft_place_contrast(
        QUERY, torch.tensor([[0, 1]]), torch.ones(1, 2), PLACES, POSITIONS_M, 75.0, 1.0
    )
    # Tile 2 lies within 75 m of tile 1: left are 0 and 1 (positives), 3 and 4.
    total = math.log(math.e + 3)
    assert loss.item() == pytest.approx(0.5 * (total - 1) + 0.5 * total, rel=1e-5)


def test_padding_changes_nothing_not_even_where_its_tile_would_be_left_out() -> None:
    queries = functional.normalize(torch.rand(2, 5), dim=1).requires_grad_()
    # Tile 0, which a padded -1 could be taken for, lies within 75 m of the first query's tile 1.
    padded = soft_place_contrast(
        queries,
        torch.tensor([[1, -1, -1], [4, 3, -1]]),
        torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0]]),
        PLACES,
        POSITIONS_M,
    )
    apart = [
        soft_place_contrast(
            queries[[row]], torch.tensor([tiles]), torch.ones(1, len(tiles)), PLACES, POSITIONS_M
        )
        for row, tiles in ((0, [1]), (1, [4, 3]))
    ]
    torch.testing.assert_close(padded, (apart[0] + apart[1]) / 2)
    padded.backward()
    assert queries.grad is not None
    assert queries.grad.isfinite().all()


def test_padding_does_not_leave_out_the_positive_tile_that_it_points_at() -> None:
    padded = torch.tensor([[0, -1]]), torch.tensor([[1.0, 0.0]])
    loss = soft_place_contrast(QUERY, *padded, PLACES, POSITIONS_M, 75.0, 1.0)
    assert loss.item() == pytest.approx(math.log(1 + 3 / math.e), rel=1e-5)


def test_queries_without_a_positive_do_not_count() -> None:
    queries = PLACES[[0, 3]].clone().requires_grad_()
    positives = torch.tensor([[0], [-1]])
    loss = soft_place_contrast(
        queries, positives, torch.tensor([[1.0], [0.0]]), PLACES, POSITIONS_M, 75.0, 1.0
    )
    assert loss.item() == pytest.approx(math.log(1 + 3 / math.e), rel=1e-5)
    none = soft_place_contrast(queries, positives, torch.zeros(2, 1), PLACES, POSITIONS_M)
    none.backward()
    assert none.item() == 0.0
    assert queries.grad is not None
    assert torch.equal(queries.grad, torch.zeros_like(queries))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.floats(0.0, 200.0))
def test_one_positive_tile_is_the_hard_contrast(targets: list[int], radius_m: float) -> None:
    generator = torch.Generator().manual_seed(len(targets))
    queries = functional.normalize(torch.randn(len(targets), 5, generator=generator), dim=1)
    tiles = torch.tensor(targets)
    torch.testing.assert_close(
        soft_place_contrast(
            queries,
            tiles[:, None],
            torch.full((len(targets), 1), 0.3),
            PLACES,
            POSITIONS_M,
            radius_m,
        ),
        place_contrast(queries, tiles, PLACES, POSITIONS_M, radius_m),
    )


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(6)
    places = functional.normalize(torch.randn(5, 4, dtype=torch.float64), dim=1)
    queries = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    positives, weights = (
        torch.tensor([[0, 1], [4, -1], [2, 4]]),
        torch.tensor([[1, 2], [1, 0], [1, 1]]),
    )
    assert torch.autograd.gradcheck(
        lambda q: place_contrast(q, torch.tensor([0, 3, 4]), places, POSITIONS_M, 75.0, 0.5),
        (queries,),
    )
    assert torch.autograd.gradcheck(
        lambda q: soft_place_contrast(q, positives, weights, places, POSITIONS_M, 75.0, 0.5),
        (queries,),
    )
