"""From the filter's posterior to the position that may leave."""

from __future__ import annotations

from edge_runtime.contract.fix import Position
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.localize.camera import FloatArray
from edge_runtime.localize.filter import PoseFilter
from edge_runtime.localize.integrity import PosteriorSummary
from edge_runtime.localize.uncertainty import posterior_width, stated_radius95
from edge_runtime.score import FALSE_FIX_M, FALSE_FIX_RADII


def estimate_position(
    pose_filter: PoseFilter, frame: LocalFrame, offset_covariance: FloatArray
) -> tuple[Position | None, PosteriorSummary]:
    """Position and its uncertainty; no position while the filter has not narrowed down.

    Args:
        offset_covariance: (2, 2) square metres of what the filter cannot see, added to its own.
    """
    elsewhere = pose_filter.elsewhere
    if not pose_filter.is_local or elsewhere >= 1.0:
        east, north = pose_filter.best()[1]
        likeliest = float(east), float(north)
        return None, PosteriorSummary(float("inf"), elsewhere, False, east_north_m=likeliest)
    grid = pose_filter.grid
    mean = grid.mean()
    held = grid.radius_holding(mean, min(0.95, 0.99 * grid.total))
    covariance = posterior_width(held) ** 2 * grid.covariance(mean) + offset_covariance
    radius95_m = stated_radius95(held, offset_covariance)
    latitude, longitude = frame.to_geodetic(mean)
    position = Position(
        latitude_deg=float(latitude),
        longitude_deg=float(longitude),
        variance_east_m2=float(covariance[0, 0]),
        variance_north_m2=float(covariance[1, 1]),
        covariance_east_north_m2=float(covariance[0, 1]),
        radius95_m=radius95_m,
    )
    distant = grid.mass_beyond(mean, max(FALSE_FIX_M, FALSE_FIX_RADII * radius95_m))
    return position, PosteriorSummary(
        held,
        elsewhere,
        is_local=True,
        east_north_m=(float(mean[0]), float(mean[1])),
        distant=distant,
    )
