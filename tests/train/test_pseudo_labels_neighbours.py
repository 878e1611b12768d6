from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dmnil_train.pseudo_labels.neighbours import nearest_both_ways, nearest_neighbours
from edge_runtime.contract.errors import TrainingError


def unit_features(count: int, size: int = 16, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, size, generator=generator), dim=1)


@pytest.mark.parametrize("block_rows", [7, 20, 64, 1000])
def test_neighbours_are_those_of_the_whole_sorted_matrix(block_rows: int) -> None:
    features = unit_features(101)
    similarities, indices = nearest_neighbours(features, 9, block_rows)
    whole = (features.double() @ features.double().T).numpy()
    order = np.argsort(-whole, axis=1)[:, :9]
    np.testing.assert_array_equal(indices.numpy(), order)
    np.testing.assert_allclose(similarities, np.take_along_axis(whole, order, axis=1), atol=1e-6)


def test_hand_made_neighbours_on_a_circle() -> None:
    angles = torch.deg2rad(torch.tensor([0.0, 60.0, 10.0, 90.0]))
    features = torch.stack((angles.cos(), angles.sin()), dim=1)
    similarities, indices = nearest_neighbours(features, 3)
    assert indices.tolist() == [[0, 2, 1], [1, 3, 2], [2, 0, 1], [3, 1, 2]]
    assert similarities[1].tolist() == pytest.approx([1.0, 0.8660254, 0.6427876])


@pytest.mark.parametrize("block_rows", [8, 100])
def test_an_image_comes_first_even_among_exact_duplicates(block_rows: int) -> None:
    features = unit_features(3).repeat_interleave(12, dim=0)
    similarities, indices = nearest_neighbours(features, 4, block_rows)
    assert indices[:, 0].tolist() == list(range(36))
    assert all(len(set(row)) == 4 for row in indices.tolist())
    # Every neighbour is a copy, since there are more copies than neighbours.
    assert (indices // 12 == (torch.arange(36) // 12)[:, None]).all()
    torch.testing.assert_close(similarities, torch.ones(36, 4))


def test_a_whole_pool_can_be_ranked() -> None:
    _, indices = nearest_neighbours(unit_features(10), 10, block_rows=4)
    assert all(sorted(row) == list(range(10)) for row in indices.tolist())


def test_mixed_precision_around_the_search_does_not_coarsen_it() -> None:
    features = unit_features(50)
    plain = nearest_neighbours(features, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = nearest_neighbours(features, 5)
        inside_both, _ = nearest_both_ways(features[:20], features[20:], 5, 5)
    assert torch.equal(plain[0], inside[0])
    assert torch.equal(plain[1], inside[1])
    assert torch.equal(inside_both, nearest_both_ways(features[:20], features[20:], 5, 5)[0])


@pytest.mark.parametrize("block_rows", [5, 17, 1000])
def test_both_directions_of_a_search_agree_with_the_whole_matrix(block_rows: int) -> None:
    queries, gallery = unit_features(23), unit_features(41, seed=1)
    of_queries, of_gallery = nearest_both_ways(queries, gallery, 6, 4, block_rows)
    whole = (queries.double() @ gallery.double().T).numpy()
    np.testing.assert_array_equal(of_queries, np.argsort(-whole, axis=1)[:, :6])
    np.testing.assert_array_equal(of_gallery, np.argsort(-whole.T, axis=1)[:, :4])


def test_a_block_is_no_larger_than_queries_times_gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, ...]] = []
    real = torch.Tensor.new_empty

    def new_empty(like: torch.Tensor, *size: int) -> torch.Tensor:
        made.append(size)
        return real(like, *size)

    monkeypatch.setattr(torch.Tensor, "new_empty", new_empty)
    for block_rows in (100, 7):
        nearest_both_ways(unit_features(5), unit_features(60), 3, 2, block_rows)
    assert made == [(5, 60), (5, 7)]


def test_a_diverged_feature_is_reported_by_name() -> None:
    features = unit_features(8)
    features[3, 2] = torch.nan
    with pytest.raises(TrainingError, match="features of 8 images hold values that are not finite"):
        nearest_neighbours(features, 2)
    with pytest.raises(TrainingError, match="gallery"):
        nearest_both_ways(unit_features(4), features, 2, 2)


@pytest.mark.parametrize("k", [0, 9])
def test_more_neighbours_than_images_are_refused(k: int) -> None:
    with pytest.raises(TrainingError, match="choose 1 to 8"):
        nearest_neighbours(unit_features(8), k)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_a_gpu_finds_the_neighbours_that_a_processor_finds() -> None:
    features = unit_features(3000, size=64)
    similarities, indices = nearest_neighbours(features, 20)
    on_gpu = nearest_neighbours(features.cuda(), 20, block_rows=700)
    torch.testing.assert_close(on_gpu[0].cpu(), similarities, atol=1e-5, rtol=0)
    assert (on_gpu[1].cpu() == indices).float().mean() > 0.999


@pytest.mark.parametrize("block_rows", [4, 7, 100])
def test_gallery_images_of_several_views_are_ranked_by_their_best(block_rows: int) -> None:
    queries, views = unit_features(11, seed=3), unit_features(9 * 3, seed=4).view(9, 3, -1)
    best = torch.einsum("qd,gvd->qgv", queries, views).amax(dim=2)
    found, finders = nearest_both_ways(queries, views, 4, 5, block_rows)
    assert torch.equal(found, best.topk(4, dim=1).indices)
    assert torch.equal(finders, best.T.topk(5, dim=1).indices)
