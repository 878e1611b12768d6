"""Whatever comes in, a value or one line of refusal comes out; what fuzzing found stays mended.

`tests/benchmarks/fuzz_inputs.py` does the same a hundred thousand times for each kind.
"""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("pymavlink", reason="needs the mavlink extra")

from edge_runtime.cli import main
from edge_runtime.contract.errors import ConfigError, DmnilError, StateError
from edge_runtime.flight_log.reader import _frame
from edge_runtime.mavlink.connection import parse_connection
from edge_runtime.mavlink.link import MavlinkConfig, MavlinkLink
from edge_runtime.outputs.json_udp import JsonUdpConfig, JsonUdpOutput
from edge_runtime.outputs.nmea_lines import open_line
from edge_runtime.outputs.nmea_output import NmeaConfig, NmeaOutput
from edge_runtime.outputs.publication import PublicationRule, reason_to_withhold
from edge_runtime.telemetry.csv_log import read_csv_log
from edge_runtime.telemetry.mavlink_telemetry import MavlinkTelemetry, MavlinkTelemetryConfig
from tests.benchmarks.fuzz_inputs import try_inputs
from tests.hostile.flights import FIX
from tests.hostile.kinds import READERS, opened
from tests.hostile.mutation import mutated, mutated_json
from tests.hostile.settings import LENSES

COUNTS = {"edge_yaml": 40, "camera_info": 150, "saved_state": 150, "flight_log": 150}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGPROF, signal.SIGALRM)}
    logging.disable()
    yield
    logging.disable(logging.NOTSET)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("kind", READERS)
def test_an_input_ends_in_a_value_or_one_refusal(kind: str, tmp_path: Path) -> None:
    trial = try_inputs(kind, COUNTS.get(kind, 300), 2, tmp_path)
    assert not trial.defects, trial.examples
    assert trial.accepted > 0  # mutations that break everything test nothing but the first check


def test_a_reader_that_fails_hangs_or_lies_is_a_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> None:
        raise KeyError("drone_latitude_deg")

    monkeypatch.setattr("tests.hostile.recordings.read_truth", fails)
    assert sum(try_inputs("truth", 5, 1, tmp_path).defects.values()) == 5

    def hangs(path: Path) -> None:
        while True:
            pass

    monkeypatch.setattr("tests.benchmarks.fuzz_inputs.LONGEST_S", 0.05)
    monkeypatch.setattr("tests.hostile.recordings.read_truth", hangs)
    assert [name.split()[0] for name in try_inputs("truth", 1, 1, tmp_path).defects] == [
        "TookTooLong"
    ]


def test_mutations_are_reproducible_and_mutate() -> None:
    seed = b"time_s,height\n0.5,100\n"
    first, again = ([mutated(Random(n), seed) for n in range(50)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 40
    assert mutated_json(Random(1), {"a": [1, 2]}) == mutated_json(Random(1), {"a": [1, 2]})


# What fuzzing found


def test_a_velocity_with_one_component_that_is_no_number_is_none() -> None:
    link = MavlinkLink(MavlinkConfig("udpin:127.0.0.1:0"))
    try:
        telemetry = MavlinkTelemetry(link, MavlinkTelemetryConfig(velocity="local_position_ned"))
        codec = link.dialect.MAVLink(None, srcSystem=1, srcComponent=1)

        def hear(message: object) -> None:
            packed = message.pack(codec)  # type: ignore[attr-defined]
            link._dispatch(codec.decode(bytearray(packed)), 10.0)

        hear(link.dialect.MAVLink_heartbeat_message(2, 12, 0, 0, 4, 3))
        hear(link.dialect.MAVLink_attitude_message(1000, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
        nan = float("nan")
        hear(link.dialect.MAVLink_local_position_ned_message(1000, 0, 0, 0, nan, 11.0, 0.0))
        sample = telemetry.at(10.0)
        assert sample is not None
        assert sample.is_finite
        assert sample.velocity_east_m_s is None
        assert telemetry.unusable == 1
    finally:
        link.close()


@pytest.mark.parametrize("host", ["..", "a..b", "x" * 300])
def test_what_is_no_name_of_a_host_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="give udpout:HOST:PORT"):
        parse_connection(f"udpout:{host}:14550")
    with pytest.raises(DmnilError, match="cannot be opened"):
        open_line(f"udp:{host}:10110")
    with pytest.raises(ConfigError, match="is nowhere"):
        JsonUdpOutput(JsonUdpConfig(to=f"{host}:5000"))


@pytest.mark.parametrize("text", ["udpin:a:{}", "/dev/ttyTHS1,{}", "serial:/dev/ttyTHS1:{}"])
def test_a_connection_with_a_number_of_thousands_of_digits_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="MAVLink connection"):
        parse_connection(text.format("9" * 5000))
    with pytest.raises(ConfigError, match="is none of"):
        open_line(f"udp:localhost:{'9' * 5000}")


def test_between_two_absurd_numbers_of_a_log_there_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = "0,100,0,-45\n1,1e308,0,1e308\n2,-1e308,0,-1e308\n3,100,0,-45\n"
    path.write_text(f"time_s,height_above_takeoff_m,heading_deg,camera_pitch_deg\n{rows}")
    log = read_csv_log(path)
    assert log.unusable == 2
    between = log.at(1.5, longest_gap_s=9.0)
    assert between is not None
    assert between.is_finite


def test_a_saved_state_with_rows_of_several_lengths_is_refused(tmp_path: Path) -> None:
    with opened("saved_state", tmp_path) as reader:
        path = tmp_path / "localiser.state"
        values = json.loads(path.read_text())
        assert reader.read(json.dumps(values).encode())
        values["view_sums"].append([1.0])
        with pytest.raises(StateError, match="do not fit"):
            reader.read(json.dumps(values).encode())


def test_logged_telemetry_that_is_no_number_is_refused() -> None:
    """A log's frames carry JSON, which Python reads NaN in."""
    values = {"name": "000001", "number": 1, "time_s": 0.5, "picture": "as flown"}
    sample = {"time_s": 0.5, "height_m": 100.0, "heading_deg": None, "pitch_deg": -90.0}
    whole = _frame({**values, "telemetry": sample}, 0, None)
    assert whole.sample is not None
    for number in (float("nan"), float("inf"), 1e18):
        with pytest.raises(ValueError, match="no number"):
            _frame({**values, "telemetry": {**sample, "height_m": number}}, 0, None)


@pytest.mark.parametrize("name", ["camera_matrix", "distortion_coefficients"])
def test_a_lens_of_absurd_numbers_is_refused(name: str, tmp_path: Path) -> None:
    with opened("camera_info", tmp_path) as reader:
        values = json.loads(json.dumps(LENSES[0]))
        assert reader.read(json.dumps(values).encode())
        values[name]["data"][0] = 10**200
        with pytest.raises(ConfigError, match="no lens has"):
            reader.read(json.dumps(values).encode())


@pytest.mark.parametrize("field", ["variance_east_m2", "covariance_east_north_m2", "radius95_m"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_position_of_unknown_uncertainty_never_leaves(field: str, value: float) -> None:
    assert FIX.position is not None
    unknown = replace(FIX, position=replace(FIX.position, **{field: value}))
    assert reason_to_withhold(FIX, FIX.time_s, PublicationRule()) == ""
    assert reason_to_withhold(unknown, FIX.time_s, PublicationRule()) == "too uncertain"


@pytest.mark.parametrize("time_s", [float("nan"), float("inf"), float("-inf"), 1e308])
def test_a_fix_of_no_time_neither_breaks_nmea_nor_silences_it(time_s: float) -> None:
    class Line:
        def send(self, payload: bytes) -> bool:
            return True

        def close(self) -> None: ...

    output = NmeaOutput(NmeaConfig(), Line(), clock=lambda: FIX.time_s)
    lost = replace(FIX, position=None)
    assert output.publish(replace(lost, time_s=time_s)) == []
    assert len(output.publish(FIX)) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"threads: null", "threads is empty"),
        (b"rate_hz:", "rate_hz is empty"),
        (b"source: -.inf", "source must hold keys and values, is -inf"),
        (b"outputs:\n  nmea: 5", "nmea"),
        (b"map: " + b"x" * 300, "map cannot be a file's name"),
        (b'map: "a\\0b"', "map holds a NUL"),
        (b"map: \xff\xfe", "the settings cannot be read"),
        (b"every_s: 1" + b"0" * 400, "the settings cannot be read"),
        (b"threads: " + b"9" * 5000, "the settings cannot be read"),
    ],
)
def test_settings_that_no_machine_has_are_one_line(
    text: bytes, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "edge.yaml"
    path.write_bytes(b"encoder: a.encoder\n" + text + b"\n")
    assert main(["run", "--config", str(path)]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert words in error
