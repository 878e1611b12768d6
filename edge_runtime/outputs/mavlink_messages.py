"""Fixes as MAVLink messages: pure functions, each after one message's definition.

None of them puts NaN where an autopilot of today computes with it, and none invents a value:
altitude, attitude and vertical speed are unknown here and say so in the form each message has
for it. Acceptance rules are those of PX4's `mavlink_receiver` and EKF2, and of ArduPilot's
`GCS_Common`, `AP_VisualOdom_MAV`, `AP_GPS_MAV` and EKF3, as of 2026.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

from edge_runtime.contract.fix import IntegrityState, Position, Velocity
from edge_runtime.outputs.publication import (
    LEAST_DEVIATION_M,
    MOST_M,
    longitude_within_180,
    stated_covariance_m2,
)
from edge_runtime.outputs.utc_clock import gps_week_and_ms

FAILED_QUALITY = -1
GLOBAL_ORIGIN_ID = 49
_UNKNOWN_HEIGHT_DEVIATION_M = 100.0
_LARGEST_SPEED_M_S = 1e4
_COMMAND_TIME_WRAP_US = 36_000_000_000
_TEXT_BYTES = 50
_BEST_RADIUS95_M = 10.0


def global_position_sensor(
    dialect: ModuleType,
    position: Position,
    *,
    target: tuple[int, int],
    sensor_id: int,
    sent_us: int,
    processing_us: int,
    deviation_m: float,
) -> Any:
    """GLOBAL_POSITION_SENSOR (296), source vision: PX4's auxiliary global position.

    Args:
        sent_us: When it leaves, on the autopilot's clock.
        processing_us: From exposure to leaving.
        deviation_m: One standard deviation of east and of north.
    """
    latitude, longitude = degrees_e7(position)
    return dialect.MAVLink_global_position_sensor_message(
        target[0],
        target[1],
        sensor_id,
        sent_us,
        min(max(processing_us, 0), 2**32 - 1),
        dialect.GLOBAL_POSITION_SRC_VISION,
        0,
        latitude,
        longitude,
        math.nan,
        math.nan,
        _bounded(deviation_m),
        math.nan,
    )


def odometry(
    dialect: ModuleType,
    position: Position,
    north_east_m: tuple[float, float],
    velocity: Velocity | None,
    *,
    exposed_us: int,
    deviation_m: float,
    reset_counter: int,
    quality: int,
) -> Any:
    """ODOMETRY (331) in a frame that lies north, east, down at the autopilot's own origin.

    ArduPilot takes the frames LOCAL_FRD and BODY_FRD alone; without a turn (unit quaternion)
    both are north, east, down. Angular rates are NaN, and so is velocity unless given: EKF3
    leaves a velocity with NaN alone, while zeros would be a speed. Down is zero, with a
    standard deviation that says it is not known.

    Args:
        north_east_m: From the autopilot's origin, by the autopilot's own flat earth.
        velocity: The filter's, None to send none.
    """
    speeds = (math.nan, math.nan, math.nan)
    velocity_covariance = [math.nan, *([0.0] * 20)]
    if velocity is not None:
        speeds = (_speed(velocity.north_m_s), _speed(velocity.east_m_s), 0.0)
        variance = _bounded(velocity.standard_deviation_m_s) ** 2
        velocity_covariance = _diagonal(variance, variance, _UNKNOWN_HEIGHT_DEVIATION_M**2)
    return dialect.MAVLink_odometry_message(
        exposed_us,
        dialect.MAV_FRAME_LOCAL_FRD,
        dialect.MAV_FRAME_BODY_FRD,
        north_east_m[0],
        north_east_m[1],
        0.0,
        [1.0, 0.0, 0.0, 0.0],
        *speeds,
        math.nan,
        math.nan,
        math.nan,
        _pose_covariance(position, deviation_m),
        velocity_covariance,
        reset_counter % 256,
        dialect.MAV_ESTIMATOR_TYPE_VISION,
        quality,
    )


def failed_odometry(dialect: ModuleType, *, exposed_us: int, reset_counter: int) -> Any:
    """ODOMETRY that says that there is no position: quality -1, and NaN for one.

    NaN, because an autopilot set to use failed odometry all the same would take any number.
    """
    unknown = [math.nan, *([0.0] * 20)]
    return dialect.MAVLink_odometry_message(
        exposed_us,
        dialect.MAV_FRAME_LOCAL_FRD,
        dialect.MAV_FRAME_BODY_FRD,
        math.nan,
        math.nan,
        math.nan,
        [1.0, 0.0, 0.0, 0.0],
        math.nan,
        math.nan,
        math.nan,
        math.nan,
        math.nan,
        math.nan,
        unknown,
        unknown,
        reset_counter % 256,
        dialect.MAV_ESTIMATOR_TYPE_VISION,
        FAILED_QUALITY,
    )


def gps_input(
    dialect: ModuleType,
    position: Position,
    velocity: Velocity,
    *,
    exposed_us: int,
    utc_s: float,
    gps_id: int,
    deviation_m: float,
) -> Any:
    """GPS_INPUT (232) with the filter's velocity: without one EKF3 counts the drone as standing.

    Altitude, dilutions, vertical speed and vertical accuracy are flagged as not given. There are
    no satellites, and it says so.
    """
    flags = (
        dialect.GPS_INPUT_IGNORE_FLAG_ALT
        | dialect.GPS_INPUT_IGNORE_FLAG_HDOP
        | dialect.GPS_INPUT_IGNORE_FLAG_VDOP
        | dialect.GPS_INPUT_IGNORE_FLAG_VEL_VERT
        | dialect.GPS_INPUT_IGNORE_FLAG_VERTICAL_ACCURACY
    )
    latitude, longitude = degrees_e7(position)
    week, week_ms = gps_week_and_ms(utc_s)
    return dialect.MAVLink_gps_input_message(
        exposed_us,
        gps_id,
        flags,
        week_ms,
        week,
        dialect.GPS_FIX_TYPE_3D_FIX,
        latitude,
        longitude,
        0.0,
        65535.0,
        65535.0,
        _speed(velocity.north_m_s),
        _speed(velocity.east_m_s),
        0.0,
        _bounded(velocity.standard_deviation_m_s),
        _bounded(deviation_m),
        0.0,
        0,
        0,
    )


def external_position_estimate(
    dialect: ModuleType,
    position: Position,
    *,
    target: tuple[int, int],
    sent_us: int,
    processing_us: int,
    deviation_m: float,
) -> Any:
    """MAV_CMD_EXTERNAL_POSITION_ESTIMATE (43003): a position reset while dead reckoning.

    The time is the autopilot's, wrapped after ten hours so that a 32-bit float holds it to 4 ms:
    ArduPilot corrects the stamps of all messages of a link together, so no other time base will
    do. The accuracy is always a number: NaN crashed older ArduPilots.
    """
    latitude, longitude = degrees_e7(position)
    return dialect.MAVLink_command_int_message(
        target[0],
        target[1],
        dialect.MAV_FRAME_GLOBAL,
        dialect.MAV_CMD_EXTERNAL_POSITION_ESTIMATE,
        0,
        0,
        (sent_us % _COMMAND_TIME_WRAP_US) / 1e6,
        max(processing_us, 0) / 1e6,
        _bounded(deviation_m),
        0.0,
        latitude,
        longitude,
        math.nan,
    )


def request_global_origin(dialect: ModuleType, target: tuple[int, int]) -> Any:
    """MAV_CMD_REQUEST_MESSAGE for GPS_GLOBAL_ORIGIN (49)."""
    return dialect.MAVLink_command_long_message(
        target[0],
        target[1],
        dialect.MAV_CMD_REQUEST_MESSAGE,
        0,
        float(GLOBAL_ORIGIN_ID),
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
    )


def set_global_origin(
    dialect: ModuleType, target_system: int, origin: tuple[float, float, float]
) -> Any:
    """SET_GPS_GLOBAL_ORIGIN (48): latitude and longitude in degrees, metres above sea level."""
    latitude_deg, longitude_deg, altitude_m = origin
    return dialect.MAVLink_set_gps_global_origin_message(
        target_system,
        round(latitude_deg * 1e7),
        round(longitude_deg * 1e7),
        round(altitude_m * 1e3),
    )


def status_text(dialect: ModuleType, severity: int, text: str) -> Any:
    """STATUSTEXT (253) of one piece: words that do not fit are left off."""
    words = text.encode("ascii", "replace")
    if len(words) > _TEXT_BYTES:
        kept, _, _ = words[: _TEXT_BYTES - 1].rpartition(b" ")
        words = (kept or words[: _TEXT_BYTES - 2]) + b".."
    return dialect.MAVLink_statustext_message(severity, words[:_TEXT_BYTES])


def named_value(dialect: ModuleType, name: str, value: float, boot_ms: int) -> Any:
    """NAMED_VALUE_FLOAT (251): for people's plots and logs; no estimator reads it."""
    return dialect.MAVLink_named_value_float_message(
        boot_ms % 2**32, name.encode("ascii")[:10], value
    )


def heartbeat(dialect: ModuleType, state: IntegrityState | None) -> Any:
    """HEARTBEAT of an onboard computer; active while positions leave, critical on a fault."""
    status = {
        None: dialect.MAV_STATE_BOOT,
        IntegrityState.INIT: dialect.MAV_STATE_BOOT,
        IntegrityState.FAULT: dialect.MAV_STATE_CRITICAL,
    }.get(state, dialect.MAV_STATE_STANDBY)
    if state is not None and state.publishes:
        status = dialect.MAV_STATE_ACTIVE
    return dialect.MAVLink_heartbeat_message(
        dialect.MAV_TYPE_ONBOARD_CONTROLLER, dialect.MAV_AUTOPILOT_INVALID, 0, 0, status, 3
    )


def quality_percent(position: Position, state: IntegrityState) -> int:
    """Quality as ODOMETRY has it: 100 for a 95 % radius up to 10 m, less in proportion, never 0.

    It is halved while coasting. 0 would mean that it is not known, -1 that there is no position.
    """
    quality = 100.0 * _BEST_RADIUS95_M / max(position.radius95_m, _BEST_RADIUS95_M)
    if state is not IntegrityState.TRACKING:
        quality /= 2.0
    return max(1, min(100, int(quality)))


def degrees_e7(position: Position) -> tuple[int, int]:
    """Latitude and longitude in 1e-7 degrees, the longitude within 180 degrees."""
    longitude_deg = longitude_within_180(position.longitude_deg)
    return round(position.latitude_deg * 1e7), round(longitude_deg * 1e7)


def _pose_covariance(position: Position, deviation_m: float) -> list[float]:
    """The position's covariance, grown as a whole to the deviation; angles are not known.

    Row-major upper triangle of x, y, z, roll, pitch, yaw.
    """
    east, north, both = stated_covariance_m2(position, deviation_m)
    covariance = _diagonal(north, east, _UNKNOWN_HEIGHT_DEVIATION_M**2)
    covariance[1] = both
    return covariance


def _diagonal(x: float, y: float, z: float) -> list[float]:
    """Row-major upper triangle with these first diagonal entries and pi squared for angles."""
    triangle = [0.0] * 21
    for index, value in zip((0, 6, 11, 15, 18, 20), (x, y, z, *[math.pi**2] * 3), strict=True):
        triangle[index] = value
    return triangle


def _bounded(deviation: float) -> float:
    if math.isnan(deviation):
        return MOST_M
    return max(LEAST_DEVIATION_M, min(deviation, MOST_M))


def _speed(speed_m_s: float) -> float:
    return max(-_LARGEST_SPEED_M_S, min(speed_m_s, _LARGEST_SPEED_M_S))
