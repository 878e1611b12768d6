from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dmnil_train import inputs
from dmnil_train.augmentation import AugmentationConfig
from dmnil_train.data.pool import PreparedPool
from dmnil_train.encoder.halves import split_encoder
from dmnil_train.encoder.model import Encoder
from dmnil_train.inputs import FreshInputs, KeptInputs, mixed_seed
from edge_runtime.contract.errors import TrainingError
from tests.train.tiny_training import SIDE, TINY_CONVNEXT

IMAGES = 20
VIEWS = 3


@pytest.fixture(scope="module")
def fresh() -> FreshInputs:
    rng = np.random.default_rng(0)
    stored = SIDE * 3 // 2
    pictures = rng.integers(0, 256, (IMAGES, stored, stored, 3), dtype=np.uint8)
    names = tuple(map(str, range(IMAGES)))
    pool = PreparedPool(pictures, names, np.full(IMAGES, -1), margin=1.5)
    torch.manual_seed(0)
    frozen, _ = split_encoder(Encoder(TINY_CONVNEXT).eval(), 1, freeze_batch_norm=True)
    return FreshInputs(pool, frozen, AugmentationConfig(), torch.device("cpu"))


@pytest.fixture(scope="module")
def kept(fresh: FreshInputs) -> KeptInputs:
    return KeptInputs(fresh, VIEWS, seed=1, label="drone")


def test_the_clean_view_is_the_middle_of_the_picture_as_it_is(
    fresh: FreshInputs, kept: KeptInputs
) -> None:
    indexes = np.array([7, 0, 19])
    assert len(kept) == len(fresh) == IMAGES
    torch.testing.assert_close(kept.clean(indexes), fresh.clean(indexes), rtol=1e-3, atol=1e-3)


def test_mirrored_images_are_mirrored_before_they_are_described(fresh: FreshInputs) -> None:
    indexes = np.arange(4)
    mirrored = fresh.clean(indexes, mirrored=True)
    assert mirrored.shape == fresh.clean(indexes).shape
    pictures = torch.from_numpy(np.stack([fresh._pool.read(int(i)) for i in indexes]).copy())
    torch.testing.assert_close(mirrored, fresh._frozen(pictures.flip(2)))


def test_mirror_images_are_not_kept(kept: KeptInputs) -> None:
    with pytest.raises(ValueError, match="not kept"):
        kept.clean(np.array([0]), mirrored=True)


def test_an_image_that_comes_again_comes_in_another_view(kept: KeptInputs) -> None:
    indexes = np.array([4, 9, 4, 4])
    for seed in range(5):
        maps = kept.augmented(indexes, seed)
        again = [maps[0], maps[2], maps[3]]
        assert not any(torch.equal(a, b) for n, a in enumerate(again) for b in again[:n])
        # Never the clean one, and always one of those that are kept.
        views = kept._maps[:, 4].float()
        assert {int((views == one).flatten(1).all(dim=1).nonzero()) for one in again} == {1, 2, 3}


def test_more_repeats_than_views_begin_again(kept: KeptInputs) -> None:
    maps = kept.augmented(np.full(VIEWS + 1, 2), seed=0)
    assert torch.equal(maps[0], maps[VIEWS])


def test_the_seed_decides_which_views_come(kept: KeptInputs) -> None:
    indexes = np.arange(IMAGES)
    first = kept.augmented(indexes, 5)
    assert torch.equal(first, kept.augmented(indexes, 5))
    assert not torch.equal(first, kept.augmented(indexes, 6))


def test_the_same_seed_keeps_the_same_views(fresh: FreshInputs, kept: KeptInputs) -> None:
    assert torch.equal(KeptInputs(fresh, VIEWS, seed=1, label="drone")._maps, kept._maps)
    assert not torch.equal(KeptInputs(fresh, VIEWS, seed=2, label="drone")._maps, kept._maps)


def test_views_that_do_not_fit_into_memory_are_refused(
    fresh: FreshInputs, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    memory = tmp_path / "meminfo"
    memory.write_text("MemTotal: 2048 kB\nMemAvailable: 1024 kB\n")
    needed = (1 + VIEWS) * fresh.clean(np.arange(IMAGES)).numel() * 2
    real_open = open

    def open_instead(path: Any, *arguments: Any, **named: Any) -> Any:
        return real_open(memory if path == "/proc/meminfo" else path, *arguments, **named)

    monkeypatch.setattr("builtins.open", open_instead)
    monkeypatch.setattr(inputs, "_MEMORY_SHARE", 1.1 * needed / 2**20)
    KeptInputs(fresh, VIEWS, seed=1, label="drone")
    monkeypatch.setattr(inputs, "_MEMORY_SHARE", 0.9 * needed / 2**20)
    with pytest.raises(TrainingError, match=r"drone: .* lower kept_views, or set it to 0"):
        KeptInputs(fresh, VIEWS, seed=1, label="drone")


def test_seeds_of_different_numbers_differ() -> None:
    numbers = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 1, 2), (0, 2, 1), (2**40, 3)]
    assert len({mixed_seed(*each) for each in numbers}) == len(numbers)
    assert all(0 <= mixed_seed(*each) < 2**63 for each in numbers)
