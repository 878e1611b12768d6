"""Orientations as unit quaternions: between north-east-down and forward-right-down axes.

A camera is taken as a body that looks along its forward axis, so that a gimbal's yaw, pitch and
roll are the camera's heading, pitch and roll. Near straight down these angles run wild while the
orientation hardly moves: hence nothing is interpolated by its angles.
"""

from __future__ import annotations

import numpy as np

from edge_runtime.localize.camera import CameraAttitude, FloatArray

_NED_TO_ENU = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
_LEVEL = 1e-9


def quaternion_of_angles(heading_deg: float, pitch_deg: float, roll_deg: float) -> FloatArray:
    """Quaternion (4,), w first, of a turn by heading, then pitch, then roll."""
    half = np.radians([heading_deg, pitch_deg, roll_deg]) / 2.0
    (ch, cp, cr), (sh, sp, sr) = np.cos(half), np.sin(half)
    return np.array(
        [
            ch * cp * cr + sh * sp * sr,
            ch * cp * sr - sh * sp * cr,
            ch * sp * cr + sh * cp * sr,
            sh * cp * cr - ch * sp * sr,
        ]
    )


def product(first: FloatArray, second: FloatArray) -> FloatArray:
    """Hamilton product: `second` is turned within the axes that `first` made."""
    w, v = first[0], first[1:]
    x, u = second[0], second[1:]
    return np.concatenate([[w * x - v @ u], w * u + x * v + np.cross(v, u)])


def between(first: FloatArray, second: FloatArray, share: float) -> FloatArray:
    """The orientation at a share (0-1) of the shortest way from the first to the second."""
    cosine = float(first @ second)
    if cosine < 0.0:
        second, cosine = -second, -cosine
    angle = float(np.arccos(min(cosine, 1.0)))
    if angle < 1e-6:
        mixed = first + share * (second - first)
    else:
        mixed = np.sin((1.0 - share) * angle) * first + np.sin(share * angle) * second
    return np.asarray(mixed / np.linalg.norm(mixed), np.float64)


def rotation_of(quaternion: FloatArray) -> FloatArray:
    """Matrix (3, 3) whose columns are the body's forward, right and down in north-east-down."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def heading_of(quaternion: FloatArray) -> float:
    """Heading of the forward axis in degrees, clockwise from north."""
    forward = rotation_of(quaternion)[:, 0]
    return float(np.degrees(np.arctan2(forward[1], forward[0]))) % 360.0


def attitude_of(quaternion: FloatArray) -> CameraAttitude:
    """The camera's angles, roll within +-90: a camera tilted past straight down has pitch < -90."""
    forward, right, down = (_NED_TO_ENU @ rotation_of(quaternion)).T
    level = float(np.hypot(forward[0], forward[1]))
    if level < _LEVEL:  # straight up or down: only heading and roll together are defined
        heading = float(np.arctan2(-right[1], right[0]))
        return CameraAttitude(
            float(np.degrees(heading)) % 360.0, float(np.copysign(90.0, forward[2]))
        )
    heading = float(np.arctan2(forward[0], forward[1]))
    pitch = float(np.arctan2(forward[2], level))
    level_right = np.array([np.cos(heading), -np.sin(heading), 0.0])
    roll = float(np.arctan2(-(down @ level_right), right @ level_right))
    if abs(roll) > np.pi / 2:
        heading += np.pi
        pitch = np.copysign(np.pi, pitch) - pitch
        roll -= np.copysign(np.pi, roll)
    return CameraAttitude(
        float(np.degrees(heading)) % 360.0, float(np.degrees(pitch)), float(np.degrees(roll))
    )


def attitude_between(first: CameraAttitude, second: CameraAttitude, share: float) -> CameraAttitude:
    """The attitude at a share (0-1) of the shortest turn from the first to the second."""
    return attitude_of(between(quaternion_of(first), quaternion_of(second), share))


def quaternion_of(attitude: CameraAttitude) -> FloatArray:
    """The quaternion of a camera's angles."""
    return quaternion_of_angles(attitude.heading_deg, attitude.pitch_deg, attitude.roll_deg)
