"""The ground that a map's tiles span."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dmnil_maps.raster import LocalBounds
from edge_runtime.contract.geodesy import LocalFrame


def local_bounds_of(frame: LocalFrame, tiles: npt.NDArray[np.void]) -> LocalBounds:
    """The box around all footprints, in the map's frame."""
    centres = frame.to_local(tiles["latitude_deg"], tiles["longitude_deg"])
    half_side = tiles["footprint_m"].astype(np.float64)[:, None] / 2
    (west, south), (east, north) = (centres - half_side).min(0), (centres + half_side).max(0)
    return LocalBounds(float(west), float(south), float(east), float(north))


def bounds_of(frame: LocalFrame, tiles: npt.NDArray[np.void]) -> dict[str, float]:
    """The box around all footprints in degrees; west is above east across the antimeridian."""
    centres = frame.to_local(tiles["latitude_deg"], tiles["longitude_deg"])
    half_side = tiles["footprint_m"].astype(np.float64)[:, None] / 2
    corners = np.concatenate(
        [centres + half_side * np.array(sign) for sign in ((-1, -1), (-1, 1), (1, -1), (1, 1))]
    )
    latitude, longitude = frame.to_geodetic(corners)
    from_origin = (longitude - frame.longitude_deg + 180.0) % 360.0 - 180.0
    west, east = (
        (frame.longitude_deg + float(extreme) + 180.0) % 360.0 - 180.0
        for extreme in (from_origin.min(), from_origin.max())
    )
    return {
        "south_deg": float(latitude.min()),
        "west_deg": west,
        "north_deg": float(latitude.max()),
        "east_deg": east,
    }
