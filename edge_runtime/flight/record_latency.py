"""How long a flight's fixes took: percentiles kept in bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from edge_runtime.contract.fix import Fix

_BIN_RATIO = 1.01
_SHORTEST_MS = 1e-3
_PERCENTILES = (50, 99)


class LatencyBins:
    """Percentiles of times, right within half a percent, however long the flight.

    A time is counted in a bin 1 % wide: some 2,300 of them reach from a microsecond to hours.
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._longest_ms = 0.0

    def add(self, milliseconds: float) -> None:
        """Count a time; what is shorter than a microsecond counts as one."""
        time_ms = max(milliseconds, _SHORTEST_MS)
        self._counts[math.floor(math.log(time_ms, _BIN_RATIO))] += 1
        self._longest_ms = max(self._longest_ms, time_ms)

    def figures(self) -> dict[str, float]:
        """How many times were counted, their percentiles, and the longest of them."""
        count = self._counts.total()
        percentiles = {
            f"p{p}_ms": round(self._nearest_ms(p * count / 100), 2) for p in _PERCENTILES
        }
        return {"count": count, **percentiles, "longest_ms": round(self._longest_ms, 2)}

    def _nearest_ms(self, rank: float) -> float:
        """The bin's middle where so many times are reached."""
        reached = 0
        for number in sorted(self._counts):
            reached += self._counts[number]
            if reached >= rank:
                return float(min(_BIN_RATIO ** (number + 0.5), self._longest_ms))
        return self._longest_ms


class FlightLatency:
    """The times of a flight's fixes, of those made of a frame."""

    def __init__(self, fixes: Iterable[Fix] = ()) -> None:
        self._bins: dict[str, LatencyBins] = {}
        for fix in fixes:
            self.add(fix)

    def add(self, fix: Fix) -> None:
        """Count a fix; one that tells of a silence has no latency of a view."""
        if not fix.frame:
            return
        if fix.latency_ms is not None:
            self._add("exposure_to_output", fix.latency_ms)
        if fix.stage_ms:
            self._add("processing", sum(fix.stage_ms.values()))
        if "encode" in fix.stage_ms:
            self._add("engine", fix.stage_ms["encode"])

    def figures(self) -> dict[str, dict[str, float]]:
        """Count, `p50_ms`, `p99_ms` and `longest_ms` of each kind of time that was seen.

        `exposure_to_output` is of live flights alone, `processing` is all of the localiser's own
        stages, `engine` the encoder in the frames that were encoded.
        """
        return {name: bins.figures() for name, bins in self._bins.items()}

    def _add(self, name: str, milliseconds: float) -> None:
        if name not in self._bins:
            self._bins[name] = LatencyBins()
        self._bins[name].add(milliseconds)
