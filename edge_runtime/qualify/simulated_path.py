"""Where a simulated drone flies: from waypoint to waypoint over the map, as fast as drones turn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_runtime.localize.camera import CameraPose
from edge_runtime.localize.position_grid import Bounds

_STEP_S = 0.25
_TURN_DEG_S = 16.0
_WAYPOINTS = 8
_HEIGHT_SWAY_SHARE, _ANGLE_SWAY_DEG = 0.02, 1.0


def simulated_path(
    bounds: Bounds,
    frames: int,
    interval_s: float,
    speed_m_s: float,
    height_m: float,
    pitch_deg: float,
    rng: np.random.Generator,
    start_share: npt.NDArray[np.float64] | None = None,
) -> tuple[npt.NDArray[np.float64], list[CameraPose]]:
    """Positions (N, 2), east and north, and true poses of a flight's frames.

    Args:
        bounds: Where its waypoints lie.
        interval_s: Time between frames.
        start_share: Where in the bounds it starts, (2,) 0-1 from west and south; else anywhere.
    """
    west_south = np.array([bounds.west_m, bounds.south_m])
    size = np.array([bounds.east_m, bounds.north_m]) - west_south
    share = rng.uniform(0.0, 1.0, 2) if start_share is None else start_share
    position = west_south + share * size
    target = _next_target(position, west_south, size, rng)
    course = float(np.degrees(np.arctan2(*(target - position))))
    steps_a_frame = max(1, round(interval_s / _STEP_S))
    step_s = interval_s / steps_a_frame
    positions, poses = np.zeros((frames, 2)), []
    for frame in range(frames):
        positions[frame] = position
        sway = rng.normal(0.0, 1.0, 4)
        poses.append(
            CameraPose(
                height_m=height_m * (1.0 + _HEIGHT_SWAY_SHARE * float(sway[0])),
                heading_deg=(course + _ANGLE_SWAY_DEG * float(sway[1])) % 360.0,
                pitch_deg=float(np.clip(pitch_deg + _ANGLE_SWAY_DEG * sway[2], -90.0, 0.0)),
                roll_deg=_ANGLE_SWAY_DEG * float(sway[3]),
            )
        )
        for _ in range(steps_a_frame):
            if np.linalg.norm(target - position) < 5.0 * speed_m_s:
                target = _next_target(position, west_south, size, rng)
            wanted = float(np.degrees(np.arctan2(*(target - position))))
            error = (wanted - course + 180.0) % 360.0 - 180.0
            course += float(np.clip(error, -_TURN_DEG_S * step_s, _TURN_DEG_S * step_s))
            ahead = np.array([np.sin(np.radians(course)), np.cos(np.radians(course))])
            position = position + speed_m_s * step_s * ahead
    return positions, poses


def even_start(number: int, seed: int) -> npt.NDArray[np.float64]:
    """The start of a flight, (2,) 0-1: however many are flown, they start all over the map.

    A sequence that fills the square evenly, after the plastic number (Roberts 2018).
    """
    plastic = 1.3247179572447460
    steps = np.array([1.0 / plastic, 1.0 / plastic**2])
    shift = np.random.default_rng([seed, 67]).uniform(0.0, 1.0, 2)
    return np.asarray((shift + number * steps) % 1.0, np.float64)


def _next_target(
    position: npt.NDArray[np.float64],
    west_south: npt.NDArray[np.float64],
    size: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """The farther of some random waypoints, so that a flight covers ground."""
    options = west_south + rng.uniform(0.0, 1.0, (_WAYPOINTS, 2)) * size
    farthest = np.argsort(np.linalg.norm(options - position, axis=1))
    return np.asarray(options[farthest[int(rng.integers(_WAYPOINTS // 2, _WAYPOINTS))]], np.float64)
