"""The position that the posterior comes to, with the errors that no filter sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_runtime.contract.fix import Position
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.localize.camera import FloatArray
from edge_runtime.localize.estimate import estimate_position
from edge_runtime.localize.filter import PoseFilter
from edge_runtime.localize.integrity import PosteriorSummary
from edge_runtime.localize.uncertainty import TelemetryErrorConfig, view_offset_covariance
from edge_runtime.localize.view import ViewedGround


class PositionEstimator:
    """Estimates positions; how the last view looked at the ground tells their errors."""

    def __init__(self, region_map: RegionMap, telemetry_error: TelemetryErrorConfig) -> None:
        """Before any view, positions have the filter's own errors alone."""
        self._map = region_map
        self._telemetry_error = telemetry_error
        self._offset_covariance: FloatArray = np.zeros((2, 2))
        self._viewed_offset_m: FloatArray = np.zeros(2)

    def see(self, ground: ViewedGround, pose_filter: PoseFilter) -> None:
        """Take over how a view looks at the ground.

        Args:
            ground: What the likeliest state sees.
        """
        self._viewed_offset_m = ground.window.offset_m
        stated = self._telemetry_error
        errors = replace(
            stated,
            heading_deg=pose_filter.heading_within_deg(),
            height_share=max(pose_filter.heights.within_share(), stated.height_share),
        )
        self._offset_covariance = view_offset_covariance(
            ground.attitude, ground.height_m, ground.window.offset_m, errors
        )

    def estimate(
        self, pose_filter: PoseFilter, time_s: float
    ) -> tuple[Position | None, PosteriorSummary]:
        """The position, None while there is none, and what integrity judges it by.

        Args:
            time_s: Exposure of the frame.
        """
        position, summary = estimate_position(pose_filter, self._map.frame, self._offset_covariance)
        beyond = summary.is_local and not self._shows(summary.east_north_m)
        return position, replace(summary, time_s=time_s, off_map=float(beyond))

    def _shows(self, east_north_m: tuple[float, float] | None) -> bool:
        """Whether the map has a tile where a drone at a place looks."""
        if east_north_m is None:
            return True
        east, north = np.array(east_north_m) + self._viewed_offset_m
        for number, level in enumerate(self._map.levels):
            row = round((level.first_north_m - north) / level.stride_m)
            column = round((east - level.first_east_m) / level.stride_m)
            if min(row, column) < 0:
                continue
            at = self._map.rows_at(number, slice(row, row + 1), slice(column, column + 1))
            if at.size and at[0, 0] >= 0:
                return True
        return False
