from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.hypotheses import HeadingAxis, HeightAxis, HypothesisConfig

CONFIG = HypothesisConfig()


def test_headings_go_round_the_compass_from_what_telemetry_says() -> None:
    axis = HeadingAxis(CONFIG, 5.0)
    offsets = [axis.offset_deg(number) for number in range(axis.count)]
    assert offsets[:3] == [0.0, 20.0, 40.0]
    assert offsets[-1] + axis.step_deg == 360.0


def test_a_given_heading_is_nearly_believed_and_none_left_out() -> None:
    prior = HeadingAxis(CONFIG, 5.0).prior(is_given=True)
    # 95.4 % of a normal distribution lie within 10 degrees of 5, and all of it near the first.
    assert prior[0] == pytest.approx(0.9 * 0.9545 + 0.1 / 18, abs=1e-3)
    assert prior[9] == pytest.approx(0.1 / 18, rel=1e-3)
    assert prior[1] == pytest.approx(prior[-1])


def test_without_a_heading_all_are_alike() -> None:
    np.testing.assert_allclose(HeadingAxis(CONFIG, 5.0).prior(is_given=False), 1.0 / 18)


@given(st.floats(-720.0, 720.0), st.floats(0.0, 60.0), st.booleans())
def test_headings_are_probabilities_however_they_drift(
    turn_deg: float, spread_deg: float, is_given: bool
) -> None:
    axis = HeadingAxis(CONFIG, spread_deg)
    axis.drift(turn_deg)
    prior = axis.prior(is_given)
    assert prior.sum() == pytest.approx(1.0)
    assert prior.min() > 0.0


def test_inside_a_bin_telemetrys_spread_holds_only_around_its_own_heading() -> None:
    axis = HeadingAxis(CONFIG, 3.0)
    assert axis.within_deg(0, is_given=True) == 3.0
    assert axis.within_deg(5, is_given=True) == pytest.approx(20.0 / np.sqrt(12.0))
    assert axis.within_deg(0, is_given=False) == pytest.approx(20.0 / np.sqrt(12.0))


def test_heights_lie_around_telemetrys() -> None:
    axis = HeightAxis(CONFIG, 0.1, is_given=True)
    assert [axis.multiple(number) for number in range(3)] == pytest.approx([0.8, 1.0, 1.25])
    prior = axis.prior()
    assert prior[1] > 0.7
    assert prior[0] == pytest.approx(prior[2])


def test_unknown_heights_span_what_drones_fly() -> None:
    axis = HeightAxis(CONFIG, 0.1, is_given=False)
    assert axis.multiple(0) == 1.0
    highest_m = CONFIG.lowest_unknown_height_m * axis.multiple(axis.count - 1)
    assert highest_m == pytest.approx(CONFIG.highest_unknown_height_m, rel=0.13)
    np.testing.assert_allclose(axis.prior(), 1.0 / axis.count)


def test_a_height_that_turns_up_makes_the_one_like_it_likely() -> None:
    axis = HeightAxis(CONFIG, 0.1, is_given=False)
    axis.rebase(50.0 / 122.0)
    likeliest = int(np.argmax(axis.prior()))
    assert axis.multiple(likeliest) * 122.0 == pytest.approx(122.0, rel=0.01)
    assert axis.prior()[likeliest] > 0.7


@pytest.mark.parametrize(
    "setting",
    [
        {"headings": 0},
        {"heights": 2},
        {"height_step": 1.0},
        {"lowest_unknown_height_m": 300.0},
        {"encodings_cold": 0},
        {"encodings_warm": 0},
        {"wrong_heading_probability": 0.0},
        {"least_share": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="hypotheses"):
        HypothesisConfig(**setting)
