from __future__ import annotations

import numpy as np
import pytest
import torch

from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.model import Encoder
from dmnil_train.encoder.pca import fit_projection, principal_components
from edge_runtime.contract.errors import ConfigError

CONFIG = EncoderConfig(
    depths=(1, 1, 1, 1), widths=(4, 8, 8, 8), input_height=32, input_width=32, head="gap"
)


def test_components_of_a_hand_made_cloud() -> None:
    # Spread 3 along (1, 1), 1 along (1, -1), around (5, 2).
    axes = np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)
    steps = np.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    cloud = (steps @ axes + (5.0, 2.0)).astype(np.float32)
    mean, components = principal_components(cloud, 2)
    np.testing.assert_allclose(mean, (5.0, 2.0), atol=1e-6)
    np.testing.assert_allclose(np.abs(components @ axes.T), np.eye(2), atol=1e-6)
    assert (components[np.arange(2), np.abs(components).argmax(axis=1)] > 0).all()


def test_full_whitening_evens_the_variances() -> None:
    generator = np.random.default_rng(3)
    cloud = (generator.standard_normal((200, 5)) * (5, 4, 3, 2, 1)).astype(np.float32)
    for power, expected in ((1.0, np.ones(3)), (0.0, None)):
        mean, components = principal_components(cloud, 3, power)
        variances = np.var((cloud - mean) @ components.T, axis=0, ddof=1)
        if expected is None:
            assert (np.diff(variances) < 0).all()
        else:
            np.testing.assert_allclose(variances, expected, rtol=1e-4)


@pytest.mark.parametrize(("size", "power"), [(10, 0.0), (6, 0.0), (2, 1.5)])
def test_too_many_components_or_a_strange_power_are_refused(size: int, power: float) -> None:
    vectors = np.random.default_rng(0).standard_normal((10, 5)).astype(np.float32)
    with pytest.raises(ConfigError):
        principal_components(vectors, size, power)


def test_a_projection_that_keeps_everything_only_recentres_the_vectors() -> None:
    torch.manual_seed(1)
    encoder = Encoder(CONFIG).eval()
    images = np.random.default_rng(2).integers(0, 256, (12, 32, 32, 3), np.uint8)
    projected = fit_projection(encoder, [images[:5], images[5:]], descriptor_size=8)
    assert projected.config.descriptor_size == 8
    with torch.no_grad():
        whole = encoder(torch.from_numpy(images))
        centred = whole - whole.mean(dim=0)
        expected = torch.nn.functional.normalize(centred, dim=1)
        found = projected(torch.from_numpy(images))
    # A rotation keeps every inner product.
    torch.testing.assert_close(found @ found.T, expected @ expected.T, atol=1e-3, rtol=1e-3)


def test_the_same_images_give_the_same_projection() -> None:
    torch.manual_seed(1)
    encoder = Encoder(CONFIG).eval()
    images = np.random.default_rng(2).integers(0, 256, (12, 32, 32, 3), np.uint8)
    first, second = (fit_projection(encoder, [images], 4, 0.5).state_dict() for _ in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_no_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="there are none"):
        fit_projection(Encoder(CONFIG), [], 4)
