"""Footprints chosen for a camera and the heights that it flies at."""

from __future__ import annotations

import numpy as np
import pytest

from dmnil_maps.levels import (
    LARGEST_STEP,
    HeightBand,
    footprint_per_height,
    footprints_for,
    parse_camera,
    parse_heights,
)
from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.camera import CameraAttitude, PinholeCamera
from edge_runtime.localize.rectify import choose_window
from edge_runtime.localize.view import FULL_COVERAGE

WIDE = PinholeCamera.from_equivalent_focal_length(4000, 3000, 24.0)


def test_a_square_frame_looking_down_shows_what_the_lens_says():
    # 90 degrees across: from 1 m, 2 m of ground. Of a square of side s turned by 45 degrees four
    # corners of (s / sqrt(2) - 1)^2 are cut off: 2 % of s^2 at s = 1 / (sqrt(1/2) - sqrt(0.005)).
    camera = PinholeCamera(1001, 1001, 500.0)
    expected = 1 / (0.5**0.5 - 0.005**0.5)
    assert footprint_per_height(camera) == pytest.approx(expected, rel=0.02)


def test_a_camera_that_looks_ahead_counts_with_the_distance_of_its_centre():
    down = footprint_per_height(WIDE)
    assert footprint_per_height(WIDE, -30.0) == pytest.approx(2.0 * down)
    assert footprint_per_height(WIDE, -89.0) == pytest.approx(down, rel=0.05)


@pytest.mark.parametrize("pitch_deg", [-90.0, -60.0, -45.0])
@pytest.mark.parametrize("camera", [WIDE, PinholeCamera(1920, 1080, 2400.0)])
def test_at_every_height_and_heading_a_level_is_seen_whole_and_none_much_larger(camera, pitch_deg):
    band = HeightBand(60.0, 150.0)
    footprints = footprints_for(camera, band, pitch_deg)
    largest_seen = footprint_per_height(camera, pitch_deg)
    for height_m in np.linspace(60.0, 150.0, 10):
        fitting = [size for size in footprints if size <= largest_seen * height_m + 1e-6]
        assert max(fitting) > 0.98 * largest_seen * height_m / LARGEST_STEP
        for heading_deg in (0.0, 20.0, 45.0, 130.0, 315.0):
            seen = choose_window(
                camera, CameraAttitude(heading_deg, pitch_deg), height_m, max(fitting)
            )[1]
            assert seen >= FULL_COVERAGE


def test_levels_are_as_few_as_their_spacing_allows():
    assert len(footprints_for(WIDE, HeightBand(120.0, 120.0))) == 1
    assert len(footprints_for(WIDE, HeightBand(100.0, 160.0))) == 1
    assert len(footprints_for(WIDE, HeightBand(60.0, 150.0))) == 2
    small, large = footprints_for(WIDE, HeightBand(60.0, 150.0))
    assert large / small == pytest.approx((150.0 / 60.0) ** 0.5, rel=0.02)


def test_a_camera_is_named_by_lens_and_picture_or_by_its_file(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text("image_width: 4000\nimage_height: 3000\nfocal_px: 2666.6666666666665\n")
    assert parse_camera("24mm@4000x3000") == WIDE
    assert (parse_camera(str(path)).width, parse_camera(str(path)).height) == (4000, 3000)
    np.testing.assert_allclose(parse_camera(str(path)).matrix, WIDE.matrix)


def test_heights_are_a_band_or_one():
    assert parse_heights("60-150") == HeightBand(60.0, 150.0)
    assert parse_heights("120") == HeightBand(120.0, 120.0)


@pytest.mark.parametrize("text", ["", "60-", "150-60", "0-10", "wide", "-5-10", "60-nan", "60-inf"])
def test_impossible_heights_are_refused(text):
    with pytest.raises(ConfigError, match="heights"):
        parse_heights(text)


@pytest.mark.parametrize("text", ["", "24mm", "24mm@0x0", "none.yaml"])
def test_an_unknown_camera_is_refused(text):
    with pytest.raises(ConfigError, match="camera"):
        parse_camera(text)


@pytest.mark.parametrize("pitch_deg", [-10.0, 0.0, 90.0, -91.0, float("nan")])
def test_a_camera_that_does_not_look_down_is_refused(pitch_deg):
    with pytest.raises(ConfigError, match="camera pitch"):
        footprint_per_height(WIDE, pitch_deg)
