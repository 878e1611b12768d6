"""What a flight begins with: a saved state, a prior, or nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_runtime.contract.region_map import RegionMap
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.filter import PoseFilter
from edge_runtime.localize.hypotheses import HeadingAxis, HeightAxis
from edge_runtime.localize.integrity import IntegrityMonitor
from edge_runtime.localize.position_grid import Bounds
from edge_runtime.localize.query import QueryProjector
from edge_runtime.localize.restart import resume
from edge_runtime.localize.saved_state import LONGEST_AGE_S, LocaliserState


@dataclass(frozen=True)
class FlightStart:
    """What is known before the first frame."""

    region_map: RegionMap
    config: LocaliserConfig
    prior: tuple[float, float, float] | None
    """Latitude, longitude and a radius in metres that holds the drone; it counts where the state
    knows no place."""
    state: LocaliserState | None
    """What a flight before the restart knew."""

    def new_filter(self, heading_is_given: bool, height_is_given: bool) -> PoseFilter:
        """The posterior before any view.

        Args:
            heading_is_given: Whether telemetry has a heading; likewise height_is_given.

        Raises:
            ConfigError: If the prior lies outside the map.
        """
        config = self.config
        errors = config.telemetry_error
        pose_filter = PoseFilter(
            _tile_bounds(self.region_map),
            config.filter,
            HeadingAxis(config.hypotheses, errors.heading_deg),
            HeightAxis(config.hypotheses, errors.height_share, height_is_given),
            heading_is_given,
        )
        if self.state is not None and self.state.place is not None:
            state, speed_m_s = self.state, config.motion.typical_speed_m_s
            resume(pose_filter, self.state.place, state.age_s, speed_m_s, height_is_given)
        elif self.prior is not None:
            latitude_deg, longitude_deg, radius_m = self.prior
            centre = self.region_map.frame.to_local(latitude_deg, longitude_deg)
            pose_filter.start_from(centre, radius_m, 1.0 - config.filter.restart_probability)
        return pose_filter

    def resume_beside_filter(self, query: QueryProjector, integrity: IntegrityMonitor) -> None:
        """Let the flight's mean view and what has been published go on from the state."""
        if self.state is None:
            return
        state = self.state
        query.resume(np.array(state.view_sums), np.array(state.view_weights))
        knows_place = state.place is not None and state.has_published
        integrity.resume(state.reset_counter, state.has_published, knows_place)

    def waited_s(self, first_time_s: float) -> float:
        """Time from when the state was read to the first frame.

        The place was as old as it was when the state was read; live frames share its clock.
        """
        if self.state is None:
            return 0.0
        read_at_s = self.state.read_at_monotonic_s
        waited_s = 0.0 if read_at_s is None else first_time_s - read_at_s
        return waited_s if 0.0 < waited_s < LONGEST_AGE_S else 0.0


def _tile_bounds(region_map: RegionMap) -> Bounds:
    """Extent of all tile centres in the map's frame."""
    corners = np.concatenate(
        [level.centre([0, level.rows - 1], [0, level.columns - 1]) for level in region_map.levels]
    )
    (west, south), (east, north) = corners.min(axis=0), corners.max(axis=0)
    return Bounds(float(west), float(south), float(east), float(north))
