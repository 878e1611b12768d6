"""A drone for end-to-end tests: its camera over RTP, its autopilot over MAVLink, faults on demand.

It plays a generated flight. The camera is a real GStreamer pipeline, the autopilot a double made
of pymavlink: no flight code runs in it.
"""

from __future__ import annotations

import csv
import importlib.util
import itertools
import select
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.waiting import PATIENCE_S

NEEDED = [
    pytest.mark.skipif(
        importlib.util.find_spec("gi") is None,
        reason="the simulated camera needs GStreamer's Python bindings (PyGObject)",
    ),
    pytest.mark.skipif(
        importlib.util.find_spec("pymavlink") is None, reason="the autopilot needs pymavlink"
    ),
]
"""Skips tests where the simulated aircraft cannot fly."""
FAR_AWAY_DEG = (-33.0, 151.0)
"""What the autopilot says of its own position: a spoofed receiver's."""
_ATTITUDE_HZ = 50.0
_BRAKING, _SPEEDING_UP = 0.8, 1.03


@dataclass(frozen=True)
class Shot:
    """A frame as it was exposed."""

    exposed_s: float
    """On `time.monotonic()`."""
    frame: str
    """Its name in the flight, by which the truth is known."""
    as_usual: bool
    """Whether the picture was the flight's, no fault's."""


class FlightPlan:
    """The frames of a flight in a folder, and what the aircraft's sensors say at each moment."""

    def __init__(self, folder: Path, speed_up: float = 1.0, start_s: float = 0.0) -> None:
        with (folder / "frames.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        times = np.array([float(row["time_s"]) for row in rows])
        kept = times >= start_s
        self.frames = [row["frame"] for row, keep in zip(rows, kept, strict=True) if keep]
        self.pictures = [(folder / "frames" / name).read_bytes() for name in self.frames]
        self.times_s = (times[kept] - times[kept][0]) / speed_up
        self._heights_m = np.array([float(row["height_above_takeoff_m"]) for row in rows])[kept]
        headings = np.array([float(row["heading_deg"]) for row in rows])[kept]
        self._headings_deg = np.degrees(np.unwrap(np.radians(headings)))

    @property
    def length_s(self) -> float:
        """How long the flight takes."""
        return float(self.times_s[-1])

    def height_m(self, time_s: float) -> float:
        """Height above take-off."""
        return float(np.interp(time_s, self.times_s, self._heights_m))

    def heading_deg(self, time_s: float) -> float:
        """Heading, clockwise from north."""
        return float(np.interp(time_s, self.times_s, self._headings_deg)) % 360.0


class FlightTime:
    """Seconds of a flight that have passed: as many as on the clock, or fewer."""

    def __init__(self, started_s: float | None = None) -> None:
        self._guard = threading.Lock()
        self._since_s = time.monotonic() if started_s is None else started_s
        self._flown_s = 0.0
        self._rate = 1.0

    @property
    def now_s(self) -> float:
        """How long the aircraft has flown."""
        with self._guard:
            return self._flown_s + self._rate * (time.monotonic() - self._since_s)

    @property
    def rate(self) -> float:
        """Seconds of the flight in one of the clock."""
        return self._rate

    def change_rate(self, factor: float) -> None:
        """Fly on slower or faster, within a tenth of the flight's own speed and all of it."""
        with self._guard:
            now_s = time.monotonic()
            self._flown_s += self._rate * (now_s - self._since_s)
            self._since_s = now_s
            self._rate = min(1.0, max(0.1, self._rate * factor))


class SimulatedCamera:
    """Sends the flight's JPEGs by RTP as they are due; `picture` chooses a fault.

    Args:
        progress: What changes with every frame that has been flown. Where the last frame has not
            been yet when the next is due, the aircraft slows down: a busy machine flies slower.
    """

    def __init__(
        self, plan: FlightPlan, port: int, progress: Callable[[], object] | None = None
    ) -> None:
        import gi

        gi.require_version("Gst", "1.0")
        gi.require_version("GstApp", "1.0")
        from gi.repository import Gst

        Gst.init(None)
        self._gst: Any = Gst
        self._plan = plan
        self._port = port
        self.progress = progress
        self.picture = "usual"
        """usual, stuck, black, white, blurred or none."""
        self.shots: list[Shot] = []
        height, width = cv2.imdecode(np.frombuffer(plan.pictures[0], np.uint8), 1).shape[:2]
        self._pipeline = Gst.parse_launch(
            "appsrc name=camera is-live=true do-timestamp=true format=time "
            f"caps=image/jpeg,width={width},height={height},framerate=0/1 "
            f"! rtpjpegpay ! udpsink host=127.0.0.1 port={port} sync=false"
        )
        self._source = self._pipeline.get_by_name("camera")
        self._shape = (height, width)

    def play(self, flown: FlightTime, stop: threading.Event) -> None:
        """Send every frame when it is due, until the flight ends."""
        self._pipeline.set_state(self._gst.State.PLAYING)
        last, seen = b"", None
        numbers = zip(self._plan.times_s, self._plan.frames, self._plan.pictures, strict=True)
        for due_s, name, usual in numbers:
            while (left_s := (due_s - flown.now_s) / flown.rate) > 0.0 and not stop.wait(left_s):
                pass
            if stop.is_set():
                break
            how = self.picture
            if seen is not None and self.progress is not None and how not in ("none", "stuck"):
                flown.change_rate(_BRAKING if self.progress() == seen else _SPEEDING_UP)
            if how == "none":
                continue
            last = last if how == "stuck" and last else self._faulty(usual, how)
            seen = None if self.progress is None else self.progress()
            self.shots.append(Shot(time.monotonic(), name, how == "usual"))
            self._source.emit("push-buffer", self._gst.Buffer.new_wrapped(last))
        self._pipeline.set_state(self._gst.State.NULL)

    def _faulty(self, usual: bytes, how: str) -> bytes:
        if how == "usual":
            return usual
        picture = cv2.imdecode(np.frombuffer(usual, np.uint8), cv2.IMREAD_COLOR)
        if how == "blurred":
            picture = cv2.GaussianBlur(picture, (0, 0), 25)
        else:
            # With a camera's noise: no two pictures are the same, or it would count as stuck.
            noise = np.random.default_rng(len(self.shots)).integers(0, 4, picture.shape, np.uint8)
            picture = {"black": noise, "white": 255 - noise}[how]
        return bytes(cv2.imencode(".jpg", picture)[1])


class SimulatedAutopilot:
    """Heartbeat, attitude, heights, TIMESYNC; hears what the companion computer sends."""

    def __init__(self, plan: FlightPlan, port: int) -> None:
        from pymavlink import mavutil

        self._mavlink: Any = mavutil.mavlink
        self._plan = plan
        self._line = mavutil.mavlink_connection(
            f"udpout:127.0.0.1:{port}", source_system=1, source_component=1, dialect="common"
        )
        self._speaking = threading.Lock()
        self.booted_s = time.monotonic() - 1000.0
        self.sends_telemetry = True
        self.heard: Counter[str] = Counter()
        self.messages: list[tuple[float, Any]] = []
        self.texts: list[str] = []

    def reboot(self) -> None:
        """Begin again with a boot clock at zero."""
        self.booted_s = time.monotonic()

    def play(self, flown: FlightTime, stop: threading.Event) -> None:
        """Send telemetry at its rates until told to stop."""
        listener = threading.Thread(target=self._listen, args=(stop,), daemon=True)
        listener.start()
        started_s = time.monotonic()
        for tick in itertools.count():
            if stop.wait(max(0.0, started_s + tick / _ATTITUDE_HZ - time.monotonic())):
                break
            if self.sends_telemetry:
                with self._speaking:
                    self._send(tick, time.monotonic(), max(0.0, flown.now_s))
        listener.join()

    def close(self) -> None:
        """Release the line."""
        self._line.close()

    def _send(self, tick: int, now_s: float, flight_s: float) -> None:
        boot_ms = round((now_s - self.booted_s) * 1e3)
        heading_rad = np.radians((self._plan.heading_deg(flight_s) + 180.0) % 360.0 - 180.0)
        mav, mavlink = self._line.mav, self._mavlink
        mav.attitude_send(boot_ms, 0.0, 0.0, float(heading_rad), 0.0, 0.0, 0.0)
        if tick % 5 == 0:
            height_mm = round(1e3 * self._plan.height_m(flight_s))
            latitude_deg, longitude_deg = FAR_AWAY_DEG
            place = (round(latitude_deg * 1e7), round(longitude_deg * 1e7))
            mav.global_position_int_send(boot_ms, *place, height_mm, height_mm, 0, 0, 0, 65535)
        if tick % 50 == 0:
            mav.heartbeat_send(
                mavlink.MAV_TYPE_QUADROTOR,
                mavlink.MAV_AUTOPILOT_PX4,
                mavlink.MAV_MODE_FLAG_SAFETY_ARMED,
                0,
                mavlink.MAV_STATE_ACTIVE,
            )

    def _listen(self, stop: threading.Event) -> None:
        """Take every message as it comes: an autopilot's clock is known by prompt answers."""
        while not stop.is_set():
            if not select.select([self._line.port], [], [], 0.1)[0]:
                continue
            with self._speaking:
                while (message := self._line.recv_match(blocking=False)) is not None:
                    self._hear(message)

    def _hear(self, message: Any) -> None:
        kind = message.get_type()
        self.heard[kind] += 1
        if kind == "TIMESYNC" and message.tc1 == 0:
            now_ns = round((time.monotonic() - self.booted_s) * 1e9)
            self._line.mav.timesync_send(now_ns, message.ts1)
        elif kind == "STATUSTEXT":
            self.texts.append(message.text)
        elif kind not in ("TIMESYNC", "HEARTBEAT"):
            self.messages.append((time.monotonic(), message))


class SimulatedAircraft:
    """Camera and autopilot of one flight, each in a thread of its own."""

    def __init__(
        self,
        flight: Path,
        rtp_port: int,
        mavlink_port: int,
        speed_up: float,
        start_s: float = 0.0,
        progress: Callable[[], object] | None = None,
    ) -> None:
        self.plan = FlightPlan(flight, speed_up, start_s)
        self.camera = SimulatedCamera(self.plan, rtp_port, progress)
        self.autopilot = SimulatedAutopilot(self.plan, mavlink_port)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def take_off(self) -> None:
        """Begin the flight."""
        flown = FlightTime()
        for play in (self.camera.play, self.autopilot.play):
            thread = threading.Thread(target=play, args=(flown, self._stop), daemon=True)
            thread.start()
            self._threads.append(thread)

    def wait(self, timeout_s: float) -> None:
        """Until the last frame was sent."""
        self._threads[0].join(timeout_s)

    def land(self) -> None:
        """End the flight, wherever it is."""
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self.autopilot.close()
