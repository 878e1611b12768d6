"""One MAVLink 2 link to an autopilot: read by listeners, written by anyone, never given up."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from edge_runtime.contract.errors import ConfigError
from edge_runtime.mavlink.autopilot_clock import AutopilotClock
from edge_runtime.mavlink.connection import (
    DEFAULT_BAUD,
    Connection,
    ConnectionAddress,
    open_connection,
    parse_connection,
)
from edge_runtime.mavlink.dialect import load_dialect
from edge_runtime.mavlink.framing import FrameCutter
from edge_runtime.mavlink.signing import open_codec, read_signing_key

logger = logging.getLogger(__name__)

VISUAL_INERTIAL_COMPONENT = 197
_POLL_S = 0.05
_HEARTBEAT_S = 1.0
_MOST_SENDERS = 16
_TARGET_SILENCE_S = 10.0
_SILENT_S = 5.0

Listener = Callable[[Any, float], None]


@dataclass(frozen=True)
class MavlinkConfig:
    """Where the autopilot is, and who this is on its network."""

    connection: str | None = None
    """udpin:HOST:PORT, udpout:HOST:PORT, tcp:HOST:PORT, or a device: /dev/ttyTHS1,921600."""
    baud: int = DEFAULT_BAUD
    """Speed of a serial device whose connection names none."""
    system_id: int = 1
    """Own system: the vehicle's."""
    component_id: int = VISUAL_INERTIAL_COMPONENT
    """Own component: 197 is visual-inertial odometry."""
    target_system: int | None = None
    """The autopilot's system; the first autopilot that is heard if left out."""
    signing_key: Path | None = None
    """File of 32 bytes, or with a passphrase: sign what is sent, refuse what is unsigned."""
    timesync: bool = True
    """Ask the autopilot for its clock, and answer when it asks."""
    longest_back_off_s: float = 5.0
    """Longest wait between two tries to open a lost line."""

    def __post_init__(self) -> None:
        for name, value in (("system_id", self.system_id), ("component_id", self.component_id)):
            if not 1 <= value <= 255:
                raise ConfigError(f"mavlink.{name} must be 1 to 255, is {value}")
        if self.target_system is not None and not 1 <= self.target_system <= 255:
            raise ConfigError(f"mavlink.target_system must be 1 to 255, is {self.target_system}")
        if self.baud < 1 or not 0.0 < self.longest_back_off_s < float("inf"):
            raise ConfigError("mavlink.baud and longest_back_off_s must be above 0")
        if self.connection is not None:
            parse_connection(self.connection, self.baud)


@dataclass(frozen=True)
class LinkCounters:
    """What became of a link's bytes and messages."""

    received: int = 0
    """Messages of the autopilot's system that listeners heard."""
    foreign: int = 0
    """Messages of other systems: left alone."""
    unknown: int = 0
    """Messages that the codec does not know."""
    garbage_bytes: int = 0
    refused: int = 0
    """Frames with a wrong checksum or signature, unsigned ones under a key among them."""
    unsigned: int = 0
    """Of these, frames without a valid signature while a key is set."""
    sent: int = 0
    unsent: int = 0
    """Messages that nobody could be reached with."""
    reconnects: int = 0
    """How often the line was lost and opened again."""
    autopilot_restarts: int = 0
    """How often the autopilot's boot clock went back."""
    timesync_outliers: int = 0
    timesync_resets: int = 0
    listener_faults: int = 0

    def as_dict(self) -> dict[str, int]:
        """Plain values by name."""
        return asdict(self)


class MavlinkLink:
    """A link that a thread of its own reads; `send` may be called from any thread.

    Listeners hear the autopilot's whole system (gimbals and sensors have components of their
    own), from its first heartbeat on, and never their own side's messages. The link sends a
    heartbeat each second unless somebody else sends one through it.
    """

    def __init__(self, config: MavlinkConfig) -> None:
        if config.connection is None:
            raise ConfigError("mavlink.connection says where the autopilot is: none is given")
        self.config = config
        self.address: ConnectionAddress = parse_connection(config.connection, config.baud)
        self.dialect: ModuleType = load_dialect()
        key = None if config.signing_key is None else read_signing_key(config.signing_key)
        # One codec for each direction: they are used by different threads.
        self._codec, self._sender = (
            open_codec(self.dialect, config.system_id, config.component_id, key) for _ in range(2)
        )
        self._cutters: OrderedDict[Hashable, FrameCutter] = OrderedDict()
        self._listeners: tuple[Listener, ...] = ()
        self._connection: Connection | None = None
        self._send_lock = threading.Lock()
        self._count_lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._target: tuple[int, int] | None = None
        self._last_heartbeat_s = float("-inf")
        self._last_own_heartbeat_s = float("-inf")
        self._clock = AutopilotClock()
        self._fault = "not connected yet"
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read, name="mavlink", daemon=True)

    def start(self) -> None:
        """Open the line, or begin trying to, and start reading."""
        self._try_to_open()
        self._reader.start()

    @property
    def target(self) -> tuple[int, int] | None:
        """System and component of the autopilot; None until its first heartbeat."""
        return self._target

    @property
    def fault(self) -> str:
        """Why nothing can be exchanged at present, for people; empty while it can."""
        if self._fault:
            return self._fault
        if self._target is None:
            return f"{self.address}: no autopilot heard yet"
        silent_s = self.heartbeat_age_s(time.monotonic())
        return f"{self.address}: no heartbeat for {silent_s:.0f} s" if silent_s > _SILENT_S else ""

    @property
    def local_port(self) -> int | None:
        """The port that this end listens on; None for lines that have none."""
        return getattr(self._connection, "local_port", None)

    @property
    def is_synced(self) -> bool:
        """Whether the autopilot's clock is known."""
        return self._clock.is_synced

    @property
    def counters(self) -> LinkCounters:
        """Counts since the start."""
        with self._count_lock:
            counts = Counter(self._counts)
            for cutter in self._cutters.values():
                counts["garbage_bytes"] += cutter.garbage_bytes
                counts["refused"] += cutter.refused
            counts["unsigned"] = self._codec.signing.reject_count
            counts["timesync_outliers"] = self._clock.outliers
            counts["timesync_resets"] = self._clock.resets
        return LinkCounters(**counts)

    def heartbeat_age_s(self, now_s: float) -> float:
        """Seconds since the autopilot's last heartbeat; infinite before the first."""
        return now_s - self._last_heartbeat_s

    def listen(self, handler: Listener) -> None:
        """Call the handler with every message and its arrival on `time.monotonic()`.

        It is called in the reading thread: it must be quick. What it raises is counted and
        logged, and does no harm.
        """
        self._listeners = (*self._listeners, handler)

    def send(self, message: Any) -> bytes:
        """Send a message of `dialect`; its bytes as they left, empty if nobody can be reached.

        Never raises for a lost peer and never waits for long; what cannot leave now is counted
        and forgotten, as old fixes must not arrive late.
        """
        with self._send_lock:
            signing = self._sender.signing
            signing.timestamp = max(signing.timestamp, self._codec.signing.timestamp)
            packed = bytes(message.pack(self._sender))
            connection = self._connection
            try:
                sent = connection is not None and connection.send(packed)
            except OSError as error:
                self._lose(f"{self.address}: {error}")
                sent = False
            if sent:
                self._sender.seq = (self._sender.seq + 1) % 256
        if sent and message.get_type() == "HEARTBEAT":
            self._last_own_heartbeat_s = time.monotonic()
        self._count("sent" if sent else "unsent")
        return packed if sent else b""

    def autopilot_time_us(self, monotonic_s: float) -> int | None:
        """The autopilot's clock (microseconds since its boot) at a moment; None if not synced."""
        return self._clock.time_us(monotonic_s)

    def monotonic_s_of(self, autopilot_time_us: int) -> float | None:
        """The moment on `time.monotonic()` of an autopilot's stamp; None if not synced."""
        return self._clock.monotonic_s_of(autopilot_time_us)

    def close(self) -> None:
        """Stop reading and release the line."""
        self._stop.set()
        if self._reader.is_alive() and self._reader is not threading.current_thread():
            self._reader.join(timeout=5.0)
        with self._send_lock:
            self._lose("closed")

    # The reading thread

    def _read(self) -> None:
        back_off_s = _POLL_S
        while not self._stop.is_set():
            connection = self._connection
            if connection is None:
                self._stop.wait(back_off_s)
                back_off_s = min(2.0 * back_off_s + 0.1, self.config.longest_back_off_s)
                if not self._stop.is_set() and self._try_to_open():
                    self._count("reconnects")
                continue
            try:
                pieces = connection.receive(_POLL_S)
            except (OSError, ValueError) as error:  # ValueError: closed under select
                with self._send_lock:
                    if self._connection is connection:
                        self._lose(f"{self.address}: {error}")
                continue
            received_s = time.monotonic()
            for sender, data in pieces:
                back_off_s = _POLL_S
                messages = self._cutter_of(sender).take(data)
                if any(not _is_unknown(message) for message in messages):
                    connection.trust(sender)
                for message in messages:
                    self._dispatch(message, received_s)
            self._send_what_is_due(time.monotonic())

    def _try_to_open(self) -> bool:
        try:
            connection = open_connection(self.address)
        except OSError as error:
            reason = f"{self.address}: {error}"
            if reason != self._fault:
                logger.warning("MAVLink %s: trying again", reason)
            self._fault = reason
            return False
        with self._send_lock:
            self._connection = connection
            self._fault = ""
        return True

    def _lose(self, reason: str) -> None:
        """Close what is broken; the caller holds the sending lock."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._fault = reason
        if not self._stop.is_set():
            logger.warning("MAVLink %s: opening it again", reason)
        try:
            connection.close()
        except OSError:  # it is gone all the same
            logger.debug("closing %s failed", self.address, exc_info=True)

    def _cutter_of(self, sender: Hashable) -> FrameCutter:
        with self._count_lock:
            cutter = self._cutters.get(sender)
            if cutter is None:
                cutter = self._cutters[sender] = FrameCutter(self._codec)
                if len(self._cutters) > _MOST_SENDERS:
                    _, gone = self._cutters.popitem(last=False)
                    self._counts["garbage_bytes"] += gone.garbage_bytes
                    self._counts["refused"] += gone.refused
            self._cutters.move_to_end(sender)
            return cutter

    def _dispatch(self, message: Any, received_s: float) -> None:
        kind = message.get_type()
        system, component = message.get_srcSystem(), message.get_srcComponent()
        if _is_unknown(message):
            self._count("unknown")
            return
        if (system, component) == (self.config.system_id, self.config.component_id):
            return
        if kind == "HEARTBEAT" and self._is_autopilot(message):
            self._hear_autopilot((system, component), received_s)
        if self._target is None or system != self._target[0]:
            self._count("foreign")
            return
        if component == self._target[1]:
            if self._clock.has_restarted(message):
                self._count("autopilot_restarts")
                logger.warning("the autopilot started anew: its clock went back")
            if kind == "TIMESYNC":
                self._take_timesync(message, received_s)
        self._count("received")
        for listener in self._listeners:
            try:
                listener(message, received_s)
            except Exception:  # one listener's fault must not stop the link
                self._count("listener_faults")
                logger.exception("a listener failed on %s", kind)

    def _hear_autopilot(self, source: tuple[int, int], received_s: float) -> None:
        """The first autopilot is the target; another only once that one is long silent."""
        if source != self._target and self.heartbeat_age_s(received_s) > _TARGET_SILENCE_S:
            if self._target is not None:
                logger.warning("MAVLink: autopilot %s is gone, %s is taken", self._target, source)
            self._target = source
            self._clock.forget()
        if source == self._target:
            self._last_heartbeat_s = received_s

    def _is_autopilot(self, heartbeat: Any) -> bool:
        if heartbeat.autopilot == self.dialect.MAV_AUTOPILOT_INVALID:
            return False
        wanted = self.config.target_system
        return wanted is None or heartbeat.get_srcSystem() == wanted

    # The clock

    def _take_timesync(self, message: Any, received_s: float) -> None:
        if message.tc1 == 0:
            self._answer_timesync(message)
        else:
            self._clock.take_answer(message, received_s)

    def _answer_timesync(self, request: Any) -> None:
        """Answer in the autopilot's own time.

        An autopilot that converts stamps by its own estimate of this clock then finds no
        offset, and leaves stamps that are already in its time as they are.
        """
        now_us = self.autopilot_time_us(time.monotonic()) if self.config.timesync else None
        if now_us is not None:
            self.send(self.dialect.MAVLink_timesync_message(now_us * 1000, request.ts1))

    def _send_what_is_due(self, now_s: float) -> None:
        if now_s - self._last_own_heartbeat_s >= _HEARTBEAT_S + _POLL_S:
            self._last_own_heartbeat_s = now_s
            self.send(self.heartbeat())
        if self._target is None or not self.config.timesync:
            return
        sent_ns = self._clock.request_due(now_s)
        if sent_ns is not None:
            self.send(self.dialect.MAVLink_timesync_message(0, sent_ns))

    def heartbeat(self) -> Any:
        """The heartbeat of an onboard computer that is running."""
        dialect = self.dialect
        return dialect.MAVLink_heartbeat_message(
            dialect.MAV_TYPE_ONBOARD_CONTROLLER,
            dialect.MAV_AUTOPILOT_INVALID,
            0,
            0,
            dialect.MAV_STATE_ACTIVE,
            3,
        )

    def _count(self, name: str) -> None:
        with self._count_lock:
            self._counts[name] += 1


def _is_unknown(message: Any) -> bool:
    """Whether the codec does not know the message: neither checksum nor signature was checked."""
    return str(message.get_type()).startswith("UNKNOWN")


def open_link(config: MavlinkConfig) -> MavlinkLink:
    """Open the link; a line that cannot be opened yet is tried again for as long as it takes.

    Raises:
        ConfigError: If the settings cannot be used, or pymavlink is not installed.
    """
    link = MavlinkLink(config)
    link.start()
    return link
