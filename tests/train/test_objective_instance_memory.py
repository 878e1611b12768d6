from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

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
