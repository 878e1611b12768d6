"""What a map's elevations and imagery change in a localiser that has narrowed down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_runtime.contract.fix import IntegrityState
from edge_runtime.contract.terrain_grid import TerrainGeometry, TerrainGrid
from edge_runtime.engines import open_engine
from edge_runtime.localize import refined_position
from edge_runtime.localize.camera import CameraAttitude, PinholeCamera
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.integrity import IntegrityMonitor
from edge_runtime.localize.localiser import Localiser
from edge_runtime.localize.refine import RefineConfig, Refinement
from edge_runtime.localize.terrain import TerrainConfig
from edge_runtime.telemetry.log import TelemetrySample
from tests.painted_ground import textured_ground
from tests.small_map import FRAME

CAMERA = PinholeCamera(width=640, height=480, focal_px=400.0)
GROUND = textured_ground(21)
START = (FRAME.latitude_deg, FRAME.longitude_deg, 80.0)
PITCH_DEG = -60.0


@pytest.fixture(scope="module")
def engine(bundle):
    return open_engine(bundle, threads=1)


def plateau(elevation_m):
    steps = np.full((60, 60), round(elevation_m * 10), np.int16)
    return TerrainGrid(TerrainGeometry(-900.0, 900.0, 30.0, 0.0), steps)


def fly(engine, region_map, config, prior=START, frames=1):
    localiser = Localiser(engine, region_map, 64, CAMERA, config, prior)
    for number in range(frames):
        photo = GROUND.photograph(CAMERA, CameraAttitude(0.0, PITCH_DEG), 110.0, (0.0, 0.0))
        telemetry = TelemetrySample(float(number), 110.0, 0.0, PITCH_DEG)
        fix = localiser.process(f"{number}.jpg", photo, telemetry)
    return localiser, fix


def height_used(localiser):
    """The window lies where the image centre meets flat ground."""
    return localiser.window.north_m * np.tan(np.radians(-PITCH_DEG))


def with_take_off(elevation_m):
    return LocaliserConfig(terrain=TerrainConfig(take_off_elevation_m=elevation_m))


def test_the_height_is_that_above_the_viewed_ground(engine, region_map):
    on_plateau = replace(region_map, terrain=plateau(430.0))
    localiser, _ = fly(engine, on_plateau, with_take_off(420.0))
    assert height_used(localiser) == pytest.approx(100.0, abs=0.5)


def test_a_drone_that_does_not_know_where_it_is_flies_by_its_height_above_take_off(
    engine, region_map
):
    on_plateau = replace(region_map, terrain=plateau(430.0))
    localiser, _ = fly(engine, on_plateau, with_take_off(420.0), prior=None)
    assert height_used(localiser) == pytest.approx(110.0, abs=0.5)


@pytest.mark.parametrize(
    "terrain", [TerrainConfig(), TerrainConfig(enabled=False, take_off_elevation_m=420.0)]
)
def test_without_a_take_off_elevations_are_not_used(engine, region_map, terrain):
    on_plateau = replace(region_map, terrain=plateau(430.0))
    localiser, _ = fly(engine, on_plateau, LocaliserConfig(terrain=terrain))
    assert height_used(localiser) == pytest.approx(110.0, abs=0.5)


@pytest.fixture
def tracking(monkeypatch):
    """Every frame tracks."""
    verdict = IntegrityState.TRACKING, ""
    monkeypatch.setattr(IntegrityMonitor, "update", lambda *_: verdict)


@pytest.fixture
def moved_by_view(monkeypatch):
    """Every view says that the drone is 5 m further east and 3 m further south."""
    refinement = Refinement(np.array([5.0, -3.0]), np.eye(2), 0.0, 1.0, 1.0)
    monkeypatch.setattr(refined_position, "refine", lambda *_: refinement)


def test_a_tracked_position_is_refined_and_the_filter_is_not(
    engine, region_map, tracking, moved_by_view
):
    pictured = replace(region_map, imagery=object())
    refined = LocaliserConfig(refine=RefineConfig(enabled=True))
    moved_localiser, moved = fly(engine, pictured, refined)
    plain_localiser, plain = fly(engine, pictured, LocaliserConfig())
    places = [
        region_map.frame.to_local(fix.position.latitude_deg, fix.position.longitude_deg)
        for fix in (moved, plain)
    ]
    np.testing.assert_allclose(places[0] - places[1], [5.0, -3.0], atol=1e-6)
    assert moved.position.radius95_m < plain.position.radius95_m
    assert "refine" in moved.stage_ms
    assert "refine" not in plain.stage_ms
    np.testing.assert_array_equal(
        moved_localiser.position_grid.mass, plain_localiser.position_grid.mass
    )


def test_positions_that_are_not_tracked_are_not_refined(engine, region_map, moved_by_view):
    pictured = replace(region_map, imagery=object())
    _, fix = fly(engine, pictured, LocaliserConfig(refine=RefineConfig(enabled=True)))
    assert fix.position is None
    assert "refine" not in fix.stage_ms
