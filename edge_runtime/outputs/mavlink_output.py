"""Fixes to an autopilot over the shared MAVLink link: watched by default, fed when told to."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Protocol

from edge_runtime.contract.fix import Fix, IntegrityState
from edge_runtime.outputs import mavlink_messages as messages
from edge_runtime.outputs.mavlink_config import MavlinkOutputConfig
from edge_runtime.outputs.mavlink_feed import (
    AdmittedFix,
    PositionResets,
    gps_input_message,
    odometry_message,
    px4_message,
)
from edge_runtime.outputs.mavlink_origin import LocalOrigin
from edge_runtime.outputs.mavlink_status import NOTICE, WARNING, StatusLine
from edge_runtime.outputs.output import SentMessage
from edge_runtime.outputs.publication import (
    PublicationRule,
    deviation_m,
    reason_to_withhold,
)
from edge_runtime.outputs.utc_clock import UtcClock

_HEARTBEAT_S = 1.0
_NAMED_VALUE_S = 1.0
_ORIGIN_REQUEST_S = 2.0
_ORIGIN_CHECK_S = 10.0
_RADIUS_NAME = "vis_r95"
_SLOWEST_ODOMETRY_S = 0.25
_INTERVALS_JUDGED = 20
_SLOW_NOTICE_S = 60.0


class AutopilotLink(Protocol):
    """What this output needs of the shared link (`edge_runtime.mavlink.link`)."""

    @property
    def dialect(self) -> Any:
        """pymavlink's message classes."""
        ...

    @property
    def target(self) -> tuple[int, int] | None:
        """System and component of the autopilot; None until it is heard."""
        ...

    @property
    def counters(self) -> Any:
        """Counts, `autopilot_restarts` and `timesync_resets` among them."""
        ...

    def listen(self, handler: Callable[[Any, float], None]) -> None:
        """Hear every message of the autopilot's system."""
        ...

    def send(self, message: Any) -> bytes:
        """Send; the bytes as they left, empty if nobody can be reached."""
        ...

    def autopilot_time_us(self, monotonic_s: float) -> int | None:
        """The autopilot's clock at a moment; None if it is not known."""
        ...


class MavlinkOutput:
    """Tells an autopilot what its feed allows, and counts what was kept back and why.

    Nothing is fed before the autopilot and its clock are known, and no exposure twice.
    """

    name = "mavlink"

    def __init__(
        self,
        config: MavlinkOutputConfig,
        link: AutopilotLink,
        longest_age_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        utc: UtcClock | None = None,
    ) -> None:
        self._config = config
        self._link = link
        self._dialect = link.dialect
        self._now_s = clock
        self._utc = UtcClock() if utc is None else utc
        self._rule = PublicationRule(
            longest_age_s=longest_age_s,
            coasting=config.coasting == "feed",
            largest_deviation_m=config.deviation_limit_m,
        )
        self._origin = LocalOrigin()
        self._epoch = (link.counters.autopilot_restarts, link.counters.timesync_resets)
        self._status = StatusLine(config.status_interval_s)
        self._status.say(NOTICE, _opening_text(config))
        self._is_another = self._has_told_another = False
        self._state: IntegrityState | None = None
        self._radius95_m: float | None = None
        self._heartbeat_s = self._named_value_s = self._request_s = -math.inf
        self._fed_exposure_s = -math.inf
        self._fed_exposure_us = -1
        self._resets = PositionResets(config.position_reset_s)
        self._intervals_s: deque[float] = deque(maxlen=_INTERVALS_JUDGED)
        self._slow_notice_s = -math.inf
        self.withheld: Counter[str] = Counter()
        """Fixes that were not fed, by the reason."""
        self.answers: Counter[int] = Counter()
        """The autopilot's MAV_RESULTs to position resets."""
        link.listen(self._hear)

    def publish(self, fix: Fix) -> list[SentMessage]:
        """Feed a fix, or say that it was lost, as far as the feed allows."""
        now_s = self._now_s()
        self._state = fix.state
        self._status.see(fix)
        shown = reason_to_withhold(fix, now_s, PublicationRule(self._rule.longest_age_s)) == ""
        self._radius95_m = fix.position.radius95_m if shown and fix.position else None
        sent = [] if self._config.feed == "shadow" else self._feed(fix, now_s)
        return sent + self._tell_status(now_s)

    def tick(self, now_s: float) -> list[SentMessage]:
        """Heartbeat, status text and radius when they are due; the origin until it is known."""
        sent: list[SentMessage] = []
        if now_s - self._heartbeat_s >= _HEARTBEAT_S:
            self._heartbeat_s = now_s
            sent += self._send(messages.heartbeat(self._dialect, self._state), now_s)
        sent += self._tell_status(now_s)
        radius95_m = self._radius95_m
        if radius95_m is not None and now_s - self._named_value_s >= _NAMED_VALUE_S:
            self._named_value_s = now_s
            self._radius95_m = None
            boot_us = self._link.autopilot_time_us(now_s) or 0
            sent += self._send(
                messages.named_value(
                    self._dialect, _RADIUS_NAME, min(radius95_m, 1e9), boot_us // 1000
                ),
                now_s,
            )
        return sent + self._settle_origin(now_s)

    def say(self, text: str) -> None:
        """Have the pilot read a line that no fix tells."""
        self._status.say(NOTICE, text)

    def close(self) -> None:
        """Nothing to release: the link belongs to whoever opened it."""

    def _feed(self, fix: Fix, now_s: float) -> list[SentMessage]:
        self._notice_restart()
        target = self._link.target
        exposed_us = self._link.autopilot_time_us(fix.time_s)
        sent_us = self._link.autopilot_time_us(now_s)
        if target is None or exposed_us is None or sent_us is None:
            return self._keep_back("autopilot or its clock unknown")
        if self._is_another:
            return self._keep_back("another autopilot than the feed's")
        if fix.time_s <= self._fed_exposure_s or exposed_us <= self._fed_exposure_us:
            return self._keep_back("not newer than the last")
        reason = reason_to_withhold(fix, now_s, self._rule)
        if reason:
            return self._keep_back(reason) + self._tell_loss(fix, exposed_us, now_s, reason)
        position = fix.position
        if position is None:  # a reason to withhold, told above
            return []
        deviation = deviation_m(position)
        if fix.state is IntegrityState.COASTING:
            deviation *= self._config.coasting_growth
        admitted = AdmittedFix(fix, position, deviation, exposed_us, sent_us, target)
        message, reason = self._message_for(admitted)
        if message is None:
            return self._keep_back(reason)
        return self._send_fed(message, fix, exposed_us, now_s)

    def _message_for(self, admitted: AdmittedFix) -> tuple[Any | None, str]:
        """The message that the autopilot is fed by; none, and why, where it would not be true."""
        config, dialect = self._config, self._dialect
        if config.feed == "px4":
            return px4_message(config, dialect, admitted), ""
        if config.ardupilot_message == "odometry":
            return odometry_message(config, dialect, admitted, self._origin.place_deg)
        if config.ardupilot_message == "gps_input":
            utc_s = self._utc.utc_s(admitted.fix.time_s)
            return gps_input_message(config, dialect, admitted, utc_s)
        return self._resets.message(dialect, admitted)

    def _tell_loss(self, fix: Fix, exposed_us: int, now_s: float, reason: str) -> list[SentMessage]:
        """Failed odometry for a new frame without a position; PX4 and GPS_INPUT hear silence."""
        if not self._config.feeds_odometry or reason in ("stale", "stamped in the future"):
            return []
        message = messages.failed_odometry(
            self._dialect, exposed_us=exposed_us, reset_counter=fix.reset_counter
        )
        return self._send_fed(message, fix, exposed_us, now_s)

    def _send_fed(self, message: Any, fix: Fix, exposed_us: int, now_s: float) -> list[SentMessage]:
        if message.get_type() == "ODOMETRY":
            self._watch_rate(fix.time_s, now_s)
        self._fed_exposure_s, self._fed_exposure_us = fix.time_s, exposed_us
        sent = self._send(message, now_s)
        if sent and message.get_type() == "COMMAND_INT":
            self._resets.told(fix)
        return sent

    def _notice_restart(self) -> None:
        """After a restart, or a jump of its clock, the autopilot's time and origin begin anew."""
        counters = self._link.counters
        epoch = (counters.autopilot_restarts, counters.timesync_resets)
        if epoch != self._epoch:
            self._epoch = epoch
            self._origin.forget()
            self._fed_exposure_us = -1
            self._resets.forget()

    def _watch_rate(self, exposed_s: float, now_s: float) -> None:
        """Warn where frames are too few for ArduPilot, which calls 0.3 s of silence unhealthy."""
        self._intervals_s.append(exposed_s - self._fed_exposure_s)
        intervals = sorted(self._intervals_s)
        if len(intervals) < _INTERVALS_JUDGED or intervals[len(intervals) // 2] <= (
            _SLOWEST_ODOMETRY_S
        ):
            return
        if now_s - self._slow_notice_s >= _SLOW_NOTICE_S:
            self._slow_notice_s = now_s
            self._status.say(WARNING, "Vision below the 4 Hz that odometry needs")

    def _settle_origin(self, now_s: float) -> list[SentMessage]:
        """Ask for the autopilot's origin; give it one if it has none and the user named one."""
        config, target = self._config, self._link.target
        if not config.feeds_odometry:
            return []
        self._notice_restart()
        # An origin that moved unheard would shift every position: it is asked for again.
        wait_s = _ORIGIN_CHECK_S if self._origin.is_known else _ORIGIN_REQUEST_S
        if target is None or now_s - self._request_s < wait_s:
            return []
        was_asked = self._request_s > -math.inf
        self._request_s = now_s
        sent = self._send(messages.request_global_origin(self._dialect, target), now_s)
        if self._origin.is_known or not was_asked:
            return sent
        if config.origin is not None:
            sent += self._send(
                messages.set_global_origin(self._dialect, target[0], config.origin), now_s
            )
        else:
            self._status.say(WARNING, "Vision waits: the autopilot has no origin")
        return sent

    def _hear(self, message: Any, received_s: float) -> None:
        target = self._link.target
        if target is None or message.get_srcComponent() != target[1]:
            return
        self._origin.take(message)
        if message.get_type() == "HEARTBEAT":
            self._compare_autopilot(message.autopilot)
        elif (
            message.get_type() == "COMMAND_ACK"
            and message.command == self._dialect.MAV_CMD_EXTERNAL_POSITION_ESTIMATE
        ):
            self.answers[message.result] += 1

    def _compare_autopilot(self, kind: int) -> None:
        """PX4 would take odometry meant for ArduPilot by rules of its own, and the reverse."""
        kinds = {
            "px4": self._dialect.MAV_AUTOPILOT_PX4,
            "ardupilot": self._dialect.MAV_AUTOPILOT_ARDUPILOTMEGA,
        }
        wanted = kinds.get(self._config.feed, kind)
        self._is_another = kind in kinds.values() and kind != wanted
        if self._is_another and not self._has_told_another:
            self._has_told_another = True
            self._status.say(WARNING, "Vision feeds nothing: another autopilot")

    def _tell_status(self, now_s: float) -> list[SentMessage]:
        line = self._status.due(now_s)
        if line is None:
            return []
        return self._send(messages.status_text(self._dialect, *line), now_s)

    def _keep_back(self, reason: str) -> list[SentMessage]:
        self.withheld[reason] += 1
        return []

    def _send(self, message: Any, now_s: float) -> list[SentMessage]:
        payload = self._link.send(message)
        return [SentMessage(self.name, message.get_type(), payload, now_s)] if payload else []


def _opening_text(config: MavlinkOutputConfig) -> str:
    if config.feed == "shadow":
        return "Vision in shadow mode: feeds nothing"
    if config.feed == "px4":
        return "Vision feeds PX4: GLOBAL_POSITION_SENSOR"
    return f"Vision feeds ArduPilot: {config.ardupilot_message}"
