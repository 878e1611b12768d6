"""JSON datagrams, and opening outputs together."""

from __future__ import annotations

import json
import math
import socket
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import Fix
from edge_runtime.outputs import json_udp
from edge_runtime.outputs.json_udp import JsonUdpConfig, JsonUdpOutput, datagram
from edge_runtime.outputs.mavlink_config import MavlinkOutputConfig
from edge_runtime.outputs.mavlink_output import MavlinkOutput
from edge_runtime.outputs.nmea_output import NmeaConfig, NmeaOutput
from edge_runtime.outputs.open import OutputsConfig, open_outputs
from edge_runtime.outputs.publication import deviation_m
from edge_runtime.outputs.utc_clock import UtcClock

pytest.importorskip("pymavlink", reason="pymavlink is not installed: the extra `mavlink` brings it")

from tests.edge_runtime.peers.flown_fixes import (
    PLACE,
    Clock,
    KeepingLine,
    KeepingLink,
    fixes,
    lost,
    tracked,
)
from tests.free_ports import free_port


def told(fix: Fix, now_s: float = 1000.0) -> dict[str, Any]:
    clock, line = Clock(now_s), KeepingLine()
    utc = UtcClock(lambda: 1_790_000_000.0, clock)
    JsonUdpOutput(JsonUdpConfig(), line, clock=clock, utc=utc).publish(fix)
    (payload,) = line.data
    decoded: dict[str, Any] = json.loads(payload)
    return decoded


def test_a_fix_is_a_datagram_over_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reader:
        reader.bind(("127.0.0.1", 0))
        reader.settimeout(60.0)
        clock = Clock(1000.0)
        address = f"127.0.0.1:{reader.getsockname()[1]}"
        output = JsonUdpOutput(JsonUdpConfig(to=address), clock=clock)
        (sent,) = output.publish(tracked(999.9))
        output.publish(lost(999.95))
        first, second = reader.recv(2000), reader.recv(2000)
        output.close()
    assert first == sent.payload
    assert [json.loads(data)["sequence"] for data in (first, second)] == [0, 1]
    assert json.loads(second)["published"] is False


def test_a_datagram_holds_what_the_schema_says() -> None:
    content = told(tracked(999.9, reset_counter=3))
    assert (content["schema"], content["version"]) == ("dmnil.fix", 1)
    assert content["state"] == "TRACKING"
    assert content["published"] is True
    assert content["utc_s"] == pytest.approx(1_790_000_000.0 - 0.1)
    assert content["age_s"] == pytest.approx(0.1)
    assert content["position"]["latitude_deg"] == PLACE.latitude_deg
    assert content["position"]["deviation_m"] == pytest.approx(deviation_m(PLACE))
    assert content["velocity"]["north_m_s"] == -4.0
    assert content["reset_counter"] == 3
    documented = {
        name
        for line in (json_udp.__doc__ or "").splitlines()
        if line.startswith("| `")
        for name in line.split("|")[1].replace("`", " ").replace(",", " ").split()
    }
    assert set(content) == documented


@pytest.mark.parametrize(
    ("fix", "why"),
    [
        (lost(999.9), "no position"),
        (tracked(999.9, engine_fault="cosine 0.4"), "engine fault"),
        (tracked(990.0), "stale"),
    ],
)
def test_without_a_position_it_says_why(fix: Fix, why: str) -> None:
    content = told(fix)
    assert (content["published"], content["position"], content["withheld"]) == (False, None, why)


@settings(max_examples=300, deadline=None)
@given(fixes())
def test_whatever_the_fix_a_datagram_is_json_and_fits_one_packet(fix: Fix) -> None:
    fix = replace(fix, heading_deg=math.inf)
    payload = datagram(fix, 2**31, 0.1, None)
    content = json.loads(payload, parse_constant=lambda name: pytest.fail(name))
    assert content["heading_deg"] is None
    assert len(payload) <= 1472


def test_what_the_network_did_not_take_is_counted() -> None:
    output = JsonUdpOutput(JsonUdpConfig(), KeepingLine(takes=False), clock=Clock(1000.0))
    assert output.publish(tracked(999.9)) == []
    assert output.unsent == 1


@pytest.mark.parametrize("address", ["nowhere", "host:", "host:70000", ":9000", "host:0"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"outputs\.json\.to"):
        JsonUdpOutput(JsonUdpConfig(to=address))


def test_nothing_named_is_nothing_opened() -> None:
    assert open_outputs(OutputsConfig(), None) == []


def test_what_is_named_is_opened_and_a_link_is_always_told_of() -> None:
    config = OutputsConfig(
        nmea=NmeaConfig(to="tcp:127.0.0.1:0"), json=JsonUdpConfig(to="127.0.0.1:9")
    )
    outputs = open_outputs(config, _link(timesync=True))
    assert [type(output) for output in outputs] == [MavlinkOutput, NmeaOutput, JsonUdpOutput]
    for output in outputs:
        output.close()


def test_feeding_without_a_link_or_without_its_clock_is_refused() -> None:
    config = OutputsConfig(mavlink=MavlinkOutputConfig(feed="px4"))
    with pytest.raises(ConfigError, match=r"needs mavlink\.connection"):
        open_outputs(config, None)
    with pytest.raises(ConfigError, match="timesync"):
        open_outputs(config, _link(timesync=False))


def test_one_output_that_cannot_open_leaves_none_open() -> None:
    port = free_port()
    config = OutputsConfig(
        nmea=NmeaConfig(to=f"tcp:127.0.0.1:{port}"), json=JsonUdpConfig(to="nowhere")
    )
    with pytest.raises(ConfigError):
        open_outputs(config, None)
    socket.create_server(("127.0.0.1", port)).close()


def _link(*, timesync: bool) -> Any:
    link: Any = KeepingLink()
    link.config = SimpleNamespace(timesync=timesync)
    return link
