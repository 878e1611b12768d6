"""Independent programs receive and decode what is sent: MAVSDK and MAVProxy, UDP and serial.

The autopilot's side of the wire (heartbeat, clock, origin) is a double; no PX4 or ArduPilot runs.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pymavlink", reason="pymavlink is not installed: the extra `mavlink` brings it")

from edge_runtime.mavlink.link import MavlinkConfig, MavlinkLink, open_link
from edge_runtime.outputs.mavlink_config import MavlinkOutputConfig
from edge_runtime.outputs.mavlink_output import MavlinkOutput
from edge_runtime.outputs.publication import deviation_m
from tests.edge_runtime.peers.flown_fixes import PLACE, lost, tracked
from tests.edge_runtime.peers.programs import (
    MAVPROXY_MISSING,
    MAVSDK_MISSING,
    MavproxyRouter,
    MavsdkStation,
    SerialWire,
)
from tests.free_ports import free_port
from tests.simulated_autopilot import (
    SimulatedAutopilot,
    autopilot_on_descriptor,
    autopilot_on_udp,
)
from tests.waiting import wait_until

LATITUDE, LONGITUDE = round(PLACE.latitude_deg * 1e7), round(PLACE.longitude_deg * 1e7)


class Flight:
    """Outputs of several feeds on one link, to compare what each of them sends."""

    def __init__(self, link: MavlinkLink, **config: Any) -> None:
        self.output = MavlinkOutput(MavlinkOutputConfig(**config), link)
        self.sent: list[str] = []

    def step(self) -> None:
        """A tracked frame exposed 20 ms ago, and a lost one just after."""
        now_s = time.monotonic()
        sent = self.output.publish(tracked(now_s - 0.02)) + self.output.tick(now_s)
        sent += self.output.publish(lost(now_s - 0.01))
        self.sent += [message.name for message in sent]
        time.sleep(0.02)


@pytest.fixture
def lines() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _linked(lines: ExitStack, connection: str, port: int) -> tuple[MavlinkLink, SimulatedAutopilot]:
    link = open_link(MavlinkConfig(connection=connection))
    lines.callback(link.close)
    autopilot = _of_no_make(autopilot_on_udp(port))
    lines.enter_context(autopilot)
    autopilot.stream = lambda double: [_origin(link)]
    return link, autopilot


def _of_no_make(autopilot: SimulatedAutopilot) -> SimulatedAutopilot:
    """A generic autopilot: one of a known make is only fed what is meant for it."""
    send = autopilot.send

    def send_as_generic(*messages: Any) -> None:
        for message in messages:
            if message.get_type() == "HEARTBEAT":
                message.autopilot = 0
        send(*messages)

    autopilot.send = send_as_generic  # type: ignore[method-assign]
    return autopilot


def _all_feeds(link: MavlinkLink) -> list[Flight]:
    return [
        Flight(link, feed="px4"),
        *(
            Flight(link, feed="ardupilot", ardupilot_message=message)
            for message in ("odometry", "gps_input", "position_reset")
        ),
    ]


def _step(flights: list[Flight]) -> None:
    for flight in flights:
        flight.step()


FED = ("GLOBAL_POSITION_SENSOR", "ODOMETRY", "GPS_INPUT", "COMMAND_INT")


@pytest.mark.skipif(bool(MAVSDK_MISSING), reason=MAVSDK_MISSING)
def test_mavsdk_decodes_every_message_over_udp(lines: ExitStack, tmp_path: Path) -> None:
    port = free_port()
    link, _ = _linked(lines, f"udpin:127.0.0.1:{port}", port)
    assert wait_until(lambda: link.is_synced)
    station = MavsdkStation(f"udpout://127.0.0.1:{port}", tmp_path)
    lines.enter_context(station)
    assert wait_until(lambda: station.messages("TIMESYNC"))
    _expect_every_message(station, _all_feeds(link))


def _origin(link: MavlinkLink) -> Any:
    return link.dialect.MAVLink_gps_global_origin_message(471_000_000, 86_000_000, 400_000)


def _expect_every_message(station: MavsdkStation, flights: list[Flight]) -> None:
    def everything_came() -> bool:
        _step(flights)
        qualities = {message["quality"] > 0 for message in station.messages("ODOMETRY")}
        return qualities == {True, False} and all(
            station.messages(name) for name in (*FED, "HEARTBEAT", "STATUSTEXT")
        )

    assert wait_until(everything_came), station.lines[-5:]
    _check_position_messages(station)


def _check_position_messages(station: MavsdkStation) -> None:
    # Exposed 20 ms before it was sent, and on a busy machine longer: the promptest counts.
    sensor = min(
        station.messages("GLOBAL_POSITION_SENSOR"), key=lambda message: message["processing_time"]
    )
    assert (sensor["lat"], sensor["lon"], sensor["source"]) == (LATITUDE, LONGITUDE, 2)
    assert sensor["eph"] == pytest.approx(deviation_m(PLACE), rel=1e-5)
    assert 20_000 <= sensor["processing_time"] < 500_000
    assert sensor["alt"] is None
    tracked_ones = [m for m in station.messages("ODOMETRY") if m["quality"] > 0]
    failed_ones = [m for m in station.messages("ODOMETRY") if m["quality"] == -1]
    assert {(m["frame_id"], m["child_frame_id"]) for m in tracked_ones} == {(20, 12)}
    # 0.023456 degrees north and 0.054321 degrees east of the origin.
    assert tracked_ones[0]["x"] == pytest.approx(2611.1, abs=0.1)
    assert tracked_ones[0]["y"] == pytest.approx(4115.3, abs=0.5)
    assert failed_ones[0]["x"] is None
    gps = station.messages("GPS_INPUT")[0]
    assert (gps["lat"], gps["lon"], gps["vn"], gps["ve"]) == (LATITUDE, LONGITUDE, -4.0, 3.0)
    assert gps["time_week"] > 2300
    command = station.messages("COMMAND_INT")[0]
    assert (command["command"], command["x"], command["y"]) == (43003, LATITUDE, LONGITUDE)
    assert command["param3"] == pytest.approx(deviation_m(PLACE), rel=1e-5)


@pytest.mark.skipif(bool(MAVSDK_MISSING), reason=MAVSDK_MISSING)
def test_mavsdk_decodes_every_message_over_a_serial_line(lines: ExitStack, tmp_path: Path) -> None:
    wire = lines.enter_context(SerialWire(3))
    link = open_link(MavlinkConfig(connection=f"{wire.devices[0]},115200"))
    lines.callback(link.close)
    autopilot = _of_no_make(autopilot_on_descriptor(wire.near[1]))
    autopilot.stream = lambda double: [_origin(link)]
    lines.enter_context(autopilot)
    assert wait_until(lambda: link.is_synced)
    station = MavsdkStation(f"serial://{wire.devices[2]}:115200", tmp_path)
    lines.enter_context(station)
    assert wait_until(lambda: station.messages("TIMESYNC"))
    _expect_every_message(station, _all_feeds(link))


@pytest.mark.skipif(bool(MAVSDK_MISSING), reason=MAVSDK_MISSING)
def test_mavsdk_hears_no_position_in_shadow_mode(lines: ExitStack, tmp_path: Path) -> None:
    port = free_port()
    link, autopilot = _linked(lines, f"udpin:127.0.0.1:{port}", port)
    assert wait_until(lambda: link.is_synced)
    station = MavsdkStation(f"udpout://127.0.0.1:{port}", tmp_path)
    lines.enter_context(station)
    assert wait_until(lambda: station.messages("TIMESYNC"))
    flight = Flight(link)

    def radius_came() -> bool:
        flight.step()
        return len(station.messages("NAMED_VALUE_FLOAT")) > 1

    assert wait_until(radius_came)
    assert not any(station.messages(name) for name in FED)
    assert not autopilot.names_heard() & set(FED)
    assert "vis_r95" in {m["name"] for m in station.messages("NAMED_VALUE_FLOAT")}


@pytest.mark.skipif(
    bool(MAVPROXY_MISSING or MAVSDK_MISSING), reason=MAVPROXY_MISSING or MAVSDK_MISSING
)
def test_mavproxy_routes_from_a_serial_line_to_the_autopilot_and_mavsdk(
    lines: ExitStack, tmp_path: Path
) -> None:
    wire = lines.enter_context(SerialWire())
    autopilot_port, station_port = free_port(), free_port()
    link = open_link(MavlinkConfig(connection=f"{wire.devices[0]},115200"))
    lines.callback(link.close)
    for name in ("router", "station"):
        (tmp_path / name).mkdir()
    station = MavsdkStation(f"udpin://127.0.0.1:{station_port}", tmp_path / "station")
    lines.enter_context(station)
    router = MavproxyRouter(
        wire.devices[1], [autopilot_port, station_port], list(FED), tmp_path / "router"
    )
    lines.enter_context(router)
    autopilot = lines.enter_context(_of_no_make(_autopilot_served_on(lines, autopilot_port)))
    assert wait_until(lambda: link.is_synced), router.lines
    flights = [
        Flight(link, feed="px4"),
        Flight(link, feed="ardupilot", ardupilot_message="gps_input"),
    ]
    names = ("GLOBAL_POSITION_SENSOR", "GPS_INPUT")

    def everything_came() -> bool:
        _step(flights)
        return (
            all(station.messages(name) for name in names)
            and all(router.watched(name) for name in names)
            and set(names) <= autopilot.names_heard()
        )

    assert wait_until(everything_came), (router.lines, station.lines[-4:])
    assert station.messages("GLOBAL_POSITION_SENSOR")[0]["lat"] == LATITUDE
    assert f"lat : {LATITUDE}" in router.watched("GLOBAL_POSITION_SENSOR")[0]


def _autopilot_served_on(lines: ExitStack, port: int) -> SimulatedAutopilot:
    """The double behind a router that speaks first: it answers whoever it hears from."""
    endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    lines.callback(endpoint.close)
    endpoint.bind(("127.0.0.1", port))
    peers: list[Any] = []

    def receive(timeout_s: float) -> bytes:
        if not select.select([endpoint], [], [], timeout_s)[0]:
            return b""
        data, sender = endpoint.recvfrom(65535)
        peers[:] = [sender]
        return data

    def transmit(data: bytes) -> None:
        for peer in peers:
            endpoint.sendto(data, peer)

    return SimulatedAutopilot(transmit, receive)


def test_after_a_restart_odometry_goes_on_by_the_new_clock_and_origin(lines: ExitStack) -> None:
    port = free_port()
    link, autopilot = _linked(lines, f"udpin:127.0.0.1:{port}", port)
    flight = Flight(link, feed="ardupilot")

    def positions() -> list[Any]:
        heard = [m for m in autopilot.heard if m.get_type() == "ODOMETRY"]
        return [message for message in heard if message.quality > 0]

    def flown() -> list[Any]:
        flight.step()
        return positions()

    assert wait_until(flown)
    autopilot.stream = lambda double: []
    autopilot.restart()
    assert wait_until(lambda: link.counters.autopilot_restarts + link.counters.timesync_resets)
    assert wait_until(lambda: link.is_synced)
    autopilot.heard.clear()
    for _ in range(5):
        flight.step()
    assert positions() == []
    autopilot.stream = lambda double: [
        link.dialect.MAVLink_gps_global_origin_message(472_000_000, 86_000_000, 400_000)
    ]
    assert wait_until(flown)
    message = positions()[-1]
    assert message.x == pytest.approx((PLACE.latitude_deg - 47.2) * 111318.845, abs=1.0)
    assert abs(message.time_usec - autopilot.clock_ns // 1000) < 20_000_000  # of 100 s before
