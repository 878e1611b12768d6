"""What to set on an autopilot that is to fly by these fixes, and why.

The names and rules were read from the autopilots' own sources (PX4 `main` of 2026: ekf2's
`params_aux_global_position.yaml` and `aux_global_position_control.cpp`; ArduPilot 4.6:
`AP_VisualOdom`, `AP_NavEKF3`, `AP_GPS_MAV`). Nothing was tried on an autopilot or its simulator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from edge_runtime.contract.errors import ConfigError
from edge_runtime.outputs.mavlink_config import ArdupilotMessage

Autopilot = Literal["px4", "ardupilot"]

_PX4_BUFFER_MS = 100.0
_LONGEST_VISO_DELAY_MS = 250
_PX4_SOURCE = "ekf2 params_aux_global_position.yaml"
_AP_VISO_SOURCE = "AP_VisualOdom.cpp"
_AP_SOURCE_SET = "AP_NavEKF_Source.cpp"


@dataclass(frozen=True)
class ParameterAdvice:
    """One parameter: its value and the reason for it."""

    name: str
    value: int | float
    unit: str
    reason: str
    source: str
    """The file of the autopilot's source that says what it does."""

    @property
    def value_text(self) -> str:
        """The value as parameter files hold it."""
        if isinstance(self.value, int):
            return str(self.value)
        return f"{self.value:.6g}"


@dataclass(frozen=True)
class AutopilotAdvice:
    """The parameters for one autopilot, and what no parameter can settle."""

    autopilot: Autopilot
    title: str
    parameters: tuple[ParameterAdvice, ...]
    warnings: tuple[str, ...]


def advise(
    autopilot: Autopilot,
    *,
    latency_ms: float = 200.0,
    noise_m: float = 10.0,
    sensor_id: int = 1,
    ardupilot_message: ArdupilotMessage = "odometry",
) -> AutopilotAdvice:
    """What to set, and last of what to heed how the runtime itself is told to feed it.

    Args:
        latency_ms: From exposure to the fix's leaving, as the fixes report it: the usual value
            for ArduPilot's delay, on which PX4's horizon leaves a margin.
        noise_m: No fix counts as more certain than this standard deviation.
        sensor_id: `outputs.mavlink.sensor_id`.
        ardupilot_message: `outputs.mavlink.ardupilot_message`.
    Raises:
        ConfigError: If an argument is out of range.
    """
    if not 0.0 <= latency_ms <= 2000.0 or not 0.1 <= noise_m <= 100.0:
        raise ConfigError("latency_ms is 0 to 2000, noise_m 0.1 to 100")
    if not 1 <= sensor_id <= 255:
        raise ConfigError("sensor_id is 1 to 255: PX4 takes 0 for an unused slot")
    if autopilot == "px4":
        return _with_feed(_px4(latency_ms, noise_m, sensor_id), f"sensor_id {sensor_id}")
    advice = {
        "odometry": _ardupilot_odometry,
        "gps_input": _ardupilot_gps_input,
        "position_reset": _ardupilot_position_reset,
    }[ardupilot_message](latency_ms, noise_m)
    return _with_feed(advice, f"ardupilot_message {ardupilot_message}")


def _with_feed(advice: AutopilotAdvice, setting: str) -> AutopilotAdvice:
    feed = f"outputs.mavlink.feed {advice.autopilot}, {setting}"
    line = f"nothing is fed until edge.yaml says so: {feed}"
    return replace(advice, warnings=(*advice.warnings, line))


def _px4(latency_ms: float, noise_m: float, sensor_id: int) -> AutopilotAdvice:
    horizon_ms = max(200, math.ceil((latency_ms + 50.0) / 50.0) * 50)
    parameters = (
        ParameterAdvice(
            "EKF2_AGP0_ID",
            sensor_id,
            "",
            "the sensor id that the messages carry; 0, the default, leaves the slot unused",
            _PX4_SOURCE,
        ),
        ParameterAdvice(
            "EKF2_AGP0_CTRL",
            1,
            "bits",
            "fuse the horizontal position; bit 1, height, stays off: no height is sent",
            _PX4_SOURCE,
        ),
        ParameterAdvice(
            "EKF2_AGP0_MODE",
            0,
            "",
            "a jump to another track resets the estimate only where no other position is fused; "
            "1 would do so only without any velocity as well",
            "aux_global_position_control.cpp",
        ),
        ParameterAdvice(
            "EKF2_AGP0_NOISE",
            float(noise_m),
            "m",
            "no fix counts as more certain than this, whatever it states",
            _PX4_SOURCE,
        ),
        ParameterAdvice(
            "EKF2_AGP0_GATE",
            3.0,
            "SD",
            "standard deviations beyond which a fix is rejected: the default",
            _PX4_SOURCE,
        ),
        ParameterAdvice(
            "EKF2_AGP0_DELAY",
            0.0,
            "ms",
            "each message says how long ago its frame was exposed; reboot after a change",
            _PX4_SOURCE,
        ),
        ParameterAdvice(
            "EKF2_DELAY_MAX",
            float(horizon_ms),
            "ms",
            f"the estimator's horizon must lie behind fixes that come {latency_ms:.0f} ms after "
            f"exposure: those older than it by {_PX4_BUFFER_MS:.0f} ms are dropped without a "
            "word; reboot after a change",
            "ekf2 params, RingBuffer.h",
        ),
    )
    warnings = (
        "EKF2_AGP0_* is PX4's main branch of 2026 and what is released from it. Up to 1.16 the "
        "parameters are EKF2_AGP_CTRL, _MODE, _DELAY, _NOISE and _GATE without an id, and there "
        "is no MAVLink handler for GLOBAL_POSITION_SENSOR: those cannot be fed by this",
        "compare estimator_aid_src_aux_global_position's sample time with the exposure before "
        "the first flight: should your version not take processing_time into account, set "
        f"EKF2_AGP0_DELAY to {latency_ms:.0f}",
        "GNSS stays fused unless EKF2_GPS_CTRL is 0: decide which is to win before they differ",
        "fusion ends after 5 s of silence: the vehicle then dead-reckons, see COM_POS_FS_EPH",
        "fly in shadow mode first, and compare with GNSS",
    )
    return AutopilotAdvice("px4", "PX4, fed by GLOBAL_POSITION_SENSOR", parameters, warnings)


def _ardupilot_odometry(latency_ms: float, noise_m: float) -> AutopilotAdvice:
    delay_ms = min(round(latency_ms), _LONGEST_VISO_DELAY_MS)
    parameters = (
        ParameterAdvice(
            "VISO_TYPE",
            1,
            "",
            "MAVLink: positions are taken as they are. 2 and 3 turn and shift them to match the "
            "estimate at the first message and at every reset, which undoes an absolute position",
            "AP_VisualOdom_MAV.cpp, AP_VisualOdom_IntelT265.cpp",
        ),
        ParameterAdvice(
            "VISO_DELAY_MS",
            delay_ms,
            "ms",
            "ArduPilot corrects stamps for jitter only: it takes the fastest message for "
            "undelayed, so the least latency goes here; 250 at most",
            _AP_VISO_SOURCE,
        ),
        ParameterAdvice(
            "VISO_POS_M_NSE",
            min(float(noise_m), 10.0),
            "m",
            "no fix counts as more certain than this; EKF3 counts none as less certain than 10 m",
            _AP_VISO_SOURCE,
        ),
        ParameterAdvice(
            "VISO_QUAL_MIN",
            1,
            "%",
            "odometry of quality -1, failed, is not used; tracking within 100 m is 10 or more",
            _AP_VISO_SOURCE,
        ),
        *_source_set(2, 6, 0, "the vision's position, in the second source set"),
    )
    warnings = (
        "the second source set is flown only when chosen: RCx_OPTION 90 on a switch, or a script. "
        "EK3_SRC1_* is left as it is, so GPS flies until then",
        "reboot after VISO_TYPE; the parameters after it show only then",
        "the autopilot needs an origin before it takes a position: its own from GPS, or "
        "outputs.mavlink.origin",
        "four fixes a second are needed: 0.3 s of silence count as unhealthy, and arming is "
        "refused while they do",
        "height stays the barometer's and yaw the compass's: neither is sent",
        *(
            ("a latency above 250 ms cannot be told to ArduPilot: positions will lag the drone",)
            if latency_ms > _LONGEST_VISO_DELAY_MS
            else ()
        ),
        "fly in shadow mode first, and compare with GPS",
    )
    return AutopilotAdvice("ardupilot", "ArduPilot, fed by ODOMETRY", parameters, warnings)


def _ardupilot_gps_input(latency_ms: float, noise_m: float) -> AutopilotAdvice:
    parameters = (
        ParameterAdvice(
            "GPS1_TYPE",
            14,
            "",
            "MAVLink: GPS_INPUT in place of the first GPS (GPS_TYPE before 4.6); reboot after a "
            "change",
            "AP_GPS.cpp",
        ),
        ParameterAdvice(
            "GPS1_DELAY_MS",
            round(latency_ms),
            "ms",
            "from exposure to arrival (GPS_DELAY_MS before 4.6)",
            "AP_GPS.cpp",
        ),
        ParameterAdvice(
            "EK3_POSNE_M_NSE",
            min(float(noise_m), 10.0),
            "m",
            "no fix counts as more certain than this",
            "AP_NavEKF3.cpp",
        ),
        ParameterAdvice(
            "EK3_GPS_CHECK",
            28,
            "bits",
            "leaves out the checks of satellites (1) and their dilution (2): there are none here",
            "AP_NavEKF3.cpp",
        ),
        ParameterAdvice("EK3_SRC1_POSZ", 1, "", "barometer: no height is sent", _AP_SOURCE_SET),
        ParameterAdvice("EK3_SRC1_VELZ", 0, "", "none: no vertical speed is sent", _AP_SOURCE_SET),
    )
    warnings = (
        "this replaces the GPS: prefer odometry, which can be chosen and left in flight",
        "only fixes with the filter's velocity are sent; EKF3 takes a missing one for standing "
        "still, and the drone would drift",
        "the wall clock must be right: the autopilot sets its own by it",
        "arming checks ask for satellites and dilution, of which there are none",
        "outputs.mavlink.gps_id 1 makes it the second GPS instead: set GPS2_TYPE and "
        "GPS2_DELAY_MS then, and leave the first as it is",
        "fly in shadow mode first, and compare with GPS",
    )
    return AutopilotAdvice("ardupilot", "ArduPilot, fed by GPS_INPUT", parameters, warnings)


def _ardupilot_position_reset(latency_ms: float, noise_m: float) -> AutopilotAdvice:
    parameters = (
        ParameterAdvice(
            "EK3_POSNE_M_NSE",
            min(float(noise_m), 10.0),
            "m",
            "no reset counts as more certain than this",
            "AP_NavEKF3.cpp",
        ),
    )
    warnings = (
        "a reset is taken only while EKF3 dead-reckons, by airspeed and wind: for aeroplanes that "
        "lost their GPS; with any other position it is refused",
        "it sets the position and teaches the filter nothing of wind or speed",
        "a NaN accuracy crashed older ArduPilots: none is ever sent",
        "fly in shadow mode first, and compare with GPS",
    )
    return AutopilotAdvice(
        "ardupilot",
        "ArduPilot, told now and then by MAV_CMD_EXTERNAL_POSITION_ESTIMATE",
        parameters,
        warnings,
    )


def _source_set(
    number: int, position: int, velocity: int, reason: str
) -> tuple[ParameterAdvice, ...]:
    prefix = f"EK3_SRC{number}_"
    rows = (
        ("POSXY", position, reason),
        ("VELXY", velocity, "none; 6 only with outputs.mavlink.odometry_velocity"),
        ("POSZ", 1, "barometer: no height is sent"),
        ("VELZ", 0, "none: no vertical speed is sent"),
        ("YAW", 1, "compass: no attitude is sent"),
    )
    return tuple(
        ParameterAdvice(prefix + name, value, "", why, _AP_SOURCE_SET) for name, value, why in rows
    )
