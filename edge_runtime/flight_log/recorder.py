"""Records a flight: takes everything at once, writes it in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.contract.errors import SourceError
from edge_runtime.contract.fix import Fix
from edge_runtime.flight_log import channels
from edge_runtime.flight_log.clock import ClockAnchor
from edge_runtime.flight_log.compressed_image import encode_compressed_image
from edge_runtime.flight_log.config import FlightLogConfig
from edge_runtime.flight_log.header import FlightHeader, header_as_plain
from edge_runtime.flight_log.pending import Pending, PendingQueue
from edge_runtime.flight_log.pictures import encode_jpeg, picture_kind
from edge_runtime.flight_log.plain_values import to_plain
from edge_runtime.flight_log.rotation import RotatingLog
from edge_runtime.localize.camera import PinholeCamera
from edge_runtime.outputs.output import SentMessage
from edge_runtime.sources.decoding import decode_picture
from edge_runtime.sources.frame import Frame
from edge_runtime.telemetry.log import TelemetrySample

_LOG = logging.getLogger(__name__)

_MOST_ENTRIES = 4096
_MOST_BYTES = 64 << 20
_TICK_S = 0.25
_CLOCK_S = 10.0
_LONGEST_CLOSE_S = 20.0


@dataclass(frozen=True)
class RecorderCounters:
    """What became of what a flight gave to its log."""

    written: int
    """Messages written."""
    dropped: int
    """Entries that are not in the log: the disk was too slow, too full or broken."""
    dropped_pictures: int
    """Frames logged without their picture, for the same reasons."""
    megabytes: float
    """Size of the log until now, 10^6 bytes."""
    fault: str
    """Why nothing is written at present; empty while the log goes on."""


class FlightRecorder:
    """The log of one flight. Its methods never raise for the disk, and never wait in a live flight.

    A recording is flown as fast as the log can be written: there the methods wait instead.
    All methods may be called from any thread.

    Args:
        folder: The flight's directory, which exists; files log-0001.mcap, ... are written there.
        header: What flies.
        replayed: Whether a flight is flown again: its times are then its own.
        clock: The clock of a flight that is flown again, where it had one.
    """

    def __init__(
        self,
        folder: Path,
        config: FlightLogConfig,
        header: FlightHeader,
        *,
        replayed: bool = False,
        clock: ClockAnchor | None = None,
    ) -> None:
        self._config = config
        self._is_live = header.is_live and not replayed
        if self._is_live:
            clock = ClockAnchor(time.monotonic(), time.time())
        self._clock = clock
        self._unix_minus_clock_s = 0.0 if clock is None else clock.difference_s
        self._queue = PendingQueue(_MOST_ENTRIES, _MOST_BYTES)
        self._last_time_s = 0.0
        self._files = RotatingLog(
            folder, config, header_as_plain(header), self._time_ns(self._now_s())
        )
        self._counting = threading.Lock()
        self._dropped = self._dropped_pictures = 0
        self._announced_drops = 0
        self._sequence = 0
        self._last_picture_s = float("-inf")
        self._codes_again: bool | None = None
        self._next_clock_s = time.monotonic() + _CLOCK_S
        self._thread = threading.Thread(target=self._work, name="flight-log", daemon=True)
        self._thread.start()

    def as_logged(self, frame: Frame) -> Frame:
        """The frame whose picture is what the log will hold: fly this one.

        A frame that its source decoded from coded bytes comes back as it is, if decoding these
        bytes gives the same picture here (checked on the first); any other is coded as JPEG and
        decoded again. Where the log keeps no pictures, or not all, frames come back as they are.
        """
        if frame.image is None or self._config.pictures == "none" or self._config.pictures_per_s:
            return frame
        if frame.encoded is not None:
            if self._codes_again is None:
                same = decode_picture(frame.encoded)
                self._codes_again = same is None or not np.array_equal(same, frame.image)
            if not self._codes_again:
                return frame
            again = decode_picture(frame.encoded)
            if again is not None:
                return replace(frame, image=again)
        try:
            encoded = encode_jpeg(frame.image, self._config.jpeg_quality)
        except SourceError as error:
            self.event(f"frame {frame.name}: {error}", "warning")
            return frame
        return replace(frame, image=decode_picture(encoded), encoded=encoded)

    def camera(self, camera: PinholeCamera) -> None:
        """The camera that the localiser is given; once, before the first frame that is flown."""
        content = channels.values_content(to_plain(camera))
        at_s = self._now_s()
        self._put(lambda: self._files.begin_with_camera(self._time_ns(at_s), content))

    def frame(self, frame: Frame, sample: TelemetrySample | None) -> None:
        """A frame with the telemetry that it is flown with; None if it is not flown."""
        time_s = frame.time_s if sample is None else sample.time_s
        if time_s is not None and np.isfinite(time_s):
            self._last_time_s = time_s
        sequence, self._sequence = self._sequence, self._sequence + 1
        at_s = self._now_s() if time_s is None else time_s
        picture: Any = None
        status = "none"
        if frame.image is None and frame.encoded is None:
            status = "undecodable"
        elif self._keeps_picture(at_s):
            picture = frame.image if frame.encoded is None else frame.encoded
            status = "coded by the log" if frame.encoded is None else channels.AS_FLOWN

        def write() -> None:
            kept = status
            if picture is not None and self._files.keeps_pictures:
                coded = picture if isinstance(picture, bytes) else self._coded(picture)
                kind = picture_kind(coded)
                content = encode_compressed_image(
                    self._time_ns(at_s), channels.CAMERA_FRAME, coded, kind
                )
                self._add(channels.IMAGE, at_s, content, sequence)
            elif picture is not None:
                kept = "dropped"
                self._count_dropped_picture()
            told = channels.frame_content(frame_name, number, frame_time_s, kept, sample)
            self._add(channels.FRAME, at_s, told, sequence)

        def write_without() -> None:
            told = channels.frame_content(frame_name, number, frame_time_s, "dropped", sample)
            self._add(channels.FRAME, at_s, told, sequence)

        frame_name, number, frame_time_s = frame.name, frame.number, frame.time_s
        size_bytes = 0
        if picture is not None:
            size_bytes = len(picture) if isinstance(picture, bytes) else picture.nbytes
        entry = Pending(write, size_bytes)
        if self._queue.put(entry, wait=not self._is_live):
            return
        if picture is not None:
            self._count_dropped_picture()
        self._put(write_without)

    def fix(self, fix: Fix) -> None:
        """A fix, published or not."""

        def write() -> None:
            self._add(channels.FIX, fix.time_s, channels.fix_content(fix))
            position = channels.position_content(fix, self._time_ns(fix.time_s))
            if position is not None:
                self._add(channels.POSITION, fix.time_s, position)

        self._put(write)

    def decision(self, fix: Fix, values: Mapping[str, Any]) -> None:
        """What the localiser weighed for a fix, of `decision_of`; nothing if it weighed nothing."""
        if values:
            content = channels.values_content({"frame": fix.frame, **values})
            self._put(lambda: self._add(channels.DECISION, fix.time_s, content))

    def sent(self, messages: Iterable[SentMessage]) -> None:
        """Messages as they left."""
        for message in messages:
            self._put(lambda message=message: self._write_sent(message))

    def event(self, text: str, level: str = "info") -> None:
        """News for people: a change of state, a loss, a return. Level info, warning or error."""
        at_s = self._now_s()
        self._put(lambda: self._write_event(text, level, at_s))

    def counters_now(self, values: Mapping[str, Any]) -> None:
        """Counts of the flight's parts, plain JSON values; once a second or so."""
        at_s, content = self._now_s(), channels.values_content(to_plain(dict(values)))
        self._put(lambda: self._add(channels.COUNTERS, at_s, content))

    @property
    def counters(self) -> RecorderCounters:
        """Counts since the start."""
        with self._counting:
            return RecorderCounters(
                self._files.written,
                self._dropped + self._files.lost,
                self._dropped_pictures,
                self._files.total_bytes / 1e6,
                self._files.fault,
            )

    def close(self) -> None:
        """Write what is left and finish the last file; a disk that hangs is not waited for long."""
        self._queue.close()
        self._thread.join(_LONGEST_CLOSE_S)
        if self._thread.is_alive():
            _LOG.warning("the flight log is given up: the disk takes nothing more")

    def _work(self) -> None:
        try:
            self._files.start()
            if self._clock is not None:
                self._write_clock(self._clock)
            while not self._queue.is_finished:
                entry = self._queue.get(_TICK_S)
                if entry is not None:
                    entry.work()
                self._tick()
            self._files.finish()
        except Exception as error:  # noqa: BLE001 - a flight goes on without its log
            self._queue.close()
            self._files.give_up(f"{type(error).__name__}: {error}")

    def _tick(self) -> None:
        now_s = time.monotonic()
        if self._is_live and now_s >= self._next_clock_s:
            self._next_clock_s = now_s + _CLOCK_S
            self._write_clock(ClockAnchor(now_s, time.time()))
        with self._counting:
            dropped, announced = self._dropped, self._announced_drops
            self._announced_drops = dropped
        if dropped > announced:
            text = f"{dropped - announced} entries are not in the log: the disk was too slow"
            self._write_event(text, "warning", self._now_s())
            if not announced:
                _LOG.warning("%s", text)
        self._files.tick(now_s)

    def _put(self, work: Any) -> None:
        if not self._queue.put(Pending(work, 0), wait=not self._is_live):
            with self._counting:
                self._dropped += 1

    def _add(self, topic: channels.Topic, time_s: float, content: bytes, sequence: int = 0) -> None:
        self._files.add(topic, self._time_ns(time_s), content, sequence)

    def _write_sent(self, message: SentMessage) -> None:
        time_s = message.time_s if self._is_live else self._last_time_s
        self._add(channels.SENT, time_s, channels.sent_content(message))

    def _write_event(self, text: str, level: str, at_s: float) -> None:
        content = channels.event_content(text, level, self._time_ns(at_s))
        self._add(channels.EVENT, at_s, content)

    def _write_clock(self, anchor: ClockAnchor) -> None:
        self._add(channels.CLOCK, anchor.monotonic_s, channels.values_content(asdict(anchor)))

    def _coded(self, image: Any) -> bytes:
        return encode_jpeg(image, self._config.jpeg_quality)

    def _keeps_picture(self, time_s: float) -> bool:
        if self._config.pictures == "none":
            return False
        if self._config.pictures_per_s:
            if 0.0 <= time_s - self._last_picture_s < 1.0 / self._config.pictures_per_s:
                return False
            self._last_picture_s = time_s
        return True

    def _count_dropped_picture(self) -> None:
        with self._counting:
            self._dropped_pictures += 1

    def _now_s(self) -> float:
        """Now, on the flight's clock."""
        return time.monotonic() if self._is_live else self._last_time_s

    def _time_ns(self, time_s: float) -> int:
        """The flight's clock as MCAP's: since 1970 in a live flight, as anchored at its start."""
        if not np.isfinite(time_s):
            return 0
        return max(0, round((time_s + self._unix_minus_clock_s) * 1e9))
