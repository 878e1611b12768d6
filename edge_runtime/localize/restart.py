"""From a localiser's posterior to a saved state, and from a saved state to a posterior.

A restart never believes a state outright: what was certain is at most likely, and a place is as
much wider as the drone may have flown meanwhile. It takes views to publish again.
"""

from __future__ import annotations

import time

import numpy as np

from edge_runtime.contract.region_map import RegionMap
from edge_runtime.localize.filter import PoseFilter
from edge_runtime.localize.hypotheses import Hypothesis
from edge_runtime.localize.query import QueryProjector
from edge_runtime.localize.saved_state import (
    LocaliserState,
    SavedPlace,
    boot_id,
)

_LARGEST_CERTAINTY = 0.8
_OLD_SHARE = 0.5


def place_of(pose_filter: PoseFilter, height_is_given: bool) -> SavedPlace | None:
    """The filter's place, reduced to a Gaussian; None while it knows none."""
    if not pose_filter.is_local or pose_filter.elsewhere >= 0.5:
        return None
    grid = pose_filter.grid
    mean = grid.mean()
    covariance = grid.covariance(mean)
    headings = np.zeros(pose_filter.headings.count)
    heights = np.zeros(pose_filter.heights.count)
    for hypothesis, mass in pose_filter.weights().items():
        headings[hypothesis.heading] += mass
        heights[hypothesis.height] += mass
    return SavedPlace(
        east_m=float(mean[0]),
        north_m=float(mean[1]),
        variance_east_m2=float(covariance[0, 0]),
        variance_north_m2=float(covariance[1, 1]),
        covariance_east_north_m2=float(covariance[0, 1]),
        certainty=float(np.clip(1.0 - pose_filter.elsewhere, 0.0, 1.0)),
        heading_shares=tuple(map(float, headings / headings.sum())),
        height_shares=tuple(map(float, heights / heights.sum())),
        first_heading_deg=pose_filter.headings.first_deg,
        heading_is_given=pose_filter.heading_is_given,
        height_is_given=height_is_given,
    )


def state_of(
    region_map: RegionMap,
    query: QueryProjector,
    place: SavedPlace | None,
    reset_counter: int,
    has_published: bool,
) -> LocaliserState:
    """A state as of now."""
    sums, weights = query.learnt
    return LocaliserState(
        map_sha256=region_map.manifest_sha256,
        encoder_sha256=region_map.encoder_sha256,
        wall_time_s=time.time(),
        monotonic_s=time.monotonic(),
        boot_id=boot_id(),
        view_sums=tuple(tuple(map(float, row)) for row in sums),
        view_weights=tuple(map(float, weights)),
        reset_counter=reset_counter,
        has_published=has_published,
        place=place,
    )


def resume(
    pose_filter: PoseFilter,
    place: SavedPlace,
    age_s: float,
    speed_m_s: float,
    height_is_given: bool,
) -> None:
    """Start a new filter from a saved place, as far as it is still worth something.

    Args:
        speed_m_s: How fast the drone may have flown since, along each axis.
    """
    mean = np.array([place.east_m, place.north_m])
    flown = (speed_m_s * age_s) ** 2 * np.eye(2)
    cross = place.covariance_east_north_m2
    known = np.array([[place.variance_east_m2, cross], [cross, place.variance_north_m2]])
    covariance = flown + known
    headings = pose_filter.headings.prior(pose_filter.heading_is_given)
    old = np.array(place.heading_shares)
    # An offset from telemetry lasts; a heading from north is gone with the next turn.
    if pose_filter.heading_is_given and place.heading_is_given and len(old) == len(headings):
        headings = _OLD_SHARE * old + (1.0 - _OLD_SHARE) * headings
    heights = pose_filter.heights.prior()
    old = np.array(place.height_shares)
    if height_is_given and place.height_is_given and len(old) == len(heights):
        heights = _OLD_SHARE * old + (1.0 - _OLD_SHARE) * heights
    shares = {
        Hypothesis(heading, height): float(headings[heading] * heights[height])
        for heading in range(len(headings))
        for height in range(len(heights))
    }
    pose_filter.start_near(mean, covariance, min(place.certainty, _LARGEST_CERTAINTY), shares)
