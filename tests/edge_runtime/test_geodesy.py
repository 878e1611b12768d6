from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.geodesy import LocalFrame, geodetic_to_ecef, ground_distance_m

ORIGINS = [(47.3769, 8.5417), (-33.9, 18.4), (0.0, 0.0), (69.6, 179.99), (-79.5, -179.99)]
WITHIN_25_KM = st.floats(-17_000.0, 17_000.0)

latitudes = st.floats(-80.0, 80.0)
longitudes = st.floats(-180.0, 180.0) | st.sampled_from([179.9999, -179.9999, 180.0, -180.0])


@pytest.fixture(scope="module")
def pyproj() -> Any:
    return pytest.importorskip("pyproj")


def offsets() -> np.ndarray:
    return np.random.default_rng(2).uniform(-17_000.0, 17_000.0, (50, 2))


@pytest.mark.parametrize("origin", ORIGINS)
def test_the_local_frame_is_projs_orthographic_projection(
    pyproj: Any, origin: tuple[float, float]
) -> None:
    frame = LocalFrame(*origin)
    latitude, longitude = frame.to_geodetic(offsets())
    ortho = pyproj.Proj(frame.proj_string)
    by_proj = np.stack(ortho(longitude, latitude), axis=-1)
    np.testing.assert_allclose(frame.to_local(latitude, longitude), by_proj, atol=1e-4)


@pytest.mark.parametrize("origin", ORIGINS)
def test_its_scale_is_true_to_one_in_a_hundred_thousand_within_25_km(
    pyproj: Any, origin: tuple[float, float]
) -> None:
    frame = LocalFrame(*origin)
    ellipsoid = pyproj.Geod(ellps="WGS84")
    for east, north in offsets():
        latitude, longitude = frame.to_geodetic([east, north])
        azimuth, _, geodesic = ellipsoid.inv(origin[1], origin[0], longitude, latitude)
        assert np.hypot(east, north) == pytest.approx(geodesic, rel=1e-5)
        turn = azimuth - np.degrees(np.arctan2(east, north))
        assert abs((turn + 180.0) % 360.0 - 180.0) < 0.001


@settings(max_examples=200, deadline=None)
@given(latitude=latitudes, longitude=longitudes, east=WITHIN_25_KM, north=WITHIN_25_KM)
def test_metres_to_degrees_and_back_is_the_same_place(
    latitude: float, longitude: float, east: float, north: float
) -> None:
    frame = LocalFrame(latitude, longitude)
    there = frame.to_geodetic([east, north])
    assert -90.0 <= there[0] <= 90.0
    assert -180.0 <= there[1] <= 180.0
    np.testing.assert_allclose(frame.to_local(*there), [east, north], atol=1e-5)


@settings(max_examples=100, deadline=None)
@given(latitude=latitudes, longitude=longitudes)
def test_degrees_to_metres_and_back_is_the_same_place(latitude: float, longitude: float) -> None:
    frame = LocalFrame(latitude, longitude)
    near = latitude + 0.01, longitude + 0.01
    back = frame.to_geodetic(frame.to_local(*near))
    assert back[0] == pytest.approx(near[0], abs=1e-10)
    turn = back[1] - near[1]
    assert abs((turn + 180.0) % 360.0 - 180.0) < 1e-9


def test_the_origin_is_zero_and_axes_point_east_and_north() -> None:
    frame = LocalFrame(60.0, 25.0)
    np.testing.assert_allclose(frame.to_local(60.0, 25.0), [0.0, 0.0], atol=1e-9)
    east, north = frame.to_local(60.0, 25.001)
    assert east > 50.0
    assert abs(north) < 0.01
    east, north = frame.to_local(60.001, 25.0)
    assert north > 100.0
    assert abs(east) < 1e-6


def test_a_frame_beside_the_antimeridian_sees_both_sides_as_near() -> None:
    frame = LocalFrame(0.0, 179.999)
    np.testing.assert_allclose(
        frame.to_local([0.0, 0.0], [-179.999, 179.997]),
        [[222.639, 0.0], [-222.639, 0.0]],
        atol=0.01,
    )


def test_arrays_of_any_shape_keep_it() -> None:
    frame = LocalFrame(10.0, 20.0)
    local = frame.to_local(np.full((2, 3), 10.1), np.full((2, 3), 20.1))
    assert local.shape == (2, 3, 2)
    latitude, longitude = frame.to_geodetic(local)
    assert latitude.shape == longitude.shape == (2, 3)


def test_the_ellipsoid_has_its_known_radii() -> None:
    np.testing.assert_allclose(geodetic_to_ecef(0.0, 0.0), [6378137.0, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(geodetic_to_ecef(90.0, 0.0), [0.0, 0.0, 6356752.3142], atol=1e-3)
    np.testing.assert_allclose(geodetic_to_ecef(0.0, 90.0, 100.0), [0.0, 6378237.0, 0.0], atol=1e-6)


def test_distances_at_the_equator_are_the_known_ones() -> None:
    # pi / 180 * a east; pi / 180 * a * (1 - e^2) north.
    assert ground_distance_m(0.0, 10.0, 0.0, 10.01) == pytest.approx(1113.1949, abs=1e-3)
    assert ground_distance_m(0.0, 10.0, 0.01, 10.0) == pytest.approx(1105.7427, abs=1e-3)


def test_the_chord_is_a_millimetre_short_of_the_geodesic_at_10_km(pyproj: Any) -> None:
    ellipsoid = pyproj.Geod(ellps="WGS84")
    longitude, latitude, _ = ellipsoid.fwd(8.5, 47.4, 30.0, 10_000.0)
    distance = float(ground_distance_m(47.4, 8.5, latitude, longitude))
    assert 0.0005 < 10_000.0 - distance < 0.0015


def test_distances_are_taken_pair_by_pair() -> None:
    distances = ground_distance_m(0.0, 0.0, [0.0, 0.0, 0.01], [0.0, 0.01, 0.0])
    np.testing.assert_allclose(distances, [0.0, 1113.1949, 1105.7427], atol=1e-3)
