"""Which hypotheses' views are worth encoding, and whose ground each is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_runtime.localize.camera import CameraAttitude
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.filter import FilterConfig, PoseFilter
from edge_runtime.localize.hypotheses import HeadingAxis, HeightAxis, Hypothesis, HypothesisConfig
from edge_runtime.localize.hypothesis_views import HypothesisViews
from edge_runtime.localize.position_grid import Bounds
from edge_runtime.localize.rectify import GroundWindow
from edge_runtime.localize.view import ViewedGround

HEIGHT_M = 40.0
IMAGE = np.zeros((8, 8, 3), np.uint8)


class Maker:
    """Sees all of its footprint from a height on, and nothing of it below."""

    def __init__(self, from_m: float) -> None:
        self._from_m = from_m

    def ground(self, attitude: CameraAttitude, height_m: float) -> ViewedGround:
        coverage = 1.0 if height_m >= self._from_m else 0.3
        return ViewedGround(attitude, height_m, 0, GroundWindow(0.0, 0.0, 120.0), coverage)

    def picture(self, image: np.ndarray, ground: ViewedGround) -> np.ndarray:
        return np.full((2, 2, 3), round(ground.height_m), np.uint8)


class Reference:
    height_m = HEIGHT_M

    def attitude(self, offset_deg: float) -> CameraAttitude:
        return CameraAttitude(offset_deg, -90.0, 0.0)


def encoded_from(height_m: float) -> tuple[dict[Hypothesis, ViewedGround], list[Any]]:
    """What is encoded where the footprint is seen from a height on alone."""
    axes = HypothesisConfig(headings=1)
    # A height that telemetry knows to 2 %: the others are not worth a view of themselves.
    pose_filter = PoseFilter(
        Bounds(-500.0, -500.0, 500.0, 500.0),
        FilterConfig(),
        HeadingAxis(axes, 5.0),
        HeightAxis(axes, 0.02, is_given=True),
    )
    views: Any = HypothesisViews(Maker(height_m), Reference(), LocaliserConfig())  # type: ignore[arg-type]
    _, ground = views.likeliest_ground(pose_filter)
    view = np.full((2, 2, 3), round(ground.height_m), np.uint8)
    grounds, pictures = views.worth_encoding(pose_filter, IMAGE, ground, view, True)
    return grounds, pictures


def test_a_height_that_sees_enough_is_encoded_as_it_is() -> None:
    grounds, pictures = encoded_from(HEIGHT_M)
    assert list(grounds) == [Hypothesis(0, 1)]
    assert grounds[Hypothesis(0, 1)].height_m == pytest.approx(HEIGHT_M)
    assert pictures[0][0, 0, 0] == 40


def test_what_only_an_unlikely_height_sees_is_told_of_that_height_alone() -> None:
    grounds, pictures = encoded_from(1.2 * HEIGHT_M)
    assert list(grounds) == [Hypothesis(0, 2)]
    assert grounds[Hypothesis(0, 2)].height_m == pytest.approx(1.25 * HEIGHT_M)
    assert pictures[0][0, 0, 0] == 50
