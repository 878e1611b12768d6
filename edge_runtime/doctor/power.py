"""Power mode, supply, clocks and temperatures: why a Jetson may be slower than it can be."""

from __future__ import annotations

import re

from edge_runtime.doctor.finding import Finding, fail, ok, skipped, warn
from edge_runtime.doctor.jetpack import NOT_A_JETSON
from edge_runtime.doctor.machine import Machine
from edge_runtime.machine_strain import nearest_to_throttling, supply_events

NEAR_THROTTLING_C = 10.0
_GPU_PATTERNS = ("*.gpu", "*.ga10b", "*.gv11b", "gpu-gpc-*")
_MODE = re.compile(r"NV Power Mode:\s*(\S+)")


def check_power_mode(machine: Machine) -> Finding:
    """The power mode, which caps every clock; it is the builder's choice, so only reported."""
    name = "power mode"
    if not machine.is_jetson:
        return skipped(name, NOT_A_JETSON)
    result = machine.run(["nvpmodel", "-q"])
    match = _MODE.search(result.output) if result is not None else None
    if match is None:
        reason = "there is no nvpmodel" if result is None else "nvpmodel -q tells none"
        return warn(name, reason, "sudo nvpmodel -q; in a container, ask the host")
    return ok(name, match.group(1))


def check_power_supply(machine: Machine) -> Finding:
    """Throttling by over-current or under-voltage since boot, which the Orin's hardware counts."""
    name = "power supply"
    if not machine.is_jetson:
        return skipped(name, NOT_A_JETSON)
    events = supply_events(machine)
    if events is None:
        return skipped(name, "this module does not count over-current events")
    if events:
        return warn(
            name,
            f"throttled {events} times by over-current or under-voltage since boot",
            "a stronger supply, shorter leads, or a lower power mode (sudo nvpmodel -m)",
        )
    return ok(name, "no over-current events since boot")


def check_clocks(machine: Machine) -> Finding:
    """Processor and GPU clocks against their maxima, and what caps them."""
    name = "clocks"
    clocks = [_cpu_clock(machine), _gpu_clock(machine)]
    told = [clock for clock in clocks if clock is not None]
    if not told:
        return skipped(name, "this machine tells no clocks")
    return ok(name, "; ".join(told))


def check_temperatures(machine: Machine) -> Finding:
    """The zone that is nearest to throttling."""
    name = "temperatures"
    nearest = nearest_to_throttling(machine)
    if nearest is None:
        return skipped(name, "this machine tells no temperatures")
    headroom_c = nearest.headroom_c
    what = f"{nearest.name} {nearest.temperature_c:.0f} C, {abs(headroom_c):.0f} C "
    remedy = "fan on (nvfancontrol), more air, or a lower power mode"
    if headroom_c <= 0.0:
        return fail(name, f"{what}above throttling", remedy)
    if headroom_c < NEAR_THROTTLING_C:
        return warn(name, f"{what}below throttling", remedy)
    return ok(name, f"{what}below throttling")


def _cpu_clock(machine: Machine) -> str | None:
    policies = machine.paths("/sys/devices/system/cpu/cpufreq/policy*")
    if not policies:
        return None
    first = policies[0]
    return _clock(
        "CPU",
        machine.number(f"{first}/scaling_cur_freq"),
        machine.number(f"{first}/scaling_max_freq"),
        machine.number(f"{first}/cpuinfo_max_freq"),
        1e3,
    )


def _gpu_clock(machine: Machine) -> str | None:
    for pattern in _GPU_PATTERNS:
        for device in machine.paths(f"/sys/class/devfreq/{pattern}"):
            available = (machine.text(f"{device}/available_frequencies") or "").split()
            highest = max((int(hertz) for hertz in available if hertz.isdecimal()), default=None)
            current = machine.number(f"{device}/cur_freq")
            return _clock("GPU", current, machine.number(f"{device}/max_freq"), highest, 1e6)
    return None


def _clock(
    name: str, current: int | None, allowed: int | None, highest: int | None, per_mhz: float
) -> str | None:
    if current is None or allowed is None:
        return None
    text = f"{name} {current / per_mhz:.0f} of {allowed / per_mhz:.0f} MHz"
    if highest is not None and allowed < highest:
        text += f" (it could do {highest / per_mhz:.0f}: power mode or throttling)"
    return text
