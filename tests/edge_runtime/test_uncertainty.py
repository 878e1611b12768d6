from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.camera import CameraAttitude, centre_ground_point
from edge_runtime.localize.uncertainty import (
    POSTERIOR_WIDTH,
    TelemetryErrorConfig,
    posterior_width,
    radius95_of,
    stated_radius95,
    view_offset_covariance,
)

ERRORS = TelemetryErrorConfig(heading_deg=5.0, pitch_deg=3.0, height_share=0.1)
SAMPLES = np.random.default_rng(12).normal(size=(200_000, 2))


def share_inside(covariance: np.ndarray) -> float:
    """Share of a Gaussian's samples that its stated 95 % radius holds."""
    values, axes = np.linalg.eigh(covariance)
    samples = SAMPLES * np.sqrt(np.maximum(values, 0.0)) @ axes.T
    return float(np.mean(np.linalg.norm(samples, axis=1) <= radius95_of(covariance)))


@pytest.mark.parametrize("sigma_m", [1.0, 35.0])
def test_the_radius_of_a_circular_gaussian_holds_95_percent(sigma_m: float) -> None:
    assert share_inside(sigma_m**2 * np.eye(2)) == pytest.approx(0.95, abs=0.003)


@pytest.mark.parametrize(
    "covariance",
    [np.diag([100.0, 0.0]), np.diag([1.0, 400.0]), np.array([[50.0, 50.0], [50.0, 50.0]])],
)
def test_the_radius_of_a_line_like_gaussian_holds_95_percent(covariance: np.ndarray) -> None:
    assert share_inside(covariance) == pytest.approx(0.95, abs=0.004)


@pytest.mark.parametrize("axis_ratio", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_in_between_the_radius_holds_at_least_94_percent(axis_ratio: float) -> None:
    assert 0.938 <= share_inside(np.diag([100.0, 100.0 * axis_ratio**2])) <= 0.955


@given(angle=st.floats(0.0, np.pi), first=st.floats(0.1, 100.0), second=st.floats(0.1, 100.0))
def test_the_radius_does_not_depend_on_the_direction(
    angle: float, first: float, second: float
) -> None:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    straight = np.diag([first, second])
    assert radius95_of(turn @ straight @ turn.T) == pytest.approx(radius95_of(straight))


def test_no_spread_has_no_radius() -> None:
    assert radius95_of(np.zeros((2, 2))) == 0.0


def test_the_stated_radius_joins_the_filters_error_and_what_it_cannot_see() -> None:
    unseen = np.diag([100.0, 100.0])
    assert stated_radius95(0.0, unseen) == pytest.approx(24.48)
    assert stated_radius95(40.0, np.zeros((2, 2))) == pytest.approx(40.0 * POSTERIOR_WIDTH)
    assert stated_radius95(40.0, unseen) == pytest.approx(np.hypot(24.48, 40.0 * POSTERIOR_WIDTH))


def test_dead_reckoning_states_all_of_its_spread() -> None:
    assert stated_radius95(150.0, np.zeros((2, 2))) == 150.0
    widths = [posterior_width(held_m) for held_m in (10.0, 40.0, 70.0, 100.0, 400.0)]
    middle = (POSTERIOR_WIDTH + 1.0) / 2
    assert widths == pytest.approx([POSTERIOR_WIDTH, POSTERIOR_WIDTH, middle, 1.0, 1.0])


def test_straight_down_only_tilt_counts_alike_in_all_directions() -> None:
    for heading_deg in (0.0, 77.0):
        covariance = view_offset_covariance(
            CameraAttitude(heading_deg, -90.0), 100.0, np.zeros(2), ERRORS
        )
        # 3 degrees at 100 m are 5.236 m.
        np.testing.assert_allclose(covariance, 5.236**2 * np.eye(2), atol=0.01)


def test_at_45_degrees_every_error_has_its_share() -> None:
    covariance = view_offset_covariance(
        CameraAttitude(0.0, -45.0), 100.0, np.array([0.0, 100.0]), ERRORS
    )
    # Along: 3 deg * (100 m + 100^2 m^2 / 100 m) and 10 % of 100 m; across: 5 deg of 100 m, tilt.
    along, across = 10.472**2 + 10.0**2, 8.727**2 + 5.236**2
    np.testing.assert_allclose(covariance, np.diag([across, along]), atol=0.02)


def test_the_covariance_turns_with_the_heading() -> None:
    east = view_offset_covariance(
        CameraAttitude(90.0, -45.0), 100.0, np.array([100.0, 0.0]), ERRORS
    )
    assert east[0, 0] > east[1, 1]
    north_east = view_offset_covariance(
        CameraAttitude(45.0, -45.0), 100.0, np.array([70.7, 70.7]), ERRORS
    )
    assert north_east[0, 1] == pytest.approx((east[0, 0] - east[1, 1]) / 2, rel=0.01)


def test_an_oblique_view_is_less_certain_than_a_nadir_one() -> None:
    nadir = view_offset_covariance(CameraAttitude(0.0, -90.0), 100.0, np.zeros(2), ERRORS)
    oblique = view_offset_covariance(
        CameraAttitude(0.0, -50.0), 100.0, np.array([0.0, 83.9]), ERRORS
    )
    assert radius95_of(oblique) > 1.5 * radius95_of(nadir)


@pytest.mark.parametrize("pitch_deg", [-75.0, -60.0, -45.0])
def test_errors_drawn_at_random_move_the_view_as_the_covariance_says(pitch_deg: float) -> None:
    rng = np.random.default_rng(5)
    attitude = CameraAttitude(30.0, pitch_deg)
    offset = centre_ground_point(attitude, 100.0)
    drawn = np.array(
        [
            centre_ground_point(
                CameraAttitude(30.0 + 5.0 * turned, pitch_deg + 3.0 * tilted),
                100.0 * (1.0 + 0.1 * raised),
            )
            for turned, tilted, raised in rng.normal(size=(4000, 3))
        ]
    )
    stated = view_offset_covariance(attitude, 100.0, offset, ERRORS)
    along, across = np.array([0.5, 0.866]), np.array([0.866, -0.5])
    measured = np.cov(drawn.T)
    assert along @ measured @ along == pytest.approx(along @ stated @ along, rel=0.15)
    # Across, roll adds its share, which moves the image's edges though not its centre.
    roll_share = (np.radians(3.0) * 100.0) ** 2
    expected = across @ stated @ across - roll_share
    assert across @ measured @ across == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("setting", ["heading_deg", "pitch_deg", "height_share"])
def test_negative_errors_are_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="telemetry_error"):
        TelemetryErrorConfig(**{setting: -0.1})
