from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from dmnil_train.augmentation import Augmentation, AugmentationConfig, turned_middle
from dmnil_train.data.pool import PreparedPool
from edge_runtime.contract.errors import ConfigError

SIDE = 32
NOTHING = AugmentationConfig(
    brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, shift=0.0, flip=False
)
EVERYTHING = AugmentationConfig(
    gamma=0.6,
    shadow=1.0,
    blur=1.0,
    grey=0.5,
    erase=1.0,
    shift=0.1,
    rotation_deg=20.0,
    smallest_scale=0.8,
    largest_scale=1.2,
    perspective=0.2,
)
Pictures = npt.NDArray[np.uint8]


def pictures(count: int = 8, side: int = SIDE) -> Pictures:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def varied(config: AugmentationConfig, of: Pictures, seed: int = 0) -> Tensor:
    images: Tensor = Augmentation(config, SIDE, SIDE)(of, seed, torch.device("cpu"))
    return images


@pytest.mark.parametrize("side", [SIDE, 47, 48])
def test_with_nothing_to_vary_the_middle_comes_out_as_it_is(side: int) -> None:
    of = pictures(side=side)
    pool = PreparedPool(of, ("",) * len(of), np.zeros(len(of), np.int64), margin=side / SIDE)
    expected = np.stack([pool.read(index) for index in range(len(of))])
    found = varied(NOTHING, of)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)


def test_images_stay_images() -> None:
    found = varied(EVERYTHING, pictures(16, 48), seed=3)
    assert found.shape == (16, SIDE, SIDE, 3)
    assert found.dtype == torch.float32
    assert bool(torch.isfinite(found).all())
    assert 0.0 <= float(found.min()) < 60.0
    assert 180.0 < float(found.max()) <= 255.0


def test_the_same_seed_varies_alike_and_another_otherwise() -> None:
    of = pictures(side=48)
    first = varied(EVERYTHING, of, 5)
    torch.manual_seed(99)
    assert torch.equal(varied(EVERYTHING, of, 5), first)
    assert not torch.equal(varied(EVERYTHING, of, 6), first)


def test_other_random_numbers_of_the_program_are_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    varied(EVERYTHING, pictures(2))
    assert torch.equal(torch.rand(3), expected)


def test_images_of_one_batch_are_varied_differently() -> None:
    same = np.repeat(pictures(1), 4, axis=0)
    found = varied(AugmentationConfig(), same)
    assert not any(torch.equal(found[i], found[j]) for i in range(4) for j in range(i))


@pytest.mark.parametrize(
    "setting",
    [
        {"brightness": 0.5},
        {"contrast": 0.5},
        {"saturation": 0.5},
        {"hue": 0.5},
        {"gamma": 0.6},
        {"shadow": 1.0},
        {"blur": 1.0},
        {"grey": 1.0},
        {"erase": 1.0},
        {"shift": 0.2},
        {"rotation_deg": 20.0},
        {"smallest_scale": 0.5},
        {"largest_scale": 2.0},
        {"perspective": 0.3},
        {"flip": True},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_every_setting_changes_pictures(setting: dict[str, float]) -> None:
    of = pictures(16)
    difference = varied(replace(NOTHING, **setting), of) - torch.from_numpy(of)
    assert float(difference.abs().mean()) > 1.0


def test_brightness_is_a_factor() -> None:
    grey = np.full((200, SIDE, SIDE, 3), 100, np.uint8)
    factors = varied(replace(NOTHING, brightness=0.5), grey)[:, 0, 0, 0].numpy() / 100.0
    assert 0.5 <= factors.min() < 0.55
    assert 1.45 < factors.max() <= 1.5


def test_half_of_the_images_are_mirrored() -> None:
    of = pictures(200)
    found = varied(replace(NOTHING, flip=True), of).round().to(torch.uint8).numpy()
    kept = (found == of).all(axis=(1, 2, 3))
    mirrored = (found == of[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (kept ^ mirrored).all()
    assert 70 < mirrored.sum() < 130


def test_a_shift_goes_no_further_than_it_may() -> None:
    side = 64
    of = np.zeros((100, side, side, 3), np.uint8)
    of[:, 30:34, 30:34] = 255
    images = Augmentation(replace(NOTHING, shift=8 / side), side, side)(
        of, 0, torch.device("cpu")
    ).sum(dim=3)
    along = torch.arange(side) + 0.5
    weights = images / images.sum(dim=(1, 2), keepdim=True)
    east = (weights.sum(dim=1) * along).sum(dim=1) - side / 2
    south = (weights.sum(dim=2) * along).sum(dim=1) - side / 2
    for moves in (east, south):
        assert 6.0 < float(moves.abs().max()) < 8.2
        assert float(moves.min()) < -4.0
        assert float(moves.max()) > 4.0


def test_turns_and_shifts_take_their_edges_from_the_margin() -> None:
    """What lies around the middle is red: it may come into view, and nothing black may."""
    of = np.zeros((32, 2 * SIDE, 2 * SIDE, 3), np.uint8)
    of[..., 0] = 200
    of[:, 16:48, 16:48] = (0, 200, 0)
    found = varied(replace(NOTHING, shift=0.1, rotation_deg=20.0), of)
    seen = (found[..., 0] > 150).flatten(1).any(dim=1)
    assert seen.float().mean() > 0.8
    assert float(found.sum(dim=3).min()) > 150.0


def test_without_a_margin_edges_are_mirrored() -> None:
    of = np.full((32, SIDE, SIDE, 3), 180, np.uint8)
    found = varied(replace(NOTHING, shift=0.2, rotation_deg=20.0), of)
    np.testing.assert_allclose(found.numpy(), 180.0, atol=0.5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"brightness": 1.5}, "brightness must lie in 0 to 1"),
        ({"erase": -0.1}, "erase must lie in 0 to 1"),
        ({"shift": float("nan")}, "shift must lie in 0 to 1"),
        ({"hue": 0.6}, "hue must lie in 0 to 0.5"),
        ({"gamma": -1.0}, "gamma must be 0 or more"),
        ({"rotation_deg": 200.0}, "rotation_deg in 0 to 180"),
        ({"smallest_scale": 1.5}, "the smallest first"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        AugmentationConfig(**wrong)  # type: ignore[arg-type]


def test_a_quarter_turn_is_numpys() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)
    turned = turned_middle(pictures, 90.0, (32, 32), torch.device("cpu"))
    expected = np.rot90(pictures[:, 8:40, 8:40], axes=(1, 2))
    np.testing.assert_allclose(turned.numpy(), expected, atol=0.02)
    still = turned_middle(pictures, 0.0, (32, 32), torch.device("cpu"))
    np.testing.assert_allclose(still.numpy(), pictures[:, 8:40, 8:40], atol=0.02)


def test_a_turned_picture_without_surroundings_shows_nothing_beyond_its_edges() -> None:
    side = 64
    pictures = np.zeros((1, side, side, 3), np.uint8)
    pictures[:, 2:-2, 2:-2] = 200
    turned = turned_middle(pictures, 45.0, (side, side), torch.device("cpu"))
    # A diamond inscribed in the square reaches its edges at the corners of what is seen alone.
    assert float((turned < 199).float().mean()) < 0.02
