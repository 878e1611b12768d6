"""Asking an autopilot for the messages that it does not send by itself."""

from __future__ import annotations

from typing import Any

from edge_runtime.mavlink.link import MavlinkLink

_MISSING_S = 3.0
_FIRST_WAIT_S = 3.0
_LONGEST_WAIT_S = 60.0
_SET_MESSAGE_INTERVAL = 511  # MAV_CMD_SET_MESSAGE_INTERVAL
_SLOW_HZ = 5.0


class MessageRequests:
    """With each heartbeat of the autopilot, asks for what has not been heard for a while.

    It asks again after a wait that doubles, as not every autopilot has every message.
    """

    def __init__(
        self, link: MavlinkLink, rate_hz: float, wants_gimbal: bool, wants_local_position: bool
    ) -> None:
        self._link = link
        rates_hz = {"ATTITUDE": rate_hz, "ALTITUDE": _SLOW_HZ, "GLOBAL_POSITION_INT": _SLOW_HZ}
        rates_hz["DISTANCE_SENSOR"] = rate_hz / 2.0
        if wants_gimbal:
            rates_hz["GIMBAL_DEVICE_ATTITUDE_STATUS"] = rate_hz
        if wants_local_position:
            rates_hz["LOCAL_POSITION_NED"] = rate_hz / 2.0
        self._rates_hz = rates_hz if rate_hz > 0.0 else {}
        self._heard_s: dict[str, float] = {}
        self._asked_s: dict[str, float] = {}
        self._wait_s: dict[str, float] = {}

    def hear(self, kind: str, message: Any, received_s: float) -> None:
        """Note a message of this kind; with a heartbeat, ask for the missing ones."""
        if kind in self._rates_hz:
            self._heard_s[kind] = received_s
            self._wait_s.pop(kind, None)
        target = self._link.target
        if kind != "HEARTBEAT" or target is None or message.get_srcComponent() != target[1]:
            return
        for name, rate_hz in self._rates_hz.items():
            heard_s = self._heard_s.setdefault(name, received_s - _MISSING_S / 2.0)
            wait_s = self._wait_s.get(name, _FIRST_WAIT_S)
            asked_s = self._asked_s.get(name, float("-inf"))
            if received_s - heard_s < _MISSING_S or received_s - asked_s < wait_s:
                continue
            self._asked_s[name] = received_s
            self._wait_s[name] = min(2.0 * wait_s, _LONGEST_WAIT_S)
            self._ask(target, name, rate_hz)

    def _ask(self, target: tuple[int, int], name: str, rate_hz: float) -> None:
        dialect = self._link.dialect
        message_id = getattr(dialect, f"MAVLINK_MSG_ID_{name}")
        interval_us = 1e6 / rate_hz
        self._link.send(
            dialect.MAVLink_command_long_message(
                *target, _SET_MESSAGE_INTERVAL, 0, message_id, interval_us, 0, 0, 0, 0, 0
            )
        )
