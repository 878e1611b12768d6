from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import ConfigError
from edge_runtime.lens import EQUIDISTANT, PLUMB_BOB, RATIONAL_POLYNOMIAL, LensModel, Undistorter
from edge_runtime.localize.camera import CameraAttitude, PinholeCamera, ground_to_image

BARREL = LensModel(640, 480, 400.0, 402.0, 330.0, 230.0, PLUMB_BOB, (-0.3, 0.1, 1e-3, -5e-4, -0.01))
PINCUSHION = LensModel(640, 480, 400.0, 402.0, 330.0, 230.0, PLUMB_BOB, (0.1, 0.02, 0.0, 0.0))
RATIONAL = LensModel(
    640,
    480,
    400.0,
    402.0,
    330.0,
    230.0,
    RATIONAL_POLYNOMIAL,
    (0.2, -0.1, 1e-3, 5e-4, 0.02, 0.5, -0.1, 0.01),
)
FISHEYE = LensModel(640, 480, 300.0, 300.0, 322.0, 238.0, EQUIDISTANT, (0.02, -0.01, 0.003, -5e-4))
LENSES = pytest.mark.parametrize(
    "lens",
    [BARREL, PINCUSHION, RATIONAL, FISHEYE],
    ids=["barrel", "pincushion", "rational", "fisheye"],
)


def opencv_pixels(lens: LensModel, rays: np.ndarray) -> np.ndarray:
    matrix = np.array(
        [[lens.focal_x_px, 0, lens.centre_x_px], [0, lens.focal_y_px, lens.centre_y_px], [0, 0, 1]]
    )
    points = np.column_stack([rays, np.ones(len(rays))])[:, None]
    coefficients = np.array(lens.distortion_coefficients)
    project = cv2.fisheye.projectPoints if lens.distortion_model == EQUIDISTANT else None
    none = np.zeros(3)
    if project is not None:
        return np.asarray(project(points, none, none, matrix, coefficients)[0]).reshape(-1, 2)
    return np.asarray(cv2.projectPoints(points, none, none, matrix, coefficients)[0]).reshape(-1, 2)


@LENSES
def test_rays_fall_on_the_pixels_that_opencv_computes(lens: LensModel) -> None:
    rays = np.random.default_rng(0).uniform(-0.7, 0.7, (200, 2))
    assert lens.pixels_of(rays) == pytest.approx(opencv_pixels(lens, rays), abs=1e-6)


def painted(lens: LensModel) -> np.ndarray:
    """What the lens sees of a plane at unit depth that has the colours of its coordinates."""
    x, y = np.meshgrid(np.linspace(-1.6, 1.6, 1601), np.linspace(-1.6, 1.6, 1601))
    seen = lens.pixels_of(np.stack([x, y], axis=-1))
    image = np.zeros((lens.height, lens.width, 2))
    column, row = np.rint(seen).astype(int).reshape(-1, 2).T
    kept = (column >= 0) & (column < lens.width) & (row >= 0) & (row < lens.height)
    kept &= np.hypot(x, y).ravel() < 1.6
    image[row[kept], column[kept]] = np.stack([x.ravel()[kept], y.ravel()[kept]], axis=-1)
    return np.asarray(np.clip(image * 50.0 + 128.0, 0, 255), np.uint8)


@pytest.mark.parametrize("lens", [BARREL, FISHEYE], ids=["barrel", "fisheye"])
def test_the_undistorted_picture_is_a_pinhole_cameras(lens: LensModel) -> None:
    undistorter = Undistorter(lens)
    colours = np.dstack([painted(lens), np.zeros((lens.height, lens.width), np.uint8)])
    picture = undistorter.undistort(np.ascontiguousarray(colours))
    camera = undistorter.camera
    for x, y in ((320, 240), (20, 20), (600, 50), (100, 440), (600, 440)):
        ray = (np.array([x, y]) - camera.matrix[:2, 2]) / camera.focal_px
        assert picture[y, x, :2] == pytest.approx(ray * 50.0 + 128.0, abs=1.6)


@LENSES
def test_every_pixel_of_the_undistorted_picture_was_seen(lens: LensModel) -> None:
    white = np.full((lens.height, lens.width, 3), 255, np.uint8)
    picture = Undistorter(lens).undistort(white)
    assert picture[2:-2, 2:-2].min() == 255


def test_as_much_as_possible_is_kept() -> None:
    """At a slightly shorter focal length the barrel's picture would have empty corners."""
    camera = Undistorter(BARREL).camera
    assert camera.focal_px < 400.0
    wider = camera.focal_px * 0.97
    corners = np.array([[0, 0], [639, 0], [0, 479], [639, 479], [0, 230], [639, 230], [330, 0]])
    pixels = BARREL.pixels_of((corners - [330.0, 230.0]) / wider)
    assert ((pixels < -0.5) | (pixels > [639.5, 479.5])).any()


def test_a_pinhole_lens_costs_nothing_and_keeps_its_principal_point() -> None:
    lens = LensModel(640, 480, 400.0, 400.1, 300.0, 250.0, PLUMB_BOB, (0.0, 0.0, 0.0, 0.0, 0.0))
    undistorter = Undistorter(lens)
    image = np.zeros((480, 640, 3), np.uint8)
    assert undistorter.undistort(image) is image
    assert undistorter.camera.matrix[:2, 2] == pytest.approx([300.0, 250.0])


def test_pixels_that_are_not_square_become_square() -> None:
    lens = LensModel(640, 480, 400.0, 480.0, 319.5, 239.5)
    camera = Undistorter(lens).camera
    assert camera.focal_px >= 479.9
    assert camera.matrix[0, 0] == camera.matrix[1, 1]


def test_another_size_of_the_same_shape_scales_about_the_pixels_corners() -> None:
    half = BARREL.scaled_to(320, 240)
    assert (half.focal_x_px, half.centre_x_px) == (200.0, 164.75)
    rays = np.array([[0.1, -0.2]])
    assert (half.pixels_of(rays) + 0.5) * 2.0 == pytest.approx(BARREL.pixels_of(rays) + 0.5)


def test_another_shape_of_picture_is_refused() -> None:
    with pytest.raises(ConfigError, match="calibrate it in the mode"):
        BARREL.scaled_to(640, 360)


@pytest.mark.parametrize(
    "change",
    [
        {"focal_x_px": 0.0},
        {"focal_y_px": float("nan")},
        {"centre_x_px": -1.0},
        {"centre_y_px": 480.0},
        {"width": 0},
        {"distortion_model": "thin_prism"},
        {"distortion_coefficients": (0.1,)},
    ],
)
def test_an_impossible_lens_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        LensModel(**{**vars(BARREL), **change})  # type: ignore[arg-type]


def test_a_distortion_that_folds_the_picture_is_refused() -> None:
    folded = LensModel(640, 480, 400.0, 400.0, 319.5, 239.5, PLUMB_BOB, (-30.0, 0.0, 0.0, 0.0))
    with pytest.raises(ConfigError, match="folds"):
        Undistorter(folded)


@given(
    st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-0.05, 0.05), st.floats(-0.05, 0.05))
)
def test_any_coefficients_give_a_whole_picture_or_one_clear_error(
    coefficients: tuple[float, ...],
) -> None:
    lens = LensModel(64, 48, 50.0, 50.0, 31.5, 23.5, PLUMB_BOB, coefficients)
    try:
        undistorter = Undistorter(lens)
    except ConfigError:
        return
    picture = undistorter.undistort(np.full((48, 64, 3), 200, np.uint8))
    assert picture[2:-2, 2:-2].min() == 200


def test_the_principal_point_moves_where_the_ground_is_seen() -> None:
    straight_down = CameraAttitude(0.0, -90.0)
    for centre, expected in ((None, [319.5, 239.5]), (400.0, [400.0, 400.0])):
        camera = PinholeCamera(640, 480, 400.0, centre, centre)
        x, y, depth = ground_to_image(camera, straight_down, 100.0) @ [0.0, 0.0, 1.0]
        assert [x / depth, y / depth] == pytest.approx(expected)


@pytest.mark.parametrize("centre", [float("nan"), float("inf")])
def test_a_camera_whose_centre_is_no_number_is_refused(centre: float) -> None:
    with pytest.raises(ConfigError):
        PinholeCamera(640, 480, 400.0, centre, 1.0)
