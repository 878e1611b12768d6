"""Fewer frames when hot or badly supplied, on machines of fabricated files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from edge_runtime.contract.errors import ConfigError
from edge_runtime.machine_strain import MachineStrain, ThermalZone, read_strain
from edge_runtime.power_governor import PowerGovernor, PowerGovernorConfig, RateChange
from tests.fabricated_machine import jetson_files, machine, write_tree
from tests.waiting import wait_until

ZONE = "/sys/class/thermal/thermal_zone0"
SUPPLY = "/sys/class/hwmon/hwmon1"


def zone_files(
    number: int, name: str, celsius: float, trips: Mapping[str, float]
) -> dict[str, str]:
    folder = f"/sys/class/thermal/thermal_zone{number}"
    files = {f"{folder}/type": f"{name}\n", f"{folder}/temp": f"{celsius * 1000:.0f}\n"}
    for place, (kind, trip_c) in enumerate(trips.items()):
        files[f"{folder}/trip_point_{place}_type"] = f"{kind}\n"
        files[f"{folder}/trip_point_{place}_temp"] = f"{trip_c * 1000:.0f}\n"
    return files


def orin_files() -> dict[str, str]:
    return {
        **jetson_files(),
        **zone_files(0, "cpu-thermal", 61.5, {"active": 50, "passive": 99, "critical": 104.5}),
        **zone_files(1, "gpu-thermal", 70, {"passive": 99, "hot": 97}),
        **zone_files(2, "tj-thermal", 50, {}),
        f"{SUPPLY}/oc1_event_cnt": "2\n",
        f"{SUPPLY}/oc3_event_cnt": "1\n",
        "/sys/class/hwmon/hwmon2/in1_label": "VDD_IN\n",
        "/sys/class/hwmon/hwmon2/in1_input": "5000\n",
        "/sys/class/hwmon/hwmon2/curr1_input": "1500\n",
        "/sys/class/thermal/cooling_device0/type": "pwm-fan\n",
        "/sys/class/thermal/cooling_device0/cur_state": "2\n",
        "/sys/class/thermal/cooling_device1/type": "gpu-throttle-alert\n",
        "/sys/class/thermal/cooling_device1/cur_state": "0\n",
    }


def strain_of(headroom_c: float, slowed_by: str = "", events: int | None = 0) -> MachineStrain:
    return MachineStrain(ThermalZone("cpu", 99.0 - headroom_c, 99.0), slowed_by, events)


class Flight:
    """A governor on a clock that the test moves."""

    def __init__(self, config: PowerGovernorConfig | None = None) -> None:
        self.now_s = 0.0
        self.heard: list[RateChange] = []
        self.governor = PowerGovernor(
            config or PowerGovernorConfig(), self.heard.append, now_s=lambda: self.now_s
        )

    def last(self, seconds: float, strain: MachineStrain) -> float:
        """Let a strain last, a look every 2 s; the share of frames after it."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += 2.0
            self.governor.consider(strain)
        return self.governor.share


def test_a_jetson_tells_its_hottest_part_its_supply_and_what_slows_it(tmp_path: Path) -> None:
    files = orin_files()
    strain = read_strain(machine(tmp_path, files))
    assert strain.zone == ThermalZone("gpu-thermal", 70.0, 97.0)
    assert strain.zone.headroom_c == 27.0
    assert strain.supply_events == 3
    assert strain.supply_w == 7.5
    assert strain.slowed_by == "", "a fan slows nothing"
    write_tree(tmp_path, {"/sys/class/thermal/cooling_device1/cur_state": "1\n"})
    assert read_strain(machine(tmp_path, {})).slowed_by == "gpu-throttle-alert"


@pytest.mark.parametrize(
    ("word", "slowed_by"), [("0", ""), ("50000", ""), ("50005", "under-voltage, throttling")]
)
def test_a_raspberry_pi_tells_of_now_and_not_of_since_boot(
    tmp_path: Path, word: str, slowed_by: str
) -> None:
    files = {"/sys/devices/platform/soc/soc:firmware/get_throttled": f"{word}\n"}
    assert read_strain(machine(tmp_path, files)).slowed_by == slowed_by


def test_a_machine_that_tells_nothing_flies_every_frame(tmp_path: Path) -> None:
    strain = read_strain(machine(tmp_path, {f"{ZONE}/temp": "off\n"}))
    assert strain == MachineStrain(None)
    assert Flight().last(300.0, strain) == 1.0


def test_heat_lowers_the_rate_step_by_step_and_says_so_before(tmp_path: Path) -> None:
    flight = Flight()
    assert flight.last(60.0, strain_of(20.0)) == 1.0
    assert flight.last(2.0, strain_of(5.0)) == 0.5
    assert flight.last(8.0, strain_of(4.0)) == 0.5, "the lower rate is given time to help"
    assert flight.last(4.0, strain_of(4.0)) == 0.25
    assert flight.last(60.0, strain_of(1.0)) == 0.25, "the last step"
    assert [change.text for change in flight.heard] == [
        "frame rate 50%: cpu 94 C",
        "frame rate 25%: cpu 95 C",
    ]
    assert all(change.is_reduction for change in flight.heard)


def test_the_rate_comes_back_only_after_lasting_calm() -> None:
    flight = Flight()
    flight.last(2.0, strain_of(3.0))
    assert flight.last(600.0, strain_of(8.0)) == 0.5, "neither hot nor cool"
    assert flight.last(56.0, strain_of(13.0)) == 0.5
    flight.last(2.0, strain_of(11.0))
    assert flight.last(60.0, strain_of(13.0)) == 0.5, "calm was interrupted"
    assert flight.last(4.0, strain_of(13.0)) == 1.0
    assert [change.is_reduction for change in flight.heard] == [True, False]
    flight.last(600.0, strain_of(13.0))
    assert len(flight.heard) == 2


def test_two_steps_down_are_two_calms_up() -> None:
    flight = Flight()
    flight.last(20.0, strain_of(1.0))
    assert flight.last(64.0, strain_of(30.0)) == 0.5
    assert flight.last(64.0, strain_of(30.0)) == 1.0


def test_new_over_current_events_lower_the_rate_and_old_ones_do_not() -> None:
    flight = Flight()
    assert flight.last(20.0, strain_of(30.0, events=7)) == 1.0
    assert flight.last(2.0, strain_of(30.0, events=8)) == 0.5
    assert flight.heard[0].reason == "over-current, supply is weak"


def test_a_machine_that_is_slowed_already_flies_fewer_frames() -> None:
    flight = Flight()
    assert flight.last(2.0, strain_of(30.0, slowed_by="thermal-cpufreq-0")) == 0.5


def test_no_announcement_is_longer_than_a_statustext() -> None:
    change = RateChange(0.5, is_reduction=True, reason="slowed by " + "x" * 100)
    assert len(change.text) == 50


@pytest.mark.parametrize(("steps_down", "flown"), [(0, 100), (1, 50), (2, 25)])
def test_frames_are_thinned_evenly(steps_down: int, flown: int) -> None:
    flight = Flight()
    flight.last(8.0 * steps_down, strain_of(0.0))
    flies = [flight.governor.flies_next() for _ in range(100)]
    assert sum(flies) == flown
    gaps = "".join("x" if fly else "." for fly in flies).strip(".").split("x")[1:-1]
    assert len({len(gap) for gap in gaps}) == 1


def test_sensors_are_read_beside_the_flight_and_decided_on_in_its_loop(tmp_path: Path) -> None:
    heard: list[RateChange] = []
    fabricated = machine(tmp_path, orin_files())
    config = PowerGovernorConfig(check_s=0.02)
    governor = PowerGovernor(config, heard.append, fabricated)
    governor.start()
    try:
        write_tree(tmp_path, {"/sys/class/thermal/thermal_zone1/temp": "95000\n"})
        assert wait_until(lambda: governor.tick() or heard)
        assert heard == [RateChange(0.5, is_reduction=True, reason="gpu-thermal 95 C")]
        assert governor.figures() == {
            "frame_rate_share": 0.5,
            "temperature_c": 95.0,
            "throttling_headroom_c": 2.0,
            "over_current_events": 3,
            "supply_w": 7.5,
        }
    finally:
        governor.close()


@pytest.mark.parametrize("shares", [(), (0.5,), (1.0, 1.0), (1.0, 0.2, 0.5), (1.0, 0.0)])
def test_steps_that_do_not_fall_from_one_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="frame_shares must fall"):
        PowerGovernorConfig(frame_shares=shares)
