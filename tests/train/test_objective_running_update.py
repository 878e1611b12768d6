from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from dmnil_train.objective.running_update import follow_in_batch_order

SETTINGS = settings(max_examples=30, deadline=None)


def one_at_a_time(rows: Tensor, samples: Tensor, targets: list[int], momentum: float) -> Tensor:
    rows = rows.clone()
    for sample, target in zip(samples, targets, strict=True):
        moved = momentum * rows[target] + (1 - momentum) * sample
        rows[target] = moved / moved.norm()
    return rows


def some_rows(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, 8, generator=generator), dim=1)


@SETTINGS
@given(st.lists(st.integers(0, 5), max_size=40), st.floats(0.0, 0.95))
def test_a_batch_moves_rows_as_its_samples_would_one_at_a_time(
    targets: list[int], momentum: float
) -> None:
    rows, samples = some_rows(6), 3.0 * some_rows(len(targets), seed=1)
    expected = one_at_a_time(rows, samples, targets, momentum)
    follow_in_batch_order(rows, samples, torch.tensor(targets, dtype=torch.long), momentum)
    torch.testing.assert_close(rows, expected)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(6))


def test_the_order_of_different_rows_in_a_batch_does_not_matter() -> None:
    samples = some_rows(6, seed=1)
    forward, backward = some_rows(4), some_rows(4)
    follow_in_batch_order(forward, samples, torch.tensor([0, 0, 1, 2, 2, 2]), 0.3)
    order = torch.tensor([3, 2, 0, 4, 1, 5])
    follow_in_batch_order(backward, samples[order], torch.tensor([2, 1, 0, 2, 0, 2]), 0.3)
    torch.testing.assert_close(forward, backward)


def test_the_last_sample_of_a_row_counts_most() -> None:
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    rows = east[None].clone()
    follow_in_batch_order(rows, torch.stack([east, north]), torch.tensor([0, 0]), 0.5)
    torch.testing.assert_close(rows, torch.full((1, 2), 0.5**0.5))


def test_rows_that_no_sample_names_keep_their_bits() -> None:
    rows = some_rows(3)
    before = rows.clone()
    follow_in_batch_order(rows, some_rows(2, seed=1), torch.tensor([1, 1]), 0.1)
    assert torch.equal(rows[[0, 2]], before[[0, 2]])
    assert not torch.equal(rows[1], before[1])


def test_half_precision_samples_move_rows_of_full_precision() -> None:
    rows, samples = some_rows(3), some_rows(2, seed=1).bfloat16()
    expected = one_at_a_time(rows, samples.float(), [1, 1], 0.5)
    follow_in_batch_order(rows, samples, torch.tensor([1, 1]), 0.5)
    torch.testing.assert_close(rows, expected)
