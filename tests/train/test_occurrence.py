from __future__ import annotations

import pytest
import torch

from dmnil_train.occurrence import occurrence


@pytest.mark.parametrize(
    ("values", "turns"), [([], []), ([7], [0]), ([4, 2, 4, 4, 2, 9], [0, 0, 1, 2, 1, 0])]
)
def test_occurrences_count_from_zero_what_came_before(values: list[int], turns: list[int]) -> None:
    assert occurrence(torch.tensor(values, dtype=torch.long)).tolist() == turns
