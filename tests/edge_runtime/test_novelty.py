from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.localize.novelty import ViewNovelty
from edge_runtime.localize.odometry import Displacement
from edge_runtime.localize.rectify import GroundWindow

HOVER = Displacement(0.0, 0.0)


def window(heading_deg: float = 0.0, distance_m: float = 0.0) -> GroundWindow:
    """A 120 m window that lies a distance ahead of the drone."""
    heading = np.radians(heading_deg)
    return GroundWindow(
        distance_m * float(np.sin(heading)), distance_m * float(np.cos(heading)), 120.0
    )


@pytest.fixture
def novelty() -> ViewNovelty:
    """One that has already used a first view, 50 m ahead to the north."""
    started = ViewNovelty(independent_shift=0.125, typical_speed_m_s=10.0)
    started.use(window(0.0, 50.0))
    return started


def test_the_first_view_is_worth_all() -> None:
    assert ViewNovelty(0.125, 10.0).update(window(), None, 0.0) == 1.0


def test_hovering_adds_nothing_however_long(novelty: ViewNovelty) -> None:
    for _ in range(1000):
        assert novelty.update(window(0.0, 50.0), HOVER, 1.0) == 0.0


def test_hovering_with_noisy_odometry_does_not_add_up(novelty: ViewNovelty) -> None:
    there_and_back = [Displacement(0.5, -0.3), Displacement(-0.5, 0.3)]
    worth = [novelty.update(window(0.0, 50.0), there_and_back[i % 2], 0.5) for i in range(400)]
    assert max(worth) < 0.05


def test_fifteen_metres_of_flight_are_an_independent_view_of_120_m(novelty: ViewNovelty) -> None:
    worth = [novelty.update(window(0.0, 50.0), Displacement(0.0, 5.0), 0.5) for _ in range(3)]
    assert worth == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_no_view_is_worth_more_than_one(novelty: ViewNovelty) -> None:
    assert novelty.update(window(0.0, 50.0), Displacement(80.0, 0.0), 1.0) == 1.0


def test_a_used_view_starts_the_count_again(novelty: ViewNovelty) -> None:
    novelty.update(window(0.0, 50.0), Displacement(0.0, 15.0), 1.0)
    novelty.use(window(0.0, 50.0))
    assert novelty.update(window(0.0, 50.0), Displacement(0.0, 3.0), 1.0) == pytest.approx(0.2)


@pytest.mark.parametrize("jump_deg", [20.0, -90.0, 180.0])
def test_a_heading_jump_without_motion_adds_nothing(novelty: ViewNovelty, jump_deg: float) -> None:
    # Odometry sees the ground turn by as much as telemetry claims the drone did.
    jump = Displacement(0.0, 0.0, rotation_deg=jump_deg)
    assert novelty.update(window(jump_deg, 50.0), jump, 0.5) == pytest.approx(0.0, abs=1e-9)
    assert novelty.update(window(jump_deg, 50.0), HOVER, 0.5) == pytest.approx(0.0, abs=1e-9)


def test_turning_on_the_spot_shows_new_ground(novelty: ViewNovelty) -> None:
    # Telemetry and pictures agree that the camera swept from north to east: 50 m * sqrt 2.
    assert novelty.update(window(90.0, 50.0), HOVER, 0.5) == 1.0
    assert novelty.update(window(10.0, 50.0), HOVER, 0.5) == pytest.approx(
        2 * 50.0 * np.sin(np.radians(5.0)) / 15.0
    )


def test_flying_back_to_the_used_view_takes_its_novelty_away(novelty: ViewNovelty) -> None:
    assert novelty.update(window(0.0, 50.0), Displacement(12.0, 0.0), 0.5) == pytest.approx(0.8)
    assert novelty.update(window(0.0, 50.0), Displacement(-12.0, 0.0), 0.5) == pytest.approx(0.0)


def test_unknown_motion_counts_by_time_at_the_typical_speed(novelty: ViewNovelty) -> None:
    worth = [novelty.update(window(0.0, 50.0), None, 0.5) for _ in range(4)]
    assert worth == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])


def test_unknown_motion_is_remembered_once_odometry_speaks_again(novelty: ViewNovelty) -> None:
    novelty.update(window(0.0, 50.0), None, 0.5)
    assert novelty.update(window(0.0, 50.0), HOVER, 0.5) == pytest.approx(1 / 3)
    novelty.use(window(0.0, 50.0))
    assert novelty.update(window(0.0, 50.0), HOVER, 0.5) == 0.0


def test_a_smaller_footprint_is_renewed_by_a_smaller_shift(novelty: ViewNovelty) -> None:
    small = GroundWindow(0.0, 50.0, 60.0)
    assert novelty.update(small, Displacement(0.0, 3.0), 0.5) == pytest.approx(0.4)
