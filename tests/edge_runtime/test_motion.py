from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.motion import Motion, MotionConfig, MotionModel
from edge_runtime.localize.odometry import Displacement

CONFIG = MotionConfig(
    odometry_scale_error=0.15,
    odometry_noise_m=0.0,
    typical_speed_m_s=10.0,
    speed_memory_s=10.0,
    velocity_error_m_s=1.5,
)
NORTHWARDS = Displacement(0.0, 10.0)


def test_a_heading_further_right_turns_what_was_seen_to_the_right() -> None:
    seen = Motion(0.0, 10.0, 1.0, by_camera=True)
    assert seen.for_hypothesis(90.0, 1.0) == pytest.approx((10.0, 0.0))
    assert seen.for_hypothesis(-90.0, 1.0) == pytest.approx((-10.0, 0.0))


def test_a_greater_height_makes_what_was_seen_longer() -> None:
    seen = Motion(0.0, 10.0, 1.0, by_camera=True, height_multiple=0.8)
    assert seen.for_hypothesis(0.0, 1.0) == pytest.approx((0.0, 12.5))


def test_telemetrys_velocity_turns_with_no_hypothesis() -> None:
    told = MotionModel(CONFIG).unseen(2.0, (3.0, -4.0))
    assert told.for_hypothesis(90.0, 1.25) == (6.0, -8.0)
    assert told.sigma_m == 3.0


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_a_scale_error_lasts_along_a_straight_at_any_frame_rate(steps: int) -> None:
    model = MotionModel(CONFIG)
    step = Displacement(0.0, 100.0 / steps)
    variance = sum(model.seen(step, 1.0).sigma_m ** 2 for _ in range(steps))
    assert np.sqrt(variance) == pytest.approx(15.0)


def test_a_view_that_fixes_the_position_starts_the_straight_anew() -> None:
    model = MotionModel(CONFIG)
    model.seen(NORTHWARDS, 1.0)
    model.confirmed(1.0)
    assert model.seen(NORTHWARDS, 1.0).sigma_m == pytest.approx(1.5)


def test_there_and_back_costs_no_more_than_each_way() -> None:
    model = MotionModel(CONFIG)
    model.seen(NORTHWARDS, 1.0)
    assert model.seen(Displacement(0.0, -10.0), 1.0).sigma_m == pytest.approx(1.5)


def test_a_contradicted_turn_makes_the_direction_doubtful() -> None:
    assert MotionModel(CONFIG).seen(NORTHWARDS, 1.0, is_inconsistent=True).sigma_m == 10.0


def test_with_no_velocity_known_doubt_grows_with_the_typical_speed() -> None:
    gap = MotionModel(CONFIG).unseen(4.0, None)
    assert (gap.east_m, gap.north_m, gap.sigma_m) == (0.0, 0.0, 40.0)


def known_velocity() -> MotionModel:
    model = MotionModel(CONFIG)
    model.remember(np.array([0.0, 12.0]), 0.1, 1.0, 0.0)
    return model


def test_a_short_gap_goes_on_as_before_and_is_known_better() -> None:
    gap = known_velocity().unseen(2.0, None)
    assert gap.north_m == pytest.approx(24.0, rel=0.1)
    assert gap.sigma_m < 10.0


@pytest.mark.parametrize("elapsed_s", [0.1, 1.0, 14.0, 100.0, 3600.0])
def test_a_gap_is_never_known_worse_than_with_no_velocity(elapsed_s: float) -> None:
    gap = known_velocity().unseen(elapsed_s, None)
    assert gap.sigma_m <= 10.0 * elapsed_s + 12.0
    assert gap.north_m <= 120.0


def test_each_gaps_doubt_is_its_own() -> None:
    model = known_velocity()
    model.remember(None, 0.0, 1000.0, 0.0)
    assert model.velocity is None
    gap = model.unseen(4.0, None)
    assert gap.north_m == pytest.approx(0.0, abs=1e-6)
    assert gap.sigma_m == pytest.approx(40.0, rel=0.15)


def test_velocity_is_the_way_over_the_time_with_its_error() -> None:
    velocity = known_velocity().velocity
    assert velocity is not None
    assert (velocity.east_m_s, velocity.north_m_s) == (0.0, 12.0)
    assert velocity.standard_deviation_m_s == pytest.approx(1.2)


def test_velocity_at_a_high_frame_rate_is_smoothed() -> None:
    model = MotionModel(CONFIG)
    rng = np.random.default_rng(0)
    for _ in range(100):
        moved = np.array([1.0, 0.0]) + rng.normal(0.0, 0.3, 2)
        model.remember(moved, 0.0, 0.1, 0.3)
    velocity = model.velocity
    assert velocity is not None
    assert velocity.east_m_s == pytest.approx(10.0, abs=2.0)


@pytest.mark.parametrize(
    "setting",
    [{"typical_speed_m_s": 0.0}, {"speed_memory_s": 0.0}, {"odometry_scale_error": -0.1}],
)
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="motion"):
        MotionConfig(**setting)
