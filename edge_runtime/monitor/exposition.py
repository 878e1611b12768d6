"""Prometheus' text format 0.0.4, written; and the histogram that it knows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """Counts of observations up to each bound, and their sum.

    Args:
        bounds: Upper bounds, growing; a last one of infinity is implied.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value; a bound itself belongs to its bucket."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Exposition:
    """Families of samples, in the order in which they are told."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: str, explanation: str) -> None:
        """Begin a family: counter, gauge, histogram or untyped."""
        self._lines.append(f"# HELP {name} {_escaped(explanation, quotes=False)}")
        self._lines.append(f"# TYPE {name} {kind}")

    def sample(self, name: str, value: float, labels: Mapping[str, str] | None = None) -> None:
        """One value of the family that was begun last."""
        self._lines.append(f"{name}{_labelled(labels or {})} {_number(value)}")

    def single(self, name: str, kind: str, explanation: str, value: float | None) -> None:
        """A family of one value without labels; nothing at all where there is no value."""
        if value is not None:
            self.family(name, kind, explanation)
            self.sample(name, value)

    def histogram(
        self, name: str, histogram: Histogram, labels: Mapping[str, str] | None = None
    ) -> None:
        """All samples of a histogram within the family that was begun last."""
        so_far = 0
        given = dict(labels or {})
        for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            so_far += count
            self.sample(f"{name}_bucket", so_far, {**given, "le": _number(bound)})
        self.sample(f"{name}_sum", histogram.total, given)
        self.sample(f"{name}_count", so_far, given)

    def text(self) -> str:
        """Everything told so far."""
        return "".join(f"{line}\n" for line in self._lines)


def _labelled(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(value, quotes=True)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str, *, quotes: bool) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quotes else escaped


def _number(value: float) -> str:
    if value != value:  # NaN
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
