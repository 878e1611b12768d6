"""Where the drone must be for what it sees to lie where the map has it.

A view's ground is placed by telemetry: heading, pitch, roll, height, and ground taken as flat.
Each is a little wrong, and each error moves the view's parts by its own pattern: a wrong heading
turns them, a wrong height spreads them. Matched parts of one view tell these errors apart from
the drone's own displacement, as far as they can; for the rest, how large errors usually are does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_runtime.localize.camera import CameraAttitude, CameraPose, FloatArray

UNKNOWNS = 8
"""Of the drone: east and north metres; then of its telemetry: heading, pitch and roll in degrees,
the height's logarithm, and the ground's slopes to the east and to the north."""
_ITERATIONS = 5
_CONVERGED = 1e-2
_DERIVATIVE_STEP = 1e-3
_DOUBTED_BEYOND = 1.5


@dataclass(frozen=True)
class Resection:
    """The unknowns' most probable values (8,), their covariance (8, 8), what is left in metres."""

    unknowns: FloatArray
    covariance: FloatArray
    residual_m: FloatArray


def corrected_ground(pose: CameraPose, telemetry_error: FloatArray) -> FloatArray:
    """Homography (3, 3) from where telemetry puts viewed ground to where it lies.

    Both are metres beside the drone, to the east and to the north.

    Args:
        telemetry_error: The last six of the unknowns, what to add to the pose.
    Raises:
        numpy.linalg.LinAlgError: If a camera in that pose does not look at the ground.
    """
    heading, pitch, roll, log_height, slope_east, slope_north = telemetry_error
    attitude = CameraAttitude(
        pose.heading_deg + heading, pose.pitch_deg + pitch, pose.roll_deg + roll
    )
    height_m = pose.height_m * float(np.exp(log_height))
    seen_from = _ground_rays(pose.attitude, pose.height_m, 0.0, 0.0)
    return np.linalg.inv(_ground_rays(attitude, height_m, slope_east, slope_north)) @ seen_from


def moved(homography: FloatArray, points: FloatArray) -> FloatArray:
    """Points (n, 2) through a homography (3, 3)."""
    mapped = points @ homography[:, :2].T + homography[:, 2]
    return np.asarray(mapped[:, :2] / mapped[:, 2:], np.float64)


def solve_resection(
    pose: CameraPose,
    placed_m: FloatArray,
    found_m: FloatArray,
    weights: FloatArray,
    usual_errors: FloatArray,
    match_error_m: float,
) -> Resection:
    """The most probable displacement and telemetry errors, given matched parts of a view.

    Gauss-Newton with Huber's weights; the errors' usual sizes are Gaussian priors.

    Args:
        placed_m: (n, 2) beside the drone, where telemetry puts each part.
        found_m: (n, 2) where it was found, beside where the drone was thought to be.
        weights: (n,) how many independent matches each is worth.
        usual_errors: (8,) standard deviations of the unknowns before the view.
        match_error_m: Standard deviation of a match.
    Raises:
        numpy.linalg.LinAlgError: If the camera does not look at the ground.
    """
    solution = np.zeros(UNKNOWNS)
    prior = np.diag(usual_errors**-2.0)
    steps = usual_errors[2:] * _DERIVATIVE_STEP
    derivatives = np.empty((placed_m.size, UNKNOWNS))
    derivatives[:, :2] = np.tile(np.eye(2), (len(placed_m), 1))

    def moved_ground(telemetry_error: FloatArray) -> FloatArray:
        return moved(corrected_ground(pose, telemetry_error), placed_m)

    for _ in range(_ITERATIONS):
        ground = moved_ground(solution[2:])
        now = (solution[:2] + ground).ravel()
        for number, step in enumerate(np.diag(steps)):
            change_m = moved_ground(solution[2:] + step) - ground
            derivatives[:, 2 + number] = change_m.ravel() / steps[number]
        residual = found_m.ravel() - now
        distances = np.linalg.norm(residual.reshape(-1, 2), axis=1)
        trust = np.minimum(1.0, _DOUBTED_BEYOND * match_error_m / np.maximum(distances, 1e-9))
        information = np.repeat(weights * trust, 2) / match_error_m**2
        normal = derivatives.T @ (derivatives * information[:, None]) + prior
        change = np.linalg.solve(
            normal, derivatives.T @ (information * residual) - prior @ solution
        )
        solution = solution + change
        if (np.abs(change) < _CONVERGED * usual_errors).all():
            break
    left = found_m - solution[:2] - moved_ground(solution[2:])
    return Resection(solution, np.linalg.inv(normal), np.linalg.norm(left, axis=1))


def _ground_rays(
    attitude: CameraAttitude, height_m: float, slope_east: float, slope_north: float
) -> FloatArray:
    """Directions in the camera's axes (3, 3) of (east, north, 1) on ground that may slope."""
    rotation = attitude.rotation
    return np.column_stack(
        [
            rotation[:, 0] + slope_east * rotation[:, 2],
            rotation[:, 1] + slope_north * rotation[:, 2],
            -height_m * rotation[:, 2],
        ]
    )
