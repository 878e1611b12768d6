"""What the doctor reads off a board: JetPack, power, clocks, heat, devices, memory and disk."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from edge_runtime.doctor.finding import Status, fail, ok, skipped
from edge_runtime.doctor.jetpack import check_jetpack, parse_release
from edge_runtime.doctor.machine import CommandResult
from edge_runtime.doctor.peripherals import check_cameras, check_serial_ports
from edge_runtime.doctor.power import (
    check_clocks,
    check_power_mode,
    check_power_supply,
    check_temperatures,
)
from edge_runtime.doctor.resources import check_disk, check_memory, check_wall_clock
from tests.fabricated_machine import jetson_files, machine

ZONE = "/sys/class/thermal/thermal_zone"
GPU = "/sys/class/devfreq/17000000.gpu"
CPU = "/sys/devices/system/cpu/cpufreq/policy0"


@pytest.mark.parametrize(
    ("release", "status", "words"),
    [
        ("jetpack 5.1", Status.FAIL, "Jetson Linux 35.4.1"),
        ("jetpack 6.0", Status.FAIL, "Jetson Linux 36.3.0"),
        ("jetpack 6.2", Status.OK, "JetPack 6, Jetson Linux 36.4.3 on NVIDIA Jetson Orin Nano"),
        ("jetpack 7.0", Status.OK, "JetPack 7, Jetson Linux 38.2.0"),
        ("jetpack 7.2", Status.OK, "JetPack 7, Jetson Linux 39.2.1"),
        ("unknown", Status.WARN, "Jetson Linux 40.1.0"),
    ],
)
def test_jetpack_6_1_and_newer_will_do(
    tmp_path: Path, release: str, status: Status, words: str
) -> None:
    finding = check_jetpack(machine(tmp_path, jetson_files(release)))
    assert finding.status is status
    assert words in finding.what


def test_a_laptop_is_not_a_jetson(tmp_path: Path) -> None:
    laptop = machine(tmp_path, {"/proc/device-tree/model": "Raspberry Pi 5\0"})
    checks = (check_jetpack, check_power_mode, check_power_supply)
    assert {check(laptop).what for check in checks} == {"not a Jetson"}


def test_a_container_without_the_release_file_says_how_to_mount_it(tmp_path: Path) -> None:
    files = jetson_files()
    del files["/etc/nv_tegra_release"]
    finding = check_jetpack(machine(tmp_path, files))
    assert finding.status is Status.WARN
    assert "docker run -v /etc/nv_tegra_release" in finding.what_to_do


def test_a_release_without_a_patch_number_is_read() -> None:
    assert parse_release("# R38 (release), REVISION: 2, GCID: 1") == (38, 2, 0)
    assert parse_release("KERNEL_VARIANT: oot") is None


def test_the_power_mode_is_what_nvpmodel_says(tmp_path: Path) -> None:
    answer = CommandResult(0, "NV Power Mode: MAXN_SUPER\n2\n")
    jetson = machine(tmp_path, jetson_files(), {"nvpmodel -q": answer})
    assert check_power_mode(jetson) == ok("power mode", "MAXN_SUPER")


def test_a_jetson_without_nvpmodel_is_odd(tmp_path: Path) -> None:
    finding = check_power_mode(machine(tmp_path, jetson_files()))
    assert finding.status is Status.WARN
    assert finding.what == "there is no nvpmodel"


def test_over_current_events_since_boot_are_added_up(tmp_path: Path) -> None:
    hwmon = "/sys/class/hwmon/hwmon3"
    counters = {f"{hwmon}/oc1_event_cnt": "0\n", f"{hwmon}/oc3_event_cnt": "0\n"}
    quiet = machine(tmp_path / "quiet", {**jetson_files(), **counters})
    assert check_power_supply(quiet).status is Status.OK
    counters |= {f"{hwmon}/oc2_event_cnt": "15\n", f"{hwmon}/oc3_event_cnt": "37\n"}
    finding = check_power_supply(machine(tmp_path / "sagging", {**jetson_files(), **counters}))
    assert finding.status is Status.WARN
    assert "throttled 52 times" in finding.what


def test_a_module_that_counts_no_over_current_is_not_blamed(tmp_path: Path) -> None:
    assert check_power_supply(machine(tmp_path, jetson_files())).status is Status.SKIPPED


def clock_files(**changes: str) -> dict[str, str]:
    return {
        f"{CPU}/scaling_cur_freq": "729600\n",
        f"{CPU}/scaling_max_freq": "1728000\n",
        f"{CPU}/cpuinfo_max_freq": "1728000\n",
        f"{GPU}/cur_freq": "306000000\n",
        f"{GPU}/max_freq": "1020000000\n",
        f"{GPU}/available_frequencies": "306000000 612000000 1020000000\n",
        **changes,
    }


def test_clocks_are_told_in_megahertz(tmp_path: Path) -> None:
    assert check_clocks(machine(tmp_path, clock_files())) == ok(
        "clocks", "CPU 730 of 1728 MHz; GPU 306 of 1020 MHz"
    )


def test_a_capped_clock_is_named_with_what_it_could_do(tmp_path: Path) -> None:
    files = clock_files(**{f"{GPU}/max_freq": "612000000\n"})
    assert (
        "GPU 306 of 612 MHz (it could do 1020: power" in check_clocks(machine(tmp_path, files)).what
    )


def test_the_thor_keeps_its_gpu_elsewhere(tmp_path: Path) -> None:
    thor = "/sys/class/devfreq/gpu-gpc-0"
    files = {f"{thor}/cur_freq": "315000000", f"{thor}/max_freq": "1575000000"}
    assert check_clocks(machine(tmp_path, files)) == ok("clocks", "GPU 315 of 1575 MHz")


def zone_files(number: int, kind: str, temperature_c: float, **trips_c: float) -> dict[str, str]:
    """A thermal zone; a trip is named by its kind."""
    zone = f"{ZONE}{number}"
    files = {f"{zone}/type": f"{kind}\n", f"{zone}/temp": f"{temperature_c * 1000:.0f}\n"}
    for trip, (trip_kind, trip_c) in enumerate(trips_c.items()):
        files[f"{zone}/trip_point_{trip}_type"] = f"{trip_kind}\n"
        files[f"{zone}/trip_point_{trip}_temp"] = f"{trip_c * 1000:.0f}\n"
    return files


def test_the_zone_nearest_to_its_own_throttling_is_told_not_the_hottest(tmp_path: Path) -> None:
    files = {
        **zone_files(0, "cpu-thermal", 70.0, active=51.0, passive=99.0, critical=104.5),
        **zone_files(1, "board-thermal", 60.0, passive=80.0),
    }
    assert check_temperatures(machine(tmp_path, files)) == ok(
        "temperatures", "board-thermal 60 C, 20 C below throttling"
    )


@pytest.mark.parametrize(
    ("temperature_c", "status"),
    [(88.9, Status.OK), (89.1, Status.WARN), (98.9, Status.WARN), (99.0, Status.FAIL)],
)
def test_ten_degrees_below_throttling_are_enough(
    tmp_path: Path, temperature_c: float, status: Status
) -> None:
    files = zone_files(0, "gpu-thermal", temperature_c, critical=104.5, passive=99.0)
    assert check_temperatures(machine(tmp_path, files)).status is status


def test_a_zone_without_trips_throttles_at_95_degrees(tmp_path: Path) -> None:
    files = {**zone_files(0, "acpitz", 40.0, passive=0.0), f"{ZONE}1/type": "cv0-thermal\n"}
    finding = check_temperatures(machine(tmp_path, files))
    assert finding == ok("temperatures", "acpitz 40 C, 55 C below throttling")


def test_a_camera_of_two_nodes_is_told_once(tmp_path: Path) -> None:
    node = "/sys/class/video4linux/video"
    files = {
        "/dev/video0": "",
        f"{node}0/name": "Arducam: Arducam\n",
        f"{node}0/index": "0\n",
        "/dev/video1": "",
        f"{node}1/name": "Arducam: Arducam\n",
        f"{node}1/index": "1\n",
    }
    assert check_cameras(machine(tmp_path, files)) == ok("cameras", "/dev/video0 Arducam: Arducam")


def test_a_jetson_without_a_camera_is_told_where_to_look(tmp_path: Path) -> None:
    assert check_cameras(machine(tmp_path / "laptop", {})).status is Status.SKIPPED
    finding = check_cameras(machine(tmp_path / "jetson", jetson_files()))
    assert finding.status is Status.WARN
    assert "jetson-io" in finding.what_to_do


@pytest.mark.parametrize(
    ("check", "device", "group"),
    [(check_cameras, "/dev/video0", "video"), (check_serial_ports, "/dev/ttyTHS1", "dialout")],
)
def test_a_device_that_the_system_refuses_names_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check, device: str, group: str
) -> None:
    refusing = machine(tmp_path, {device: ""})
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    finding = check(refusing)
    assert finding.status is Status.WARN
    assert f"no access to {device}" in finding.what
    assert f"usermod -aG {group}" in finding.what_to_do


def test_serial_ports_of_every_kind_are_listed(tmp_path: Path) -> None:
    files = {"/dev/ttyACM0": "", "/dev/ttyTHS1": "", "/dev/ttyS0": ""}
    assert check_serial_ports(machine(tmp_path, files)).what == "/dev/ttyTHS1, /dev/ttyACM0"


@pytest.mark.parametrize(
    ("free_kib", "status"),
    [(1024 * 1024, Status.OK), (1023 * 1024, Status.WARN), (299 * 1024, Status.FAIL)],
)
def test_memory_is_what_is_available_not_what_is_free(
    tmp_path: Path, free_kib: int, status: Status
) -> None:
    table = f"MemTotal:  7664640 kB\nMemFree:  100 kB\nMemAvailable:  {free_kib} kB\n"
    finding = check_memory(machine(tmp_path, {"/proc/meminfo": table}))
    assert finding.status is status
    assert finding.what == f"{free_kib // 1024} of 7485 MiB free"


@pytest.mark.parametrize(
    ("free_mib", "status"), [(1024, Status.OK), (1023, Status.WARN), (99, Status.FAIL)]
)
def test_the_disk_is_the_one_that_holds_the_flights(
    tmp_path: Path, free_mib: int, status: Status
) -> None:
    asked = []

    def free_bytes(path: Path) -> int:
        asked.append(path)
        return free_mib << 20

    laptop = replace(machine(tmp_path, {}), free_bytes=free_bytes)
    assert check_disk(laptop).status is status
    laptop.path("/var/lib/dmnil-edge").mkdir(parents=True)
    assert check_disk(laptop).status is status
    assert asked == [Path.cwd(), tmp_path / "var/lib/dmnil-edge"]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (CommandResult(0, "yes\n"), Status.OK),
        (CommandResult(0, "no\n"), Status.WARN),
        (CommandResult(1, ""), Status.SKIPPED),
    ],
)
def test_a_wall_clock_that_is_not_set_may_jump(
    tmp_path: Path, answer: CommandResult, status: Status
) -> None:
    answers = {"--property=NTPSynchronized --value": answer}
    assert check_wall_clock(machine(tmp_path, {}, answers)).status is status


def test_a_warning_must_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="disk"):
        fail("disk", "full", "")
    assert skipped("disk", "none").what_to_do == ""
