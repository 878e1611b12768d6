"""Satellite tiles are the map's own, with the ground around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dmnil_maps.raster import open_imagery
from dmnil_maps.tiling import lattice_over
from dmnil_train.data.satellite_tiles import mirrored_into_holes, prepare_tiles
from tests.maps.conftest import (
    KINDS,
    Ground,
    paint,
    raster_grid,
    tile_pictures,
    write_geotiff,
    write_imagery,
)


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two pictures, -1 to 1."""
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stride_ratio", [0.25, 0.37])
def test_tiles_are_those_of_the_map(tmp_path: Path, kind: str, stride_ratio: float) -> None:
    path, size, footprint_m = write_imagery(tmp_path, kind, Ground()), 32, 110.0
    pool, frame = prepare_tiles(
        path,
        size,
        size,
        tmp_path / "cache",
        footprint_m=footprint_m,
        stride_ratio=stride_ratio,
        margin=1.5,
    )
    with open_imagery(path) as imagery:
        level = lattice_over(imagery.bounds, footprint_m, stride_ratio * footprint_m)
        pictures, lattice = tile_pictures(imagery, level, size, size)
        assert frame == imagery.frame
    assert np.array_equal(pool.positions_m, level.centre(lattice[:, 0], lattice[:, 1]))
    pictures = pictures.astype(int)
    seen = np.stack([pool.read(index) for index in range(len(pool))]).astype(int)
    is_covered = pictures.any(axis=-1)
    assert is_covered.mean() > 0.99
    assert np.abs(seen - pictures)[is_covered].max() <= 2


def test_the_margin_shows_the_ground_around_the_tile(tmp_path: Path) -> None:
    """A neighbour one stride away shows the same ground, shifted by the stride."""
    pool, _ = prepare_tiles(
        write_imagery(tmp_path, "utm", Ground()),
        32,
        32,
        tmp_path / "cache",
        footprint_m=96.0,
        stride_ratio=0.25,
        margin=1.5,
    )
    assert pool.positions_m is not None
    east = pool.positions_m + np.array([24.0, 0.0])
    to_east = np.linalg.norm(pool.positions_m[:, None] - east[None], axis=2).argmin(axis=0)
    middle = int(np.linalg.norm(pool.positions_m, axis=1).argmin())
    here, there = pool.pictures[middle].astype(int), pool.pictures[to_east[middle]].astype(int)
    assert np.abs(here[:, 8:] - there[:, :-8]).max() <= 2  # a stride of 24 m is 8 of its pixels


def test_beyond_the_rasters_end_the_ground_is_mirrored(tmp_path: Path) -> None:
    pool, _ = prepare_tiles(
        write_imagery(tmp_path, "utm", Ground()),
        32,
        32,
        tmp_path / "cache",
        footprint_m=96.0,
        stride_ratio=0.25,
        margin=1.5,
    )
    assert pool.pictures.any(axis=-1).all()
    north_west = pool.pictures[0].astype(float)
    # 8 pixels of 3 m are margin; the raster ends within some metres of the first tile.
    for picture in (north_west, np.moveaxis(north_west, 0, 1)):
        ends = [
            likeness(picture[:, end - 5 : end][:, ::-1], picture[:, end + 1 : end + 6])
            for end in range(5, 12)
        ]
        assert max(ends) > 0.95


def test_holes_show_their_surroundings_mirrored() -> None:
    row = np.array([9, 9, 1, 2, 3, 4, 9, 9, 9], np.uint8)
    covered = np.array([0, 0, 1, 1, 1, 1, 0, 0, 0], bool)
    picture = np.repeat(np.repeat(row[None, :, None], 3, axis=2), 4, axis=0)
    filled = mirrored_into_holes(picture, np.repeat(covered[None], 4, axis=0))
    assert filled[0, :, 0].tolist() == [3, 2, 1, 2, 3, 4, 3, 2, 1]
    assert (filled == filled[:1]).all()
    # Where there is no ground so far behind the edge, the edge itself is repeated.
    filled = mirrored_into_holes(picture, np.repeat((covered & (row < 2))[None], 4, axis=0))
    assert filled[0, :, 0].tolist() == [1] * 9


def test_a_picture_without_holes_is_left_alone() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (6, 7, 3), np.uint8)
    assert mirrored_into_holes(picture, np.ones((6, 7), bool)) is picture


def test_tiles_around_a_hole_are_kept_as_the_map_keeps_them(tmp_path: Path) -> None:
    transform, width, height = raster_grid("EPSG:32632")
    bands = np.moveaxis(paint(Ground(), "EPSG:32632", transform, width, height), -1, 0)
    bands = np.maximum(bands, 1)
    bands[:, 150:260, 200:330] = 0
    path = write_geotiff(tmp_path / "hole.tif", bands, "EPSG:32632", transform, nodata=0)
    pool, _ = prepare_tiles(
        path, 32, 32, tmp_path / "cache", footprint_m=96.0, stride_ratio=0.25, margin=1.5
    )
    with open_imagery(path) as imagery:
        level = lattice_over(imagery.bounds, 96.0, 24.0)
        _, lattice = tile_pictures(imagery, level, 32, 32)
    assert len(lattice) < level.rows * level.columns
    assert np.array_equal(pool.positions_m, level.centre(lattice[:, 0], lattice[:, 1]))
    assert pool.pictures.any(axis=-1).all()
