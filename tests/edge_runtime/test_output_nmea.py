"""NMEA 0183: sentences, the lines they leave by, and a real gpsd that reads them."""

from __future__ import annotations

import math
import os
import pty
import re
import select
import socket
import tty
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings

from edge_runtime.contract.errors import ConfigError, OutputError
from edge_runtime.contract.fix import Fix, IntegrityState, Velocity
from edge_runtime.outputs.nmea_lines import SerialLine, TcpServerLine, open_line
from edge_runtime.outputs.nmea_output import NmeaConfig, NmeaOutput
from edge_runtime.outputs.nmea_sentences import sentence, sentences
from edge_runtime.outputs.publication import longitude_within_180
from edge_runtime.outputs.utc_clock import UtcClock

pytest.importorskip("pymavlink", reason="pymavlink is not installed: the extra `mavlink` brings it")

from tests.edge_runtime.peers.flown_fixes import (
    PLACE,
    Clock,
    KeepingLine,
    fixes,
    lost,
    tracked,
)
from tests.edge_runtime.peers.gpsd_peer import GPSD_MISSING, GpsdPeer
from tests.edge_runtime.peers.programs import SerialWire
from tests.free_ports import free_port
from tests.waiting import PATIENCE_S, wait_until

UTC_S = datetime(2026, 11, 23, 4, 5, 6, 789_000, timezone.utc).timestamp()
WELL_FORMED = re.compile(rb"\$([A-Z]{5},[^$*\r\n]*)\*([0-9A-F]{2})\r\n")


def lines(fix: Fix, utc_s: float | None = UTC_S) -> dict[str, str]:
    position = fix.position if fix.state.publishes else None
    return {
        name: line.decode("ascii").strip() for name, line in sentences(fix, position, utc_s, "GP")
    }


def output(line: KeepingLine, clock: Clock, **config: object) -> NmeaOutput:
    utc = UtcClock(lambda: UTC_S, clock)
    return NmeaOutput(NmeaConfig(**config), line, clock=clock, utc=utc)  # type: ignore[arg-type]


def test_sentences_of_a_tracked_fix_are_these() -> None:
    assert lines(tracked(0.0)) == {
        "GGA": "$GPGGA,040506.789,4707.40736,N,00839.25926,E,1,00,,,M,,M,,*49",
        "RMC": "$GPRMC,040506.789,A,4707.40736,N,00839.25926,E,9.72,143.1,231126,,,A*5B",
        "GST": "$GPGST,040506.789,,13.1,9.5,63.1,10.4,12.4,*6F",
    }


def test_the_checksum_is_that_of_a_known_sentence() -> None:
    body = "GPGGA,092750.000,5321.6802,N,00630.3372,W,1,8,1.03,61.7,M,55.2,M,,"
    assert sentence(body).endswith(b"*76\r\n")


def test_coasting_is_an_estimate_and_no_position_is_no_fix() -> None:
    coasting = lines(tracked(0.0, state=IntegrityState.COASTING))
    assert ",E,6,00," in coasting["GGA"]
    assert coasting["RMC"].split("*")[0].endswith(",E")
    nothing = lines(lost(0.0))
    assert nothing["GGA"].startswith("$GPGGA,040506.789,,,,,0,00,")
    assert nothing["RMC"].startswith("$GPRMC,040506.789,V,,,,,,,231126,,,N")
    assert "GST" not in nothing


def test_speed_and_course_come_from_the_filter_or_not_at_all() -> None:
    fields = lines(tracked(0.0, velocity=Velocity(0.0, -10.0, 0.5)))["RMC"].split(",")
    assert fields[7:9] == ["19.44", "180.0"]
    assert lines(tracked(0.0, velocity=None))["RMC"].split(",")[7:9] == ["", ""]


def test_without_a_wall_clock_there_is_no_time_but_a_position() -> None:
    told = lines(tracked(0.0), utc_s=None)
    assert told["GGA"].startswith("$GPGGA,,4707.40736,N")
    assert told["RMC"].split(",")[9] == ""


def test_sixty_minutes_are_a_degree_and_the_south_west_is_named() -> None:
    place = replace(PLACE, latitude_deg=-33.999999999, longitude_deg=-70.5)
    assert "3400.00000,S,07030.00000,W" in lines(tracked(0.0, position=place))["GGA"]


def test_the_error_ellipse_lies_along_its_long_axis() -> None:
    # 20 m along north-east (45 degrees), 5 m across: variances (400 + 25) / 2, covariance 187.5.
    place = replace(
        PLACE,
        variance_east_m2=212.5,
        variance_north_m2=212.5,
        covariance_east_north_m2=187.5,
        radius95_m=0.0,
    )
    fields = lines(tracked(0.0, position=place))["GST"].split(",")
    assert fields[3:6] == ["20.0", "5.0", "45.0"]


@settings(max_examples=300, deadline=None)
@given(fixes())
def test_whatever_the_fix_sentences_are_whole_and_hold_the_place_or_none(fix: Fix) -> None:
    clock, line = Clock(), KeepingLine()
    sent = output(line, clock).publish(fix)
    assert [message.payload for message in sent] == line.data
    may_leave = fix.state.publishes and not fix.engine_fault
    for payload in line.data:
        match = WELL_FORMED.fullmatch(payload)
        assert match is not None
        assert sentence(match[1].decode("ascii")) == payload
        assert len(payload) <= 82
        fields = match[1].decode("ascii").split(",")
        if fields[0] == "GPGGA" and fields[2]:
            assert may_leave
            assert fix.position is not None
            latitude, longitude = _degrees(fields[2], fields[3]), _degrees(fields[4], fields[5])
            assert latitude == pytest.approx(fix.position.latitude_deg, abs=1e-7)
            expected = longitude_within_180(fix.position.longitude_deg)
            assert longitude == pytest.approx(expected, abs=1e-7)
        elif fields[0] == "GPGGA":
            assert fields[6] == "0"


def _degrees(text: str, side: str) -> float:
    digits = text.index(".") - 2
    minutes = float(text[digits:])
    assert minutes < 60.0
    angle = int(text[:digits]) + minutes / 60.0
    return -angle if side in "SW" else angle


def test_old_frames_and_repeated_ones_are_not_told() -> None:
    clock, line = Clock(), KeepingLine()
    nmea = output(line, clock)
    assert len(nmea.publish(tracked(999.9))) == 3
    assert nmea.publish(tracked(999.9)) == []
    clock.now_s = 1010.0
    assert nmea.publish(tracked(1000.0)) == []
    assert [message.name for message in nmea.publish(tracked(1009.9))] == ["GGA", "RMC", "GST"]


def test_coasting_may_be_withheld_and_a_broken_engine_always_is() -> None:
    clock, line = Clock(), KeepingLine()
    nmea = output(line, clock, coasting="withhold", talker="IN")
    nmea.publish(tracked(999.8, state=IntegrityState.COASTING))
    nmea.publish(tracked(999.9, engine_fault="cosine 0.4"))
    assert [data[:6] for data in line.data] == [b"$INGGA", b"$INRMC"] * 2
    assert all(b",0,00," in data for data in line.data if b"GGA" in data)


def test_what_nobody_got_is_counted_and_not_logged() -> None:
    nmea = output(KeepingLine(takes=False), Clock())
    assert nmea.publish(tracked(999.9)) == []
    assert nmea.unsent == 3


def test_a_tcp_server_serves_readers_that_come_and_go_and_waits_for_none() -> None:
    line = TcpServerLine("127.0.0.1", 0)
    assert not line.send(b"$nobody\r\n")
    with socket.create_connection(("127.0.0.1", line.port)) as reader:
        assert wait_until(lambda: line.send(b"$A\r\n"))
        assert reader.recv(16) == b"$A\r\n"
        with socket.create_connection(("127.0.0.1", line.port)) as second:
            assert line.send(b"$B\r\n")
            assert second.recv(16) == reader.recv(16) == b"$B\r\n"
        assert wait_until(lambda: not line.send(b"$C" * 5000))
    line.close()


def test_udp_carries_a_sentence_a_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reader:
        reader.bind(("127.0.0.1", 0))
        nmea = NmeaOutput(NmeaConfig(to=f"udp:127.0.0.1:{reader.getsockname()[1]}"), clock=Clock())
        nmea.publish(tracked(999.9))
        assert [reader.recv(200)[3:6] for _ in range(3)] == [b"GGA", b"RMC", b"GST"]
        nmea.close()


@pytest.fixture
def terminal() -> Iterator[tuple[int, Path]]:
    """A pseudo-terminal: the far end, and the device's path."""
    far, near = pty.openpty()
    tty.setraw(near)
    yield far, Path(os.ttyname(near))
    for descriptor in (far, near):
        os.close(descriptor)


def test_a_serial_device_gets_the_sentences(terminal: tuple[int, Path]) -> None:
    pytest.importorskip("serial", reason="pyserial is not installed")
    far, device = terminal
    nmea = NmeaOutput(NmeaConfig(to=f"serial:{device},9600"), clock=Clock())
    sent = nmea.publish(tracked(999.9))
    expected = b"".join(message.payload for message in sent)
    got = b""
    while len(got) < len(expected) and select.select([far], [], [], PATIENCE_S)[0]:
        got += os.read(far, 1000)
    assert got == expected
    assert got.count(b"$GP") == 3
    nmea.close()


def test_a_serial_device_that_nobody_reads_never_holds_the_flight_up(
    terminal: tuple[int, Path],
) -> None:
    pytest.importorskip("serial", reason="pyserial is not installed")
    line = open_line(f"serial:{terminal[1]},9600")
    taken = [line.send(b"$" + b"x" * 999) for _ in range(200)]
    assert not taken[-1]

    def takes_again_once_it_is_read() -> bool:
        while select.select([terminal[0]], [], [], 0.1)[0]:
            os.read(terminal[0], 65536)
        return line.send(b"$again")

    assert wait_until(takes_again_once_it_is_read)
    line.close()


def test_a_serial_device_that_comes_back_is_opened_again(tmp_path: Path) -> None:
    pytest.importorskip("serial", reason="pyserial is not installed")
    clock = Clock()
    device = tmp_path / "gps"
    line = SerialLine(str(device), 9600, clock)
    assert not line.send(b"$A")
    far, near = pty.openpty()
    device.symlink_to(os.ttyname(near))
    assert not line.send(b"$B")
    clock.now_s += 2.0
    assert line.send(b"$C")
    assert os.read(far, 10) == b"$C"
    os.close(far)
    os.close(near)
    assert not line.send(b"$D")
    line.close()


@pytest.mark.parametrize("address", ["", "udp:9000", "tcp:host", "serial:/dev/x", "file:/tmp/x"])
def test_an_address_that_is_none_is_refused_with_the_forms(address: str) -> None:
    with pytest.raises(ConfigError, match="serial:DEVICE,BAUD"):
        open_line(address)


def test_a_port_that_is_taken_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp:127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OutputError, match=address):
            open_line(address)


def test_a_talker_is_two_capital_letters() -> None:
    with pytest.raises(ConfigError, match="talker"):
        NmeaConfig(talker="gps")


@pytest.mark.skipif(bool(GPSD_MISSING), reason=GPSD_MISSING)
@pytest.mark.parametrize("way", ["tcp", "udp", "serial"])
def test_gpsd_reads_the_position_speed_and_errors(way: str, tmp_path: Path) -> None:
    pytest.importorskip("serial", reason="pyserial is not installed")
    clock = Clock()
    to, source = _way_to_gpsd(way)
    with ExitStack() as stack:
        if way == "serial":
            wire = stack.enter_context(SerialWire())
            to, source = f"serial:{wire.devices[0]},9600", str(wire.devices[1])
        nmea = NmeaOutput(NmeaConfig(to=to), clock=clock, utc=UtcClock(monotonic_s=clock))
        stack.callback(nmea.close)
        gpsd = stack.enter_context(GpsdPeer(source, tmp_path))

        def reported(state: IntegrityState, key: str) -> bool:
            clock.now_s += 0.2
            exposed_s = clock.now_s - 0.1
            nmea.publish(tracked(exposed_s) if state.publishes else lost(exposed_s, state))
            mode = 2 if state.publishes else 1
            return any(r.get("mode", mode) == mode and key in r for r in gpsd.reports(0.1))

        for key in ("speed", "major"):
            assert wait_until(partial(reported, IntegrityState.TRACKING, key)), gpsd.errors()
        report = next(r for r in reversed(gpsd.seen) if "speed" in r and "lat" in r)
        assert report["lat"] == pytest.approx(PLACE.latitude_deg, abs=1e-6)
        assert report["lon"] == pytest.approx(PLACE.longitude_deg, abs=1e-6)
        assert report["speed"] == pytest.approx(5.0, abs=0.01)
        assert report["track"] == pytest.approx(math.degrees(math.atan2(3, -4)), abs=0.1)
        assert "alt" not in report
        errors = next(r for r in reversed(gpsd.seen) if r["class"] == "GST")
        assert (errors["major"], errors["minor"], errors["orient"]) == (13.1, 9.5, 63.1)
        gpsd.seen.clear()
        assert wait_until(partial(reported, IntegrityState.LOST, "mode")), gpsd.seen
        assert not any("lat" in r for r in gpsd.seen if r.get("mode") == 1)


def _way_to_gpsd(way: str) -> tuple[str, str]:
    port = free_port()
    return f"{way}:127.0.0.1:{port}", f"{way}://127.0.0.1:{port}"
