"""What `edge_runtime params` advises, prints and writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from edge_runtime.autopilot_parameter_file import advice_text, parameter_file
from edge_runtime.autopilot_parameters import advise
from edge_runtime.command_line import run_subcommand
from edge_runtime.commands.params import params
from edge_runtime.contract.errors import ConfigError
from edge_runtime.outputs.mavlink_config import ArdupilotMessage, MavlinkOutputConfig

ALL = [("px4", "odometry"), *(("ardupilot", message) for message in get_args(ArdupilotMessage))]


def values(autopilot: Any, **settings: Any) -> dict[str, float]:
    return {p.name: p.value for p in advise(autopilot, **settings).parameters}


def test_px4s_slot_has_the_id_that_messages_carry_and_fuses_no_height() -> None:
    assert values("px4")["EKF2_AGP0_ID"] == MavlinkOutputConfig().sensor_id
    assert values("px4", sensor_id=9)["EKF2_AGP0_ID"] == 9
    assert values("px4")["EKF2_AGP0_CTRL"] == 1


@pytest.mark.parametrize(("latency_ms", "horizon_ms"), [(50, 200), (150, 200), (320, 400)])
def test_px4s_horizon_lies_behind_the_latency(latency_ms: float, horizon_ms: float) -> None:
    assert values("px4", latency_ms=latency_ms)["EKF2_DELAY_MAX"] == horizon_ms


def test_ardupilot_takes_positions_as_they_are_and_flies_gps_until_told_otherwise() -> None:
    advised = values("ardupilot", latency_ms=180.0)
    assert advised["VISO_TYPE"] == 1
    assert advised["VISO_DELAY_MS"] == 180
    assert advised["VISO_QUAL_MIN"] == 1
    assert advised["EK3_SRC2_POSXY"] == 6
    assert advised["EK3_SRC2_VELXY"] == 0
    assert not any(name.startswith("EK3_SRC1") for name in advised)


def test_a_latency_that_ardupilot_cannot_be_told_is_a_warning() -> None:
    assert values("ardupilot", latency_ms=400.0)["VISO_DELAY_MS"] == 250
    warnings = advise("ardupilot", latency_ms=400.0).warnings
    assert any("250 ms" in warning for warning in warnings)
    assert not any("250 ms" in warning for warning in advise("ardupilot").warnings)


@pytest.mark.parametrize(("autopilot", "message"), ALL)
def test_every_parameter_is_a_name_an_autopilot_can_have_with_reason_and_source(
    autopilot: Any, message: Any
) -> None:
    advice = advise(autopilot, ardupilot_message=message)
    text = advice_text(advice)
    for parameter in advice.parameters:
        assert re.fullmatch(r"[A-Z][A-Z0-9_]{1,15}", parameter.name)
        assert parameter.reason
        assert parameter.source
        assert parameter.name in text
        assert parameter.reason in text
    assert all(warning in text for warning in advice.warnings)


@pytest.mark.parametrize(
    "wrong", [{"latency_ms": -1.0}, {"noise_m": 0.0}, {"sensor_id": 0}, {"latency_ms": 5000.0}]
)
def test_what_is_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        advise("px4", **wrong)


def test_px4s_file_has_qgroundcontrols_columns() -> None:
    rows = [
        line.split("\t")
        for line in parameter_file(advise("px4")).splitlines()
        if not line.startswith("#")
    ]
    assert {len(row) for row in rows} == {5}
    by_name = {row[2]: row for row in rows}
    assert by_name["EKF2_AGP0_ID"] == ["1", "1", "EKF2_AGP0_ID", "1", "6"]
    assert by_name["EKF2_AGP0_NOISE"][4] == "9"
    assert float(by_name["EKF2_AGP0_NOISE"][3]) == 10.0


@pytest.mark.parametrize("message", get_args(ArdupilotMessage))
def test_ardupilots_file_loads_as_mavproxy_loads_it(message: Any, tmp_path: Path) -> None:
    mavparm = pytest.importorskip("pymavlink.mavparm", reason="pymavlink is not installed")
    advice = advise("ardupilot", ardupilot_message=message)
    path = tmp_path / "vision.params"
    path.write_text(parameter_file(advice))
    loaded = mavparm.MAVParmDict()
    assert loaded.load(str(path))
    assert dict(loaded) == {p.name: pytest.approx(p.value) for p in advice.parameters}


def test_the_command_prints_the_advice_and_writes_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "vision.params"
    status = run_subcommand(
        "edge_runtime",
        "",
        {"params": params},
        ["params", "--autopilot", "px4", "--latency-ms", "320", "-o", str(path)],
    )
    assert status == 0
    assert "EKF2_DELAY_MAX   400 ms" in capsys.readouterr().out
    assert path.read_text() == parameter_file(advise("px4", latency_ms=320.0))


def test_the_command_needs_to_know_the_autopilot(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_subcommand("edge_runtime", "", {"params": params}, ["params"]) == 2
    assert "autopilot" in capsys.readouterr().err


@pytest.mark.parametrize(("autopilot", "message"), ALL)
def test_the_last_thing_to_heed_is_how_the_runtime_is_told_to_feed(
    autopilot: Any, message: Any
) -> None:
    *_, before, last = advise(autopilot, ardupilot_message=message).warnings
    assert before.startswith("fly in shadow mode first")
    assert f"outputs.mavlink.feed {autopilot}" in last
    assert ("sensor_id 1" if autopilot == "px4" else message) in last
