"""The map's own axes: what they are fitted to, and what they do to descriptors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dmnil_maps.described_tiles import RAW_TILE_DTYPE
from dmnil_maps.map_arrays import descriptor_chunks, fitted_axes, sorted_tiles, write_projected
from dmnil_maps.whitening import WHITENING_POWER, fit_projection, project, sample_rows
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.region_map import MapLevel

SIZE = 40


def planted(count: int, deviations: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors (count, SIZE) that vary along hidden axes (K, SIZE), and a little elsewhere."""
    random = np.random.default_rng(8)
    axes = np.linalg.qr(random.standard_normal((SIZE, len(deviations))))[0].T
    along = random.standard_normal((count, len(deviations))) * deviations
    noise = 0.01 * random.standard_normal((count, SIZE))
    descriptors = along @ axes + noise
    return (descriptors - descriptors.mean(axis=0)).astype(np.float32), axes


def directions_of(projection: np.ndarray) -> np.ndarray:
    return projection / np.linalg.norm(projection, axis=0)


def test_planted_axes_are_found_in_the_order_of_their_variance() -> None:
    descriptors, axes = planted(2000, (4.0, 2.0, 1.0))
    projection = fit_projection(descriptors, 3)
    assert projection.shape == (SIZE, 3)
    agreement = np.abs(axes @ directions_of(projection))
    assert np.diag(agreement).min() > 0.99


def test_axes_are_orthogonal_whatever_their_scale() -> None:
    descriptors, _ = planted(500, (4.0, 3.0, 2.0, 1.0, 0.5))
    directions = directions_of(fit_projection(descriptors, 12))
    np.testing.assert_allclose(directions.T @ directions, np.eye(12), atol=1e-4)


def test_weaker_axes_are_raised_by_half_of_what_they_lack() -> None:
    descriptors, _ = planted(4000, (4.0, 1.0))
    projection = fit_projection(descriptors, 2)
    assert WHITENING_POWER == 0.5
    # Deviations of 4 and 1: the second axis is scaled by sqrt(4 / 1).
    np.testing.assert_allclose(np.linalg.norm(projection, axis=0), [1.0, 2.0], rtol=0.05)
    deviations = (descriptors @ projection).std(axis=0)
    assert deviations[0] / deviations[1] == pytest.approx(2.0, rel=0.05)


def test_the_same_descriptors_give_the_same_bytes() -> None:
    descriptors, _ = planted(300, (3.0, 2.0, 1.0))
    first = fit_projection(descriptors, 10)
    assert first.dtype == np.float32
    assert fit_projection(descriptors.copy(), 10).tobytes() == first.tobytes()


def test_the_sign_of_an_axis_is_fixed_by_its_largest_value() -> None:
    descriptors, _ = planted(300, (3.0, 2.0, 1.0))
    for sign in (1, -1):
        projection = fit_projection(sign * descriptors, 3)
        largest = np.abs(projection).argmax(axis=0)
        assert (projection[largest, range(3)] > 0).all()


@pytest.mark.parametrize(("tiles", "components"), [(2, 1), (3, 1), (9, 4), (40, 20), (400, 30)])
def test_few_tiles_give_fewer_axes(tiles: int, components: int) -> None:
    random = np.random.default_rng(1)
    descriptors = random.standard_normal((tiles, SIZE)).astype(np.float32)
    descriptors -= descriptors.mean(axis=0)
    assert fit_projection(descriptors, 30).shape == (SIZE, components)


def test_no_more_axes_are_kept_than_the_descriptors_have() -> None:
    random = np.random.default_rng(1)
    descriptors = random.standard_normal((500, SIZE)).astype(np.float32)
    assert fit_projection(descriptors, 1000).shape == (SIZE, SIZE)
    flat = np.zeros((500, SIZE), np.float32)
    flat[:, :2] = descriptors[:, :2]
    assert fit_projection(flat, 30).shape == (SIZE, 2)


@pytest.mark.parametrize("tiles", [1, 2, 100])
def test_tiles_that_are_all_the_same_are_refused(tiles: int) -> None:
    with pytest.raises(MapError, match="all tiles look the same"):
        fit_projection(np.zeros((tiles, SIZE), np.float32), 8)


def test_projected_descriptors_have_unit_length_and_the_mean_itself_is_harmless() -> None:
    descriptors, _ = planted(200, (3.0, 2.0, 1.0))
    mean = np.full(SIZE, 0.3, np.float32)
    projection = fit_projection(descriptors, 8)
    projected = project(np.concatenate([descriptors + mean, mean[None]]), mean, projection)
    assert projected.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(projected[:-1], axis=1), 1.0, rtol=1e-5)
    assert np.isfinite(projected).all()
    assert np.abs(projected[-1]).max() <= 1.0


@pytest.mark.parametrize("count", [1, 2, 4096, 4097, 100_000])
def test_the_fit_samples_evenly_from_first_to_last(count: int) -> None:
    rows = sample_rows(count)
    assert (rows[0], rows[-1]) == (0, count - 1)
    assert len(rows) == min(count, 4096)
    assert (np.diff(rows) > 0).all()
    if len(rows) > 1:
        assert np.diff(rows).max() - np.diff(rows).min() <= 1


LEVELS = [MapLevel(120.0, 30.0, 4, 5, -60.0, 45.0), MapLevel(60.0, 15.0, 3, 3, -15.0, 15.0)]


def written(folder: Path, descriptors: np.ndarray, components: int):
    """Tiles of two levels, which come in no order, as a map's arrays."""
    places = np.array([(n, row, column) for n, level in enumerate(LEVELS)
              for row in range(level.rows) for column in range(level.columns)])  # fmt: skip
    shuffled = np.random.default_rng(4).permutation(len(places))
    raw_tiles = np.zeros(len(places), RAW_TILE_DTYPE)
    raw_tiles["level"], raw_tiles["lattice_row"], raw_tiles["lattice_column"] = places[shuffled].T
    raw = descriptors[shuffled].astype(np.float16)
    tiles, order = sorted_tiles(LEVELS, LocalFrame(47.0, 8.0), raw_tiles)
    mean, projection = fitted_axes(tiles, order, len(LEVELS), raw, components)
    stored = write_projected(folder / "projected", tiles, order, raw, mean, projection)
    return tiles, mean, projection, np.concatenate(list(descriptor_chunks(stored)))


def test_tiles_that_come_in_any_order_are_projected_about_their_own_level(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    descriptors = random.standard_normal((29, SIZE)).astype(np.float16).astype(np.float32)
    descriptors[20:] += 3.0  # the second level has a mean of its own
    tiles, mean, projection, stored = written(tmp_path, descriptors, 10)
    assert tiles["level"].tolist() == [0] * 20 + [1] * 9
    assert stored.shape == (29, 10)
    np.testing.assert_allclose(mean[0], descriptors[:20].mean(axis=0), atol=2e-3)
    np.testing.assert_allclose(mean[1], descriptors[20:].mean(axis=0), atol=2e-3)
    row = tiles["lattice_row"].astype(int)
    given = np.where(tiles["level"] == 0, row * 5, 20 + row * 3) + tiles["lattice_column"]
    expected = project(descriptors[given], mean[tiles["level"]], projection)
    np.testing.assert_allclose(stored, expected, atol=5e-3)


def test_a_map_of_one_picture_over_and_over_is_refused(tmp_path: Path) -> None:
    same = np.tile(np.random.default_rng(2).standard_normal(SIZE), (29, 1))
    with pytest.raises(MapError, match="is the imagery empty"):
        written(tmp_path, same, 10)
