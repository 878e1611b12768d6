"""What the live page is given of a localiser: copies, and tiles found from scores over a grid."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest

from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.region_map import RegionMap, load_region_map
from edge_runtime.engines import open_engine
from edge_runtime.flight_camera import CameraConfig, open_flight_camera
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.localiser import Localiser
from edge_runtime.localize.position_grid import Bounds, PositionGrid
from edge_runtime.localize.rectify import GroundWindow
from edge_runtime.monitor.details import FixDetails, PosteriorGrid, ScoredGround
from edge_runtime.monitor.localiser_details import details_of, posterior_of, scored_ground_of
from edge_runtime.monitor.pictures import Pictures, heat_picture
from edge_runtime.monitor.tally import Handover, SeenDetails, Tally
from edge_runtime.monitor.tile_match import TileMatch, tile_matches
from edge_runtime.sources.open import open_source
from tests.small_map import LEVEL, write_small_map

SAMPLE = Path(__file__).parents[2] / "edge_runtime" / "sample"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> RegionMap:
    return load_region_map(write_small_map(tmp_path_factory.mktemp("map") / "small.map"))


def grid_of(rows: int, columns: int, cell_m: float = 10.0) -> PositionGrid:
    half_m = np.array([columns, rows]) * cell_m / 2
    bounds = Bounds(-half_m[0], -half_m[1], half_m[0], half_m[1])
    return PositionGrid.uniform(bounds, cell_m, 1.0)


def test_a_small_posterior_is_copied_with_its_outer_corner() -> None:
    grid = grid_of(4, 6)
    copied = posterior_of(grid)
    grid.mass[:] = 0.0
    assert copied.mass.sum() == pytest.approx(1.0)
    assert (copied.west_m, copied.north_m, copied.cell_m) == (-30.0, 20.0, 10.0)


def test_a_large_posterior_is_handed_over_as_it_is() -> None:
    grid = grid_of(1000, 800)
    assert posterior_of(grid).mass is grid.mass, "a copy would cost the flight milliseconds"


def test_a_large_posterior_is_drawn_in_fewer_cells_its_place_kept() -> None:
    mass = np.zeros((1000, 800), np.float32)
    mass[300:303, 600:603] = 1.0 / 9.0
    picture = heat_picture(PosteriorGrid(mass, 0.0, 0.0, 10.0))
    assert picture.shape == (400, 320, 4)
    rows, columns = np.nonzero(picture[..., 3])
    assert set(rows) <= {119, 120, 121}
    assert set(columns) <= {239, 240, 241}


def test_rows_of_the_map_become_tiles_where_they_lie(small: RegionMap) -> None:
    row = int(small.rows_at(0)[2, 5])
    (match,) = tile_matches(small, FixDetails(matched_tiles=((row, 7.5), (10**6, 7.0))))
    assert match == TileMatch(
        LEVEL.first_east_m + 5 * LEVEL.stride_m,
        LEVEL.first_north_m - 2 * LEVEL.stride_m,
        LEVEL.footprint_m,
        7.5,
    )


def test_scored_ground_becomes_the_tiles_it_lies_in_each_once(small: RegionMap) -> None:
    scores = np.full((40, 40), np.nan, np.float32)
    scores[3, 6], scores[3, 5], scores[0, 0], scores[12, 0] = 9.0, 8.0, 7.0, 6.0
    ground = ScoredGround(scores, 0, LEVEL.first_east_m, LEVEL.first_north_m, 10.0)
    matches = tile_matches(small, FixDetails(scored_ground=ground))
    places = [
        (match.east_m - LEVEL.first_east_m, match.north_m - LEVEL.first_north_m, match.similarity)
        for match in matches
    ]
    # The cells at 50 and 60 m lie nearest to one tile; tiles stand every 30 m.
    assert places == [(60.0, -30.0, 9.0), (0.0, 0.0, 7.0), (0.0, -120.0, 6.0)]


def test_the_best_of_very_many_cells_are_found_among_them_all(small: RegionMap) -> None:
    rng = np.random.default_rng(5)
    scores = rng.normal(size=(700, 900)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = np.nan
    cells = [(12, 30), (24, 60), (36, 15), (48, 75), (6, 45)]
    for rank, cell in enumerate(cells):
        scores[cell] = 20.0 - rank
    ground = ScoredGround(scores, 0, LEVEL.first_east_m, LEVEL.first_north_m, 10.0)
    matches = tile_matches(small, FixDetails(scored_ground=ground))
    assert [match.similarity for match in matches] == [20.0, 19.0, 18.0, 17.0, 16.0]
    assert [match.east_m - LEVEL.first_east_m for match in matches] == [
        10.0 * column for _, column in cells
    ]


def test_ground_beyond_the_lattice_belongs_to_its_nearest_tile(small: RegionMap) -> None:
    scores = np.ones((1, 1), np.float32)
    ground = ScoredGround(scores, 0, LEVEL.first_east_m - 500.0, LEVEL.first_north_m + 500.0, 10.0)
    (match,) = tile_matches(small, FixDetails(scored_ground=ground))
    assert (match.east_m, match.north_m) == (LEVEL.first_east_m, LEVEL.first_north_m)


def test_the_ground_of_a_cell_is_the_window_away_from_it() -> None:
    grid = grid_of(30, 30)
    scores = np.zeros((30, 30), np.float32)
    window = GroundWindow(40.0, -60.0, 120.0)
    view = SimpleNamespace(grid=grid, scores=scores, ground=SimpleNamespace(level=1, window=window))
    ground = scored_ground_of(cast(Any, view))
    assert ground is not None
    assert ground.level == 1
    assert (ground.west_m, ground.north_m) == (grid.west_m + 40.0, grid.north_m - 60.0)
    assert scored_ground_of(None) is None


def test_a_localiser_that_offers_nothing_yields_empty_details() -> None:
    assert details_of(cast(Any, SimpleNamespace())) == FixDetails()


def test_a_localisers_view_is_copied() -> None:
    view = np.zeros((4, 4, 3), np.uint8)
    details = details_of(cast(Any, SimpleNamespace(view=view)))
    view[:] = 255
    assert details.view is not None
    assert details.view.max() == 0


def test_knowing_nothing_is_a_faint_veil_and_knowing_the_place_an_opaque_spot() -> None:
    even = heat_picture(PosteriorGrid(np.full((20, 20), 1 / 400, np.float32), 0.0, 0.0, 10.0))
    mass = np.zeros((20, 20), np.float32)
    mass[5, 7] = 1.0
    sure = heat_picture(PosteriorGrid(mass, 0.0, 0.0, 10.0))
    assert 0 < even[..., 3].max() < 80
    assert sure[5, 7, 3] > 200
    assert np.count_nonzero(sure[..., 3]) == 1


def test_a_rival_place_with_a_tenth_of_the_mass_is_still_seen() -> None:
    mass = np.zeros((20, 20), np.float32)
    mass[5, 7], mass[15, 15] = 0.9, 0.09
    assert heat_picture(PosteriorGrid(mass, 0.0, 0.0, 10.0))[15, 15, 3] > 60


def test_a_tile_is_cut_from_the_preview_where_it_lies(tmp_path: Path) -> None:
    folder = write_small_map(tmp_path / "small.map")
    region_map = load_region_map(folder)
    place = region_map.preview
    preview = cv2.imread(str(folder / "preview.jpg"))
    assert preview is not None
    preview[:] = (0, 0, 255)  # red, as OpenCV counts
    east_m, north_m = LEVEL.first_east_m + 10 * LEVEL.stride_m, LEVEL.first_north_m - 240.0
    column = round((east_m - place.west_m) / place.metres_per_pixel)
    row = round((place.north_m - north_m) / place.metres_per_pixel)
    reach = round(LEVEL.footprint_m / 2 / place.metres_per_pixel)
    preview[row - reach : row, column - reach : column + reach] = (255, 0, 0)
    cv2.imwrite(str(folder / "preview.jpg"), preview, [cv2.IMWRITE_JPEG_QUALITY, 100])
    handover = Handover(0.0)
    pictures = Pictures(Tally(handover, region_map.frame), region_map)
    scored = ScoredGround(np.ones((1, 1), np.float32), 0, east_m, north_m, 10.0)
    details = FixDetails(scored_ground=scored)
    handover.matched = SeenDetails(1, details, 0.0)
    encoded = pictures.named("match-0.jpg")
    assert encoded is not None
    tile = cv2.imdecode(np.frombuffer(encoded.data, np.uint8), cv2.IMREAD_COLOR)
    assert tile is not None
    upper, lower = tile[20:76, 20:-20], tile[116:]  # JPEG blurs edges of colour
    assert upper[..., 0].min() > 180
    assert upper[..., 2].max() < 80
    assert lower[..., 2].min() > 180
    assert pictures.named("match-1.jpg") is None


def test_a_real_localiser_offers_its_view_its_posterior_and_its_matches() -> None:
    """On the sample's first frame over the map's footprint, so that renamed attributes show."""
    bundle = load_encoder_bundle(SAMPLE / "lite2.encoder")
    town = load_region_map(SAMPLE / "town.map")
    camera = open_flight_camera(SAMPLE / "flight" / "frames.csv", CameraConfig(), 0.0)
    frames = islice(open_source(SAMPLE / "flight" / "frames", 0.0), 8, 9)
    localiser: Localiser | None = None
    for frame in frames:
        sample = camera.sample_of(frame)
        assert frame.image is not None
        assert sample is not None
        if localiser is None:
            height, width = frame.image.shape[:2]
            localiser = Localiser(
                open_engine(bundle, "fp32", "onnxruntime", 1),
                town,
                bundle.input_width,
                camera.camera_for(width, height),
                LocaliserConfig(),
            )
        localiser.process(frame.name, frame.image, sample)
    assert localiser is not None
    details = details_of(localiser)
    assert details.view is not None
    assert details.view.shape == (bundle.input_height, bundle.input_width, 3)
    assert details.posterior is not None
    assert 0.0 < details.posterior.mass.sum() <= 1.0 + 1e-6
    assert len(tile_matches(town, details)) == 5
