"""How hard a machine is pressed by heat and supply, as Linux tells in /sys; nothing is changed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from edge_runtime.doctor.machine import Machine

_THROTTLING_UNKNOWN_C = 95.0
"""Assumed where the machine tells no trip point."""
_THROTTLING_TRIPS = ("passive", "hot", "critical")
_SLOWING_DEVICE = re.compile(r"cpufreq|devfreq|throttle|Processor", re.IGNORECASE)
_INPUT_RAILS = ("VDD_IN", "VIN", "VDD_5V_IN", "5V_IN", "POM_5V_IN", "VIN_SYS_5V0")
_PI_FIRMWARE = "/sys/devices/platform/soc/soc:firmware/get_throttled"
_PI_NOW = {0x1: "under-voltage", 0x2: "frequency cap", 0x4: "throttling", 0x8: "soft limit"}
"""Bits of a Raspberry Pi's word that tell of now; those 16 higher tell of since boot."""


@dataclass(frozen=True)
class ThermalZone:
    """A part of the machine that tells its temperature."""

    name: str
    temperature_c: float
    throttling_c: float
    """Where the kernel begins to slow the machine down, or shuts it off."""

    @property
    def headroom_c(self) -> float:
        """How far the part is below throttling."""
        return self.throttling_c - self.temperature_c


@dataclass(frozen=True)
class MachineStrain:
    """Heat and supply at one moment."""

    zone: ThermalZone | None
    """The part that is nearest to throttling; None where the machine tells no temperatures."""
    slowed_by: str = ""
    """What slows the machine down right now, empty if nothing does."""
    supply_events: int | None = None
    """Throttling by over-current or under-voltage since boot, where it is counted."""
    supply_w: float | None = None
    """Power drawn from the supply, where it is measured."""


def read_strain(machine: Machine) -> MachineStrain:
    """Read everything; some milliseconds, for sensors may be slow."""
    return MachineStrain(
        zone=nearest_to_throttling(machine),
        slowed_by=_slowed_by(machine),
        supply_events=supply_events(machine),
        supply_w=_supply_w(machine),
    )


def nearest_to_throttling(machine: Machine) -> ThermalZone | None:
    """The zone with the least headroom; None where the machine tells no temperatures."""
    zones = []
    for path in machine.paths("/sys/class/thermal/thermal_zone*"):
        millidegrees = machine.number(f"{path}/temp")  # zones of parts that are off tell none
        if millidegrees is not None:
            name = (machine.text(f"{path}/type") or PurePosixPath(path).name).strip()
            zones.append(ThermalZone(name, millidegrees / 1000.0, _throttling_c(machine, path)))
    return min(zones, key=lambda zone: zone.headroom_c, default=None)


def supply_events(machine: Machine) -> int | None:
    """Over-current and under-voltage events since boot, which the Orin's hardware counts."""
    counters = machine.paths("/sys/class/hwmon/hwmon*/oc*_event_cnt")
    return sum(machine.number(counter) or 0 for counter in counters) if counters else None


def _throttling_c(machine: Machine, zone: str) -> float:
    """The lowest trip of a zone that slows the machine down or shuts it off."""
    trips_c = []
    for kind_path in machine.paths(f"{zone}/trip_point_*_type"):
        millidegrees = machine.number(kind_path.removesuffix("_type") + "_temp")
        kind = (machine.text(kind_path) or "").strip()
        # A trip of zero or less is a driver's way of saying that there is none.
        if kind in _THROTTLING_TRIPS and millidegrees is not None and millidegrees > 0:
            trips_c.append(millidegrees / 1000.0)
    return min(trips_c, default=_THROTTLING_UNKNOWN_C)


def _slowed_by(machine: Machine) -> str:
    for path in machine.paths("/sys/class/thermal/cooling_device*"):
        kind = (machine.text(f"{path}/type") or "").strip()
        if _SLOWING_DEVICE.search(kind) and (machine.number(f"{path}/cur_state") or 0) > 0:
            return kind
    try:
        word = int((machine.text(_PI_FIRMWARE) or "0").strip(), 16)
    except ValueError:
        return ""
    return ", ".join(name for bit, name in _PI_NOW.items() if word & bit)


def _supply_w(machine: Machine) -> float | None:
    for label_path in machine.paths("/sys/class/hwmon/hwmon*/in*_label"):
        if (machine.text(label_path) or "").strip() in _INPUT_RAILS:
            stem = label_path.removesuffix("_label")
            millivolts = machine.number(f"{stem}_input")
            folder, _, channel = stem.rpartition("/in")
            milliamperes = machine.number(f"{folder}/curr{channel}_input")
            if millivolts is not None and milliamperes is not None:
                return millivolts * milliamperes / 1e6
    return None
