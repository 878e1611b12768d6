"""From the filter's posterior to the position that may leave."""

from __future__ import annotations

import numpy as np

from edge_runtime.contract.fix import Position
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.localize.camera import FloatArray
from edge_runtime.localize.filter import PoseFilter
from edge_runtime.localize.integrity import PosteriorSummary
from edge_runtime.localize.uncertainty import radius95_of


def estimate_position(
    pose_filter: PoseFilter, frame: LocalFrame, offset_covariance: FloatArray
) -> tuple[Position | None, PosteriorSummary]:
    """Position and its uncertainty; no position while the filter has not narrowed down.

    Args:
        offset_covariance: (2, 2) square metres of what the filter cannot see, added to its own.
    """
    elsewhere = pose_filter.elsewhere
    if not pose_filter.is_local or elsewhere >= 1.0:
        return None, PosteriorSummary(float("inf"), elsewhere, is_local=False)
    grid = pose_filter.grid
    mean = grid.mean()
    covariance = grid.covariance(mean) + offset_covariance
    held = grid.radius_holding(mean, min(0.95, 0.99 * grid.total))
    radius95_m = float(np.hypot(held, radius95_of(offset_covariance)))
    latitude, longitude = frame.to_geodetic(mean)
    position = Position(
        latitude_deg=float(latitude),
        longitude_deg=float(longitude),
        variance_east_m2=float(covariance[0, 0]),
        variance_north_m2=float(covariance[1, 1]),
        covariance_east_north_m2=float(covariance[0, 1]),
        radius95_m=radius95_m,
    )
    return position, PosteriorSummary(held, elsewhere, is_local=True)
