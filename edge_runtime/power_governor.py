"""Fly fewer frames while the machine is hot or its supply is weak, and say so.

A machine that throttles becomes slow at a moment of its own choosing; fewer frames, announced, keep
every frame fast. The power mode and clocks are the builder's choice and are never touched.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_runtime.contract.errors import ConfigError
from edge_runtime.doctor.machine import Machine
from edge_runtime.machine_strain import MachineStrain, read_strain

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PowerGovernorConfig:
    """When heat or supply lower the frame rate, and when it comes back."""

    enabled: bool = True
    """Whether to watch at all."""
    check_s: float = 2.0
    """Time between two looks at the sensors."""
    reduce_headroom_c: float = 5.0
    """Fewer frames when a part comes this near to where it throttles."""
    restore_headroom_c: float = 12.0
    """More again once every part has been this far below for `restore_s`."""
    reduce_s: float = 10.0
    """A lower rate is given this long to help before the next step down."""
    restore_s: float = 60.0
    """Calm must have lasted this long before each step up."""
    frame_shares: tuple[float, ...] = (1.0, 0.5, 0.25)
    """The steps: share of frames that are flown, falling from 1."""

    def __post_init__(self) -> None:
        if not 0.0 < self.reduce_headroom_c < self.restore_headroom_c:
            raise ConfigError("power: reduce_headroom_c must lie between 0 and restore_headroom_c")
        if not min(self.check_s, self.reduce_s, self.restore_s) > 0.0:
            raise ConfigError("power: check_s, reduce_s and restore_s must be above 0 seconds")
        steps = list(self.frame_shares)
        if not steps or steps[0] != 1.0 or steps[-1] <= 0.0 or sorted(set(steps))[::-1] != steps:
            raise ConfigError(f"power.frame_shares must fall from 1 towards 0, are {steps}")


@dataclass(frozen=True)
class RateChange:
    """A step of the frame rate."""

    share: float
    """Share of frames that are flown from now on."""
    is_reduction: bool
    reason: str
    """In a few words: it must fit into a STATUSTEXT."""

    @property
    def text(self) -> str:
        """One line for people, 50 characters at most, as a STATUSTEXT holds."""
        return f"frame rate {self.share:.0%}: {self.reason}"[:50]


class PowerGovernor:
    """Decides which frames are flown.

    A thread reads the sensors, for they may be slow; decisions fall in `tick`, where the flight
    loop calls it, and so does `on_change`.

    Args:
        on_change: Hears of every step, before it takes effect.
    """

    def __init__(
        self,
        config: PowerGovernorConfig,
        on_change: Callable[[RateChange], None],
        machine: Machine | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._on_change = on_change
        self._machine = Machine() if machine is None else machine
        self._now_s = now_s
        self._step = 0
        self._stepped_at_s = float("-inf")
        self._calm_since_s: float | None = None
        self._events: int | None = None
        self._credit = 0.0
        self._newest: MachineStrain | None = None
        self._considered: MachineStrain | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read the sensors."""
        if self._config.enabled and self._thread is None:
            self._thread = threading.Thread(target=self._read, name="power governor", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop reading; a sensor that hangs is not waited for long."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    @property
    def share(self) -> float:
        """Share of frames that are flown at present."""
        return self._config.frame_shares[self._step]

    @property
    def strain(self) -> MachineStrain | None:
        """What the sensors told last."""
        return self._newest

    def figures(self) -> dict[str, float]:
        """What the sensors told, under the names that the monitor knows."""
        figures = {"frame_rate_share": self.share}
        strain = self._newest
        if strain is None:
            return figures
        if strain.zone is not None:
            figures["temperature_c"] = strain.zone.temperature_c
            figures["throttling_headroom_c"] = strain.zone.headroom_c
        if strain.supply_events is not None:
            figures["over_current_events"] = strain.supply_events
        if strain.supply_w is not None:
            figures["supply_w"] = strain.supply_w
        return figures

    def flies_next(self) -> bool:
        """Whether the next frame is to be flown, evenly the present share; once for each."""
        self._credit += self.share
        if self._credit < 1.0 - 1e-9:
            return False
        self._credit -= 1.0
        return True

    def tick(self) -> None:
        """Consider what the sensors told since; often, and free where they told nothing new."""
        strain = self._newest
        if strain is not None and strain is not self._considered:
            self._considered = strain
            self.consider(strain)

    def consider(self, strain: MachineStrain) -> None:
        """Take a step if heat or supply ask for it, or calm allows it."""
        now_s = self._now_s()
        reason = self._trouble(strain)
        if reason:
            self._calm_since_s = None
            is_due = now_s - self._stepped_at_s >= self._config.reduce_s
            if is_due and self._step + 1 < len(self._config.frame_shares):
                self._take(self._step + 1, now_s, reason)
            return
        zone = strain.zone
        if zone is not None and zone.headroom_c < self._config.restore_headroom_c:
            self._calm_since_s = None  # neither hot nor cool: stay
            return
        if self._calm_since_s is None:
            self._calm_since_s = now_s
        if self._step > 0 and now_s - self._calm_since_s >= self._config.restore_s:
            self._calm_since_s = now_s
            told = "supply calm" if zone is None else f"{zone.name} {zone.temperature_c:.0f} C"
            self._take(self._step - 1, now_s, told)

    def _trouble(self, strain: MachineStrain) -> str:
        """What asks for fewer frames, in a few words; empty if nothing does."""
        events, before = strain.supply_events, self._events
        self._events = events
        if events is not None and before is not None and events > before:
            return "over-current, supply is weak"
        zone = strain.zone
        if zone is not None and zone.headroom_c <= self._config.reduce_headroom_c:
            return f"{zone.name} {zone.temperature_c:.0f} C"
        return f"slowed by {strain.slowed_by}" if strain.slowed_by else ""

    def _take(self, step: int, now_s: float, reason: str) -> None:
        is_reduction = step > self._step
        change = RateChange(self._config.frame_shares[step], is_reduction, reason)
        self._on_change(change)
        self._step, self._stepped_at_s = step, now_s

    def _read(self) -> None:
        is_first = True
        while True:
            try:
                self._newest = read_strain(self._machine)
            except OSError as error:
                logger.warning("heat and supply cannot be read: %s", error)
            if is_first and self._newest is not None and self._newest.zone is None:
                logger.info("this machine tells no temperatures: heat will not be noticed")
            is_first = False
            if self._closing.wait(self._config.check_s):
                return
