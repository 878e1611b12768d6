"""The search for the angles at which views agree best with the map: a grid, then parabolas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product as every

import numpy as np

from edge_runtime.localize.camera import FloatArray, PinholeCamera
from edge_runtime.mount_calibration.agreement import CalibrationView, MapAgreement, Turn
from edge_runtime.mount_calibration.result import MountCalibration, Offset
from edge_runtime.mounting import GIMBAL, Mounting
from edge_runtime.telemetry.orientation import product, quaternion_of_angles

_NEAR_NADIR_DEG = -75.0
_RESAMPLES = 200
_FLAT_SHARE = 0.05
_STEP_SHARES = (1.0, 1.0, 2.0)  # a roll changes views less than heading and pitch do


class MountSearch:
    """Turns (heading, pitch, lean) in degrees; lean is a roll, or sideways where it looks down."""

    def __init__(
        self,
        agreement: MapAgreement,
        views: Sequence[CalibrationView],
        levels: Sequence[int],
        mounting: Mounting,
        tell: Callable[[], object] = lambda: None,
    ) -> None:
        self._agreement, self._views, self._levels = agreement, views, levels
        self._tell = tell
        self._mounting = mounting
        pitch_deg = float(np.median([view.sample.pitch_deg for view in views]))
        self._looks_down = pitch_deg < _NEAR_NADIR_DEG
        self._known: dict[tuple[float, float, float], FloatArray] = {}
        self._deviations_deg = np.full(3, np.inf)

    @property
    def _axes(self) -> tuple[int, ...]:
        """A gimbal that looks down has no angle of its own for a lean to the side."""
        return (0, 1) if self._looks_down and self._mounting.kind == GIMBAL else (0, 1, 2)

    def turn(self, offsets: tuple[float, float, float]) -> Turn:
        """The turn of the camera that offsets are."""
        heading = quaternion_of_angles(offsets[0], 0.0, 0.0)
        tilt = self._tilt(offsets)
        return lambda quaternion: product(heading, product(quaternion, tilt))

    def _tilt(self, offsets: tuple[float, float, float]) -> FloatArray:
        _, pitch_deg, lean_deg = offsets
        if self._looks_down:
            return quaternion_of_angles(lean_deg, pitch_deg, 0.0)
        return quaternion_of_angles(0.0, pitch_deg, lean_deg)

    def _scores(self, offsets: tuple[float, float, float]) -> FloatArray:
        if offsets not in self._known:
            self._tell()
            turn = self.turn(offsets)
            self._known[offsets] = self._agreement.scores(self._views, self._levels, turn)
        return self._known[offsets]

    def agreement(self, offsets: tuple[float, float, float]) -> float:
        """How well all views agree with the map, in mean standard deviations above chance."""
        return float(self._scores(offsets).mean())

    def coarse(
        self, heading_range_deg: float, pitch_range_deg: float
    ) -> tuple[float, float, float]:
        """The best of a grid, by a quarter of the views."""
        some = slice(None, None, 4)
        views, levels = self._views[some], self._levels[some]

        def score(place: tuple[float, float]) -> float:
            self._tell()
            turn = self.turn((*place, 0.0))
            return float(self._agreement.scores(views, levels, turn).mean())

        headings, pitches = _grid(heading_range_deg), _grid(pitch_range_deg)
        heading_deg, pitch_deg = max(every(headings, pitches), key=score)
        return heading_deg, pitch_deg, 0.0

    @staticmethod
    def steps_deg(rounds: int, *, is_slack: bool) -> list[float]:
        """Steps of rounds of refinement, shrinking as far as positions can tell.

        Args:
            is_slack: Whether positions are known to about a footprint only.
        """
        least_deg = 6.0 if is_slack else 3.0
        return [max(6.0 - 1.5 * number, least_deg) for number in range(rounds)]

    def refine(
        self, best: tuple[float, float, float], step_deg: float
    ) -> tuple[float, float, float]:
        """To the top of a parabola through three points of each axis."""
        middle = self._scores(best)
        sides = {
            axis: [
                self._scores(_moved(best, axis, sign * step_deg * _STEP_SHARES[axis]))
                for sign in (-1.0, 1.0)
            ]
            for axis in self._axes
        }
        random = np.random.default_rng(0)
        chosen = random.integers(0, len(middle), (_RESAMPLES, len(middle)))
        moved = best
        for axis, (below, above) in sides.items():
            axis_step_deg = step_deg * _STEP_SHARES[axis]
            means = (below.mean(), middle.mean(), above.mean())
            moved = _moved(moved, axis, axis_step_deg * _top(*means, farthest=1.0))
            resampled = [(below[r].mean(), middle[r].mean(), above[r].mean()) for r in chosen]
            flat = np.mean([low - 2.0 * mid + high >= 0.0 for low, mid, high in resampled])
            spread = np.std([_top(*three, farthest=3.0) for three in resampled])
            is_flat = flat > _FLAT_SHARE
            self._deviations_deg[axis] = np.inf if is_flat else axis_step_deg * float(spread)
        return moved

    def result(
        self,
        best: tuple[float, float, float],
        before: float,
        after: float,
        camera: PinholeCamera,
        positions_are_true: bool,
    ) -> MountCalibration:
        """What was found, and how well it is determined.

        Args:
            best: The offsets found.
            before: Agreement without any.
            after: Agreement with these.
            camera: What the pictures are taken for.
            positions_are_true: Whether positions are others than the flight's own fixes.
        """
        names = ("heading", "pitch", "lean" if self._looks_down else "roll")
        offsets = tuple(
            Offset(name, float(degrees), float(deviation))
            for name, degrees, deviation in zip(names, best, self._deviations_deg, strict=True)
        )
        kept = tuple(offset.degrees if offset.is_determined else 0.0 for offset in offsets)
        return MountCalibration(
            offsets,
            self._corrected((kept[0], kept[1], kept[2])),
            camera,
            len(self._views),
            before,
            after,
            positions_are_true,
        )

    def _corrected(self, offsets: tuple[float, float, float]) -> Mounting:
        if self._mounting.kind == GIMBAL:
            return self._mounting.corrected(*offsets)
        return self._mounting.turned(self.turn(offsets))


def tries_of(heading_range_deg: float, pitch_range_deg: float, rounds: int) -> int:
    """How many turns a coarse search and so many rounds of refinement try at most."""
    coarse = len(_grid(heading_range_deg)) * len(_grid(pitch_range_deg))
    return coarse + 2 + 7 * rounds


def _grid(range_deg: float) -> list[float]:
    """Steps of about 6 degrees over the range and its opposite, nought among them."""
    count = int(np.ceil(range_deg / 6.0))
    return [0.0] if count == 0 else list(np.linspace(-range_deg, range_deg, 2 * count + 1))


def _moved(
    offsets: tuple[float, float, float], axis: int, degrees: float
) -> tuple[float, float, float]:
    changed = list(offsets)
    changed[axis] += degrees
    return changed[0], changed[1], changed[2]


def _top(below: float, middle: float, above: float, farthest: float) -> float:
    """Where the parabola through -1, 0 and 1 has its top, so far from 0 at most."""
    bend = below - 2.0 * middle + above
    if bend >= 0.0:
        return float(np.sign(above - below))
    return float(np.clip(0.5 * (below - above) / bend, -farthest, farthest))
