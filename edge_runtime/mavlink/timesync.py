"""The autopilot's clock seen from this one: a filter over TIMESYNC's round trips."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

_WINDOW = 64
_FEWEST = 4
_SETTLED = 16
_LONGEST_ROUND_TRIP_NS = 1_000_000_000
_JUMP_MARGIN_NS = 3_000_000
_JUMP_SAMPLES = 3
_LARGEST_DRIFT = 2e-4
_DRIFT_SPAN_NS = 5_000_000_000
_SILENCE_NS = 60_000_000_000


@dataclass(frozen=True)
class _Exchange:
    middle_ns: int
    offset_ns: int
    half_trip_ns: float


class TimesyncFilter:
    """Follows the offset from this clock to the autopilot's.

    A request that left at `sent` and whose answer came at `received` was stamped in between, so
    each exchange bounds the offset by half its round trip. The shortest round trips of the last
    minute count, with a line through them for the clocks' drift; an exchange that contradicts
    the line by more than its own bound is an outlier, three in a row are a jump, and a clock
    that went back is one at once.
    """

    def __init__(self) -> None:
        self._exchanges: deque[_Exchange] = deque(maxlen=_WINDOW)
        self._suspects: list[_Exchange] = []
        self._newest_remote_ns: int | None = None
        self._line: tuple[int, float, float] | None = None
        self.outliers = 0
        self.resets = 0

    @property
    def is_synced(self) -> bool:
        """Whether enough exchanges agree."""
        return self._line is not None

    @property
    def is_settled(self) -> bool:
        """Whether there are enough exchanges to choose the short ones among them."""
        return len(self._exchanges) >= _SETTLED

    @property
    def drift(self) -> float:
        """Seconds that the autopilot's clock gains in a second."""
        return 0.0 if self._line is None else self._line[2]

    def take(self, sent_ns: int, received_ns: int, remote_ns: int) -> None:
        """One exchange: this clock at both ends, the autopilot's in between."""
        trip_ns = received_ns - sent_ns
        if not 0 <= trip_ns <= _LONGEST_ROUND_TRIP_NS or remote_ns <= 0:
            self.outliers += 1
            return
        middle_ns = sent_ns + trip_ns // 2
        exchange = _Exchange(middle_ns, remote_ns - middle_ns, trip_ns / 2)
        self.follow_restart(remote_ns)
        if self._contradicts(exchange):
            self._suspects.append(exchange)
            self.outliers += 1
            if len(self._suspects) < _JUMP_SAMPLES:
                return
            suspects = self._suspects
            self.reset()
            self._exchanges.extend(suspects)
        else:
            self._suspects = []
            self._exchanges.append(exchange)
        self._newest_remote_ns = remote_ns
        self._fit()

    def follow_restart(self, remote_ns: int) -> None:
        """Forget the exchanges if the autopilot's clock, now seen at this time, was past it."""
        newest = self._newest_remote_ns
        if newest is not None and remote_ns < newest - _LONGEST_ROUND_TRIP_NS:
            self.reset()

    def reset(self) -> None:
        """Forget everything: it is another clock now."""
        self.resets += bool(self._exchanges)
        self._exchanges.clear()
        self._suspects = []
        self._newest_remote_ns = None
        self._line = None

    def remote_ns(self, local_ns: int) -> int | None:
        """The autopilot's clock at a moment of this one; None if unsynced or long silent."""
        line = self._line
        if line is None or local_ns - self._exchanges[-1].middle_ns > _SILENCE_NS:
            return None
        return local_ns + self._offset_ns(line, local_ns)

    def local_ns(self, remote_ns: int) -> int | None:
        """This clock at a moment of the autopilot's; None if unsynced or long silent."""
        line = self._line
        if line is None:
            return None
        guess_ns = remote_ns - int(line[1])
        local_ns = remote_ns - self._offset_ns(line, guess_ns)
        return None if local_ns - self._exchanges[-1].middle_ns > _SILENCE_NS else local_ns

    @staticmethod
    def _offset_ns(line: tuple[int, float, float], local_ns: int) -> int:
        origin_ns, offset_ns, drift = line
        return round(offset_ns + drift * (local_ns - origin_ns))

    def _contradicts(self, exchange: _Exchange) -> bool:
        if self._line is None:
            return False
        error_ns = exchange.offset_ns - self._offset_ns(self._line, exchange.middle_ns)
        return abs(error_ns) > exchange.half_trip_ns + _JUMP_MARGIN_NS

    def _fit(self) -> None:
        exchanges = self._exchanges
        if len(exchanges) < _FEWEST:
            return
        half_trips = np.array([exchange.half_trip_ns for exchange in exchanges])
        kept = np.argsort(half_trips, kind="stable")[: max(_FEWEST, len(exchanges) // 4)]
        origin_ns = exchanges[-1].middle_ns
        base_ns = exchanges[-1].offset_ns
        times = np.array([exchanges[int(i)].middle_ns - origin_ns for i in kept], np.float64)
        offsets = np.array([exchanges[int(i)].offset_ns - base_ns for i in kept], np.float64)
        weights = 1.0 / (half_trips[kept] + 1e4)
        weights /= weights.sum()
        mean_time, mean_offset = float(weights @ times), float(weights @ offsets)
        drift = 0.0
        if np.ptp(times) >= _DRIFT_SPAN_NS:
            deviation = times - mean_time
            slope = float(weights @ (deviation * (offsets - mean_offset)))
            drift = slope / float(weights @ deviation**2)
            drift = float(np.clip(drift, -_LARGEST_DRIFT, _LARGEST_DRIFT))
        self._line = (origin_ns, base_ns + mean_offset - drift * mean_time, drift)
