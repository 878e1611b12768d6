from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from dmnil_train.objective.instance_memory import InstanceMemory, nearest, neighbours

GOLDEN = Path(__file__).parent.parent / "golden"


def test_an_update_with_a_repeated_image_is_the_authors() -> None:
    with np.load(GOLDEN / "instance_memory.npz") as golden:
        values = {name: torch.from_numpy(golden[name]) for name in golden.files}
    memory = InstanceMemory(values["memory_before"], float(values["momentum"]))
    memory.update(values["inputs"], values["indexes"])
    torch.testing.assert_close(memory.rows, values["memory_after"], rtol=1e-4, atol=1e-6)


def test_rows_start_at_unit_length() -> None:
    memory = InstanceMemory.from_features(torch.tensor([[3.0, 4.0], [0.0, 0.5]]))
    torch.testing.assert_close(memory.rows, torch.tensor([[0.6, 0.8], [0.0, 1.0]]))
    assert len(memory) == 2


def test_a_longer_feature_moves_its_row_further() -> None:
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    memory = InstanceMemory(torch.stack([east, east]), momentum=0.5)
    memory.update(torch.stack([north, 3.0 * north]), torch.tensor([0, 1]))
    expected = torch.tensor([[0.5, 0.5], [0.1, 0.3]])
    torch.testing.assert_close(memory.rows, expected / expected.norm(dim=1, keepdim=True))


def test_neighbours_are_those_near_the_best_similarity() -> None:
    # Best 0.8 in the first line: above 0.72. Best 1.0 in the second: above 0.9.
    similarities = torch.tensor([[0.8, 0.73, 0.71, -0.8], [0.95, 1.0, 0.9, 0.0]])
    expected = [[True, True, False, False], [True, True, False, False]]
    assert neighbours(similarities).tolist() == expected


def test_nothing_is_a_neighbour_where_even_the_best_row_points_away() -> None:
    assert not neighbours(torch.tensor([[-0.1, -0.5]])).any()


def test_similarities_are_cosines_with_every_row() -> None:
    memory = InstanceMemory(torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.0, -1.0]]))
    similarities = memory.similarities(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    torch.testing.assert_close(similarities, torch.tensor([[0.6, 1.0, 0.0], [0.8, 0.0, -1.0]]))
    assert nearest(similarities, 2).tolist() == [[1, 0], [0, 1]]
    assert nearest(similarities, 10).shape == (2, 3)


@pytest.mark.parametrize("spread", [0.02, 0.5])
@pytest.mark.parametrize("ratio", [0.9, 0.99])
def test_coarse_rows_find_exactly_the_same_neighbours(spread: float, ratio: float) -> None:
    torch.manual_seed(3)
    centres = torch.randn(12, 64).repeat(50, 1)
    rows = functional.normalize(centres + spread * torch.randn(600, 64), dim=1)
    # Similarities at the threshold itself, where rounding would decide.
    rows[300:310] = functional.normalize(rows[:10] + 0.4843 * torch.randn(10, 64) / 8.0, dim=1)
    exact, coarse = InstanceMemory(rows), InstanceMemory(rows, coarse=True)
    vectors = rows[:40]
    wanted, found = (memory.similarities(vectors, ratio, 7) for memory in (exact, coarse))
    assert torch.equal(neighbours(found, ratio), neighbours(wanted, ratio))
    assert torch.equal(nearest(found, 7), nearest(wanted, 7))


def test_coarse_rows_find_what_lies_nearest_where_all_point_away() -> None:
    rows = functional.normalize(-torch.eye(8) - 0.1, dim=1)
    vectors = torch.ones(1, 8) / 8**0.5
    memory = InstanceMemory(rows, coarse=True)
    similarities = memory.similarities(vectors, 0.9, 2)
    assert not neighbours(similarities).any()
    assert torch.isfinite(similarities.topk(2).values).all()


def test_coarse_rows_move_with_the_rows() -> None:
    torch.manual_seed(4)
    memory = InstanceMemory(functional.normalize(torch.randn(20, 8), dim=1), coarse=True)
    memory.update(torch.randn(6, 8), torch.tensor([3, 4, 3, 19, 0, 3]))
    assert memory.coarse_rows is not None
    assert torch.equal(memory.coarse_rows, memory.rows.bfloat16())
    assert InstanceMemory(memory.rows).coarse_rows is None
