"""A telemetry log in memory, looked up by frame name, frame number or time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import TelemetryError
from edge_runtime.localize.camera import CameraPose

_BEYOND_ALL_REASON = 1e15


@dataclass(frozen=True)
class TelemetrySample:
    """Height, camera attitude and motion at one moment; None is what nobody knows.

    Pitch is the camera's, -90 straight down; heading the camera's, clockwise from north. Height
    is above the ground that is viewed.
    """

    time_s: float
    height_m: float | None
    heading_deg: float | None
    pitch_deg: float
    roll_deg: float = 0.0
    velocity_east_m_s: float | None = None
    velocity_north_m_s: float | None = None

    @property
    def pose(self) -> CameraPose | None:
        """The camera's whole pose; None if height or heading is unknown."""
        if self.height_m is None or self.heading_deg is None:
            return None
        return CameraPose(self.height_m, self.heading_deg, self.pitch_deg, self.roll_deg)

    @property
    def is_finite(self) -> bool:
        """Whether every value that is known is a number, and so is its distance to any other."""
        values = (
            self.time_s,
            self.height_m,
            self.heading_deg,
            self.pitch_deg,
            self.roll_deg,
            self.velocity_east_m_s,
            self.velocity_north_m_s,
        )
        known = np.array([value for value in values if value is not None], np.float64)
        return bool((np.abs(known) < _BEYOND_ALL_REASON).all())


@dataclass(frozen=True)
class TelemetryLog:
    """Samples in the order of time.

    Unusable samples (NaN) are kept out and counted: their frames have no telemetry.
    """

    samples: tuple[TelemetrySample, ...]
    unusable: int = 0
    by_frame_name: Mapping[str, int] = field(default_factory=dict)
    by_frame_number: Mapping[int, int] = field(default_factory=dict)
    focal_length_35mm: float | None = None
    """The camera's full-frame equivalent focal length in mm, where the log tells it."""

    @cached_property
    def _times_s(self) -> npt.NDArray[np.float64]:
        return np.array([sample.time_s for sample in self.samples])

    def named(self, frame_name: str) -> TelemetrySample | None:
        """The sample that the log gives for a frame's file name."""
        index = self.by_frame_name.get(frame_name)
        return None if index is None else self.samples[index]

    def numbered(self, frame_number: int) -> TelemetrySample | None:
        """The sample of the frame with this count, from 1."""
        index = self.by_frame_number.get(frame_number)
        return None if index is None else self.samples[index]

    def at(self, time_s: float, longest_gap_s: float = 2.0) -> TelemetrySample | None:
        """Telemetry interpolated to a time; None outside the log or within a longer gap."""
        times = self._times_s
        after = int(np.searchsorted(times, time_s))
        if after < len(times) and times[after] == time_s:
            return self.samples[after]
        if after == 0 or after == len(times):
            return None
        earlier, later = self.samples[after - 1], self.samples[after]
        gap_s = later.time_s - earlier.time_s
        if gap_s > longest_gap_s:
            return None
        share = (time_s - earlier.time_s) / gap_s
        return TelemetrySample(
            time_s=time_s,
            height_m=_between(earlier.height_m, later.height_m, share),
            heading_deg=_between_angles(earlier.heading_deg, later.heading_deg, share),
            pitch_deg=earlier.pitch_deg + share * (later.pitch_deg - earlier.pitch_deg),
            roll_deg=_between_angles(earlier.roll_deg, later.roll_deg, share) or 0.0,
            velocity_east_m_s=_between(earlier.velocity_east_m_s, later.velocity_east_m_s, share),
            velocity_north_m_s=_between(
                earlier.velocity_north_m_s, later.velocity_north_m_s, share
            ),
        )


def log_of(
    samples: Sequence[TelemetrySample],
    where: str,
    frame_names: Sequence[str] = (),
    frame_numbers: Sequence[int] = (),
    focal_length_35mm: float | None = None,
) -> TelemetryLog:
    """Sort samples by time and drop those that are not finite.

    Raises:
        TelemetryError: If none is left.
    """
    usable = [index for index, sample in enumerate(samples) if sample.is_finite]
    if not usable:
        raise TelemetryError(
            f"{where}: none of its {len(samples)} rows has finite time, height, heading and pitch"
        )
    usable.sort(key=lambda index: samples[index].time_s)
    return TelemetryLog(
        samples=tuple(samples[index] for index in usable),
        unusable=len(samples) - len(usable),
        by_frame_name={frame_names[i]: n for n, i in enumerate(usable)} if frame_names else {},
        by_frame_number={frame_numbers[i]: n for n, i in enumerate(usable)}
        if frame_numbers
        else {},
        focal_length_35mm=focal_length_35mm,
    )


def _between(first: float | None, second: float | None, share: float) -> float | None:
    return None if first is None or second is None else first + share * (second - first)


def _between_angles(
    first_deg: float | None, second_deg: float | None, share: float
) -> float | None:
    if first_deg is None or second_deg is None:
        return None
    turn = (second_deg - first_deg + 180.0) % 360.0 - 180.0
    return (first_deg + share * turn) % 360.0
