"""The position that leaves, brought to metres where the map carries its imagery."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.fix import Position
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.localize.camera import CameraPose, PinholeCamera
from edge_runtime.localize.refine import RefineConfig, refine
from edge_runtime.localize.uncertainty import radius95_of
from edge_runtime.localize.view import ViewedGround


class PositionRefiner:
    """Lays views over a map's imagery; the filter itself never hears of it.

    A refinement that were believed there would make the filter as sure of a wrong place as of the
    right one; so it moves what is published, by no more than the filter's own 95 % radius.
    """

    def __init__(self, region_map: RegionMap, camera: PinholeCamera, config: RefineConfig) -> None:
        """Refine nothing where the config says so, or the map has no imagery."""
        self._map = region_map
        self._camera = camera
        self._config = config
        self.is_on = config.enabled and region_map.imagery is not None

    def refined(
        self,
        position: Position,
        view: npt.NDArray[np.uint8],
        ground: ViewedGround,
    ) -> Position:
        """The position as the view has it, or as it was; its radius never grows.

        Args:
            view: The ground as `ViewMaker.picture` makes it.
        """
        imagery = self._map.imagery
        if imagery is None or not self.is_on:
            return position
        attitude = ground.attitude
        place_m = self._map.frame.to_local(position.latitude_deg, position.longitude_deg)
        pose = CameraPose(
            ground.height_m, attitude.heading_deg, attitude.pitch_deg, attitude.roll_deg
        )
        search_m = min(position.radius95_m, self._config.search_radius_m)
        found = refine(
            view, ground.window, pose, self._camera, imagery, place_m, search_m, self._config
        )
        if found is None or float(np.linalg.norm(found.offset_m)) > position.radius95_m:
            return position
        latitude, longitude = self._map.frame.to_geodetic(place_m + found.offset_m)
        moved = replace(position, latitude_deg=float(latitude), longitude_deg=float(longitude))
        covariance = found.covariance_m2
        radius95_m = radius95_of(covariance)
        if radius95_m >= position.radius95_m:
            return moved
        return replace(
            moved,
            variance_east_m2=float(covariance[0, 0]),
            variance_north_m2=float(covariance[1, 1]),
            covariance_east_north_m2=float(covariance[0, 1]),
            radius95_m=radius95_m,
        )
