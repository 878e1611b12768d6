"""What a flight tells about its camera's mounting."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.localize.camera import PinholeCamera
from edge_runtime.mounting import Mounting

_WIDEST_DEVIATION_DEG = 5.0


@dataclass(frozen=True)
class Offset:
    """One angle of the mounting that was found, in degrees, with its standard deviation."""

    name: str
    degrees: float
    standard_deviation_deg: float

    @property
    def is_determined(self) -> bool:
        """Whether this flight tells it at all."""
        return self.standard_deviation_deg <= _WIDEST_DEVIATION_DEG


@dataclass(frozen=True)
class MountCalibration:
    """What a flight tells about its camera's mounting."""

    offsets: tuple[Offset, ...]
    """What is to be added to the camera's angles of the telemetry."""
    mounting: Mounting
    """The mounting with them."""
    camera: PinholeCamera
    """What the flight's pictures are taken for."""
    views: int
    agreement_before: float
    agreement_after: float
    """Mean standard deviations above chance of the views' likeness to the map."""
    positions_are_true: bool

    def report(self) -> str:
        """The result for people."""
        lines = [
            f"{offset.name:8} {offset.degrees:+7.2f} deg +- {offset.standard_deviation_deg:.2f}"
            if offset.is_determined
            else f"{offset.name:8} not determined by this flight, left as it is"
            for offset in self.offsets
        ]
        lines.append(
            f"agreement of {self.views} views with the map: {self.agreement_before:.2f} before, "
            f"{self.agreement_after:.2f} with these (standard deviations above chance)"
        )
        if not self.positions_are_true:
            lines.append(
                "positions were the flight's own fixes, which lean towards the angles they were "
                "made with: expect 2 degrees more than stated, or give true ones (--positions)"
            )
        return "\n".join(lines)
