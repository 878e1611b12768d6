from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from dmnil_train.encoder.config import Backbone, EncoderConfig, Head
from dmnil_train.encoder.heads import GlobalAverage, GridAverage, RingAverage, grid_average
from dmnil_train.encoder.model import Encoder
from edge_runtime.contract.errors import ConfigError

SMALL = {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64)}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


def small_config(backbone: Backbone, head: Head, **fields: int) -> EncoderConfig:
    sides = {
        "input_height": 64,
        "input_width": 96,
        "grid_size": 2,
        "ring_count": 2,
        "output_stride": 16,
    }
    return EncoderConfig(backbone=backbone, head=head, **SMALL, **{**sides, **fields})  # type: ignore[arg-type]


def some_images(count: int, height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8)


@pytest.mark.parametrize("descriptor_size", [None, 24])
@pytest.mark.parametrize(("head", "cells"), [("gap", 1), ("grid", 4), ("rings", 2)])
@pytest.mark.parametrize(
    ("backbone", "channels"),
    [("convnext", {16: 32, 32: 64}), ("efficientnet-lite2", {16: 120, 32: 352})],
)
@pytest.mark.parametrize("output_stride", [16, 32])
def test_every_backbone_goes_with_every_head(
    backbone: Backbone,
    channels: dict[int, int],
    output_stride: int,
    head: Head,
    cells: int,
    descriptor_size: int | None,
) -> None:
    fields = {"output_stride": output_stride}
    if descriptor_size is not None:
        fields["descriptor_size"] = descriptor_size
    encoder = Encoder(small_config(backbone, head, **fields)).eval()
    with torch.no_grad():
        descriptors = encoder(some_images(3))
    size = descriptor_size or cells * channels[output_stride]
    assert descriptors.shape == (3, size)
    assert encoder.descriptor_size == size
    assert descriptors.dtype == torch.float32
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(3))


def test_a_one_cell_grid_is_the_global_average() -> None:
    feature_map, norm = torch.randn(2, 6, 5, 7), nn.LayerNorm(6)
    torch.testing.assert_close(
        GridAverage(6, norm, grid_size=1)(feature_map), GlobalAverage(6, norm)(feature_map)
    )


@pytest.mark.parametrize("side", [(12, 12), (12, 8), (12, 10), (7, 5), (4, 4)])
def test_cells_are_those_of_adaptive_average_pooling(side: tuple[int, int]) -> None:
    feature_map = torch.randn(2, 3, *side)
    expected = functional.adaptive_avg_pool2d(feature_map, 4)
    torch.testing.assert_close(grid_average(feature_map, 4), expected)


def test_grid_cells_follow_row_by_row() -> None:
    feature_map = torch.arange(4.0).reshape(1, 1, 2, 2)
    grid = GridAverage(1, nn.Identity(), grid_size=2)
    assert grid(feature_map).tolist() == [[0.0, 1.0, 2.0, 3.0]]


def test_one_ring_is_the_global_average() -> None:
    feature_map, norm = torch.randn(2, 6, 5, 7), nn.LayerNorm(6)
    torch.testing.assert_close(
        RingAverage(6, norm, ring_count=1)(feature_map), GlobalAverage(6, norm)(feature_map)
    )


def test_rings_hold_what_lies_that_far_from_the_middle() -> None:
    feature_map = torch.zeros(1, 1, 8, 8)
    feature_map[..., 3:5, 3:5] = 1.0  # within 1.42 positions of the middle; a ring is 2 wide
    feature_map[..., 0, 0] = 5.0  # beyond the outermost ring's rim, but still its
    inner, outer = RingAverage(1, nn.Identity(), ring_count=2)(feature_map)[0].tolist()
    assert inner == pytest.approx(4 / (torch.pi * 4**2 / 4), rel=0.01)
    assert outer == pytest.approx(5 / (64 - torch.pi * 4**2 / 4), rel=0.01)


def test_rings_are_the_same_for_a_turned_image() -> None:
    feature_map = torch.randn(2, 3, 9, 9)
    rings = RingAverage(3, nn.Identity(), ring_count=3)
    torch.testing.assert_close(rings(feature_map.rot90(1, (2, 3))), rings(feature_map))


def test_an_image_is_encoded_alike_alone_and_in_a_batch() -> None:
    encoder = Encoder(small_config("efficientnet-lite2", "grid")).eval()
    images = some_images(4)
    with torch.no_grad():
        together, alone = encoder(images), encoder(images[2:3])
    torch.testing.assert_close(together[2:3], alone)


def test_features_are_the_descriptor_before_unit_length() -> None:
    encoder = Encoder(small_config("convnext", "gap")).eval()
    images = some_images(2)
    with torch.no_grad():
        torch.testing.assert_close(
            functional.normalize(encoder.features(images), dim=1), encoder(images)
        )


@pytest.mark.parametrize(
    ("backbone", "mean", "deviation"),
    [
        ("convnext", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("efficientnet-lite2", (127 / 255,) * 3, (128 / 255,) * 3),
    ],
)
def test_pixels_are_scaled_as_each_backbone_was_trained(
    backbone: Backbone, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> None:
    encoder = Encoder(small_config(backbone, "gap")).eval()
    seen: list[torch.Tensor] = []
    encoder.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    images = some_images(2)
    with torch.no_grad():
        encoder(images)
    expected = (images.double() / 255 - torch.tensor(mean)) / torch.tensor(deviation)
    torch.testing.assert_close(seen[0].double(), expected.permute(0, 3, 1, 2), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"backbone": "resnet"}, "backbone is 'resnet'"),
        ({"head": "netvlad"}, "head is 'netvlad'"),
        ({"depths": (1, 1), "widths": (8, 16)}, "must name four stages"),
        ({"widths": (96, 192, 384, 0)}, "at least 1"),
        ({"output_stride": 4}, "output_stride is 4"),
        ({"head": "grid", "input_width": 96}, "needs 128 pixels a side"),
        ({"descriptor_size": 769}, "descriptor_size is 769"),
        ({"descriptor_size": 0}, "descriptor_size is 0"),
    ],
)
def test_impossible_configurations_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EncoderConfig(**fields)  # type: ignore[arg-type]
