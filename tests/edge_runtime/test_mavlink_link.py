from __future__ import annotations

import os
import pty
import random
import socket
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pymavlink", reason="needs the mavlink extra")
pytest.importorskip("serial", reason="needs the mavlink extra")

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_runtime.contract.errors import ConfigError
from edge_runtime.mavlink.connection import ConnectionAddress, parse_connection
from edge_runtime.mavlink.link import MavlinkConfig, MavlinkLink, open_link
from tests.free_ports import free_port
from tests.simulated_autopilot import (
    SimulatedAutopilot,
    autopilot_on_descriptor,
    autopilot_on_udp,
)
from tests.waiting import PATIENCE_S, wait_until

KEY = bytes(range(32))


@pytest.fixture
def link() -> Iterator[MavlinkLink]:
    link = open_link(MavlinkConfig("udpin:127.0.0.1:0", longest_back_off_s=0.2))
    yield link
    link.close()


def port_of(link: MavlinkLink) -> int:
    assert link.local_port is not None
    return link.local_port


def clock_error_us(link: MavlinkLink, autopilot: SimulatedAutopilot) -> float:
    """How far the link's idea of the autopilot's clock is off; too much where looking took long."""
    now_us = link.autopilot_time_us(time.monotonic())
    return float("inf") if now_us is None else abs(now_us - autopilot.clock_ns / 1000)


def attitude(autopilot: SimulatedAutopilot, yaw: float = 1.0) -> Any:
    return mavlink.MAVLink_attitude_message(autopilot.boot_ms, 0.0, 0.0, yaw, 0.0, 0.0, 0.0)


# Connection strings


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("udpin:0.0.0.0:14550", ConnectionAddress("udpin", "0.0.0.0", 14550)),
        ("udp:127.0.0.1:14550", ConnectionAddress("udpin", "127.0.0.1", 14550)),
        ("udpout:10.1.1.2:14540", ConnectionAddress("udpout", "10.1.1.2", 14540)),
        ("tcp:[::1]:5760", ConnectionAddress("tcp", "::1", 5760)),
        ("tcpin:0.0.0.0:5762", ConnectionAddress("tcpin", "0.0.0.0", 5762)),
        ("/dev/ttyTHS1", ConnectionAddress("serial", "/dev/ttyTHS1", 57600)),
        ("/dev/ttyTHS1,921600", ConnectionAddress("serial", "/dev/ttyTHS1", 921600)),
        ("/dev/ttyACM0:115200", ConnectionAddress("serial", "/dev/ttyACM0", 115200)),
        ("serial:/dev/ttyACM0:115200", ConnectionAddress("serial", "/dev/ttyACM0", 115200)),
        (
            "/dev/serial/by-id/usb-3D_Robotics-if00",
            ConnectionAddress("serial", "/dev/serial/by-id/usb-3D_Robotics-if00", 57600),
        ),
    ],
)
def test_connection_strings_are_those_of_pymavlink_and_mavproxy(
    text: str, address: ConnectionAddress
) -> None:
    assert parse_connection(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "udpin:", "udpin:14550", "udpout:host:0", "tcp:host:99999", "tty", "udp:h:x", "serial:"],
)
def test_what_is_no_connection_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MavlinkConfig(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"system_id": 0}, {"component_id": 256}, {"baud": 0}])
def test_impossible_settings_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        MavlinkConfig("udpin:127.0.0.1:0", **settings)  # type: ignore[arg-type]


# Receiving and sending


def test_the_autopilot_is_found_by_its_heartbeat_and_heard(link: MavlinkLink) -> None:
    heard: list[tuple[Any, float]] = []
    link.listen(lambda message, at_s: heard.append((message, at_s)))
    assert link.target is None
    assert "no autopilot" in link.fault
    with autopilot_on_udp(port_of(link), system=7) as autopilot:
        autopilot.stream = lambda it: [attitude(it)]
        assert wait_until(lambda: any(m.get_type() == "ATTITUDE" for m, _ in heard))
        assert link.target == (7, 1)
        assert link.fault == ""
        assert 0.0 <= link.heartbeat_age_s(time.monotonic()) < PATIENCE_S
        assert abs(heard[-1][1] - time.monotonic()) < PATIENCE_S


def test_the_autopilot_hears_a_heartbeat_of_component_197(link: MavlinkLink) -> None:
    with autopilot_on_udp(port_of(link)) as autopilot:
        assert wait_until(lambda: "HEARTBEAT" in autopilot.names_heard())
        heartbeat = next(m for m in autopilot.heard if m.get_type() == "HEARTBEAT")
        assert (heartbeat.get_srcSystem(), heartbeat.get_srcComponent()) == (1, 197)
        assert heartbeat.autopilot == mavlink.MAV_AUTOPILOT_INVALID
        assert heartbeat.get_msgbuf()[0] == 0xFD


def test_nothing_is_said_to_have_left_while_nobody_listens(link: MavlinkLink) -> None:
    assert link.send(link.heartbeat()) == b""
    assert link.counters.unsent >= 1


def test_what_left_is_what_came(link: MavlinkLink) -> None:
    with autopilot_on_udp(port_of(link)) as autopilot:
        assert wait_until(lambda: link.target)
        text = mavlink.MAVLink_statustext_message(6, b"vision lost")
        sent = link.send(text)
        assert wait_until(lambda: "STATUSTEXT" in autopilot.names_heard())
        came = next(m for m in autopilot.heard if m.get_type() == "STATUSTEXT")
        assert bytes(came.get_msgbuf()) == sent


def test_many_threads_may_send(link: MavlinkLink) -> None:
    with autopilot_on_udp(port_of(link)) as autopilot:
        assert wait_until(lambda: link.target)

        def speak() -> None:
            for number in range(50):
                link.send(mavlink.MAVLink_ping_message(number, number, 0, 0))

        threads = [threading.Thread(target=speak) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pings = lambda: [m for m in autopilot.heard if m.get_type() == "PING"]  # noqa: E731
        assert wait_until(lambda: len(pings()) == 200)
        assert "BAD_DATA" not in autopilot.names_heard()
        assert len({m.get_seq() for m in pings()}) > 190


def test_other_vehicles_and_ground_stations_are_left_alone(link: MavlinkLink) -> None:
    heard: list[int] = []
    link.listen(lambda message, at_s: heard.append(message.get_srcSystem()))
    with autopilot_on_udp(port_of(link)):
        assert wait_until(lambda: link.target)
        with autopilot_on_udp(port_of(link), system=9) as other:
            other.stream = lambda it: [attitude(it)]
            assert wait_until(lambda: link.counters.foreign > 5)
    assert link.target == (1, 1)
    assert set(heard) == {1}


def test_a_wanted_system_is_waited_for() -> None:
    link = open_link(MavlinkConfig("udpin:127.0.0.1:0", target_system=9))
    try:
        with autopilot_on_udp(port_of(link)), autopilot_on_udp(port_of(link), system=9):
            assert wait_until(lambda: link.target)
            assert link.target == (9, 1)
    finally:
        link.close()


def test_a_listener_that_fails_does_not_stop_the_others(
    link: MavlinkLink, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []

    def fail(message: Any, at_s: float) -> None:
        raise KeyError("own fault")

    link.listen(fail)
    link.listen(lambda message, at_s: heard.append(message))
    with autopilot_on_udp(port_of(link)):
        assert wait_until(lambda: len(heard) > 2)
    assert link.counters.listener_faults > 2
    assert "own fault" in caplog.text


def test_garbage_between_messages_is_counted_and_swallows_none(link: MavlinkLink) -> None:
    heard: list[float] = []
    link.listen(
        lambda message, at_s: (
            heard.append(message.yaw) if message.get_type() == "ATTITUDE" else None
        )
    )
    with autopilot_on_udp(port_of(link)) as autopilot:
        assert wait_until(lambda: link.target)
        for number in range(20):
            # A start of frame that promises 200 bytes: the message behind it must come through.
            autopilot.transmit_bytes(b"\x00\xfd\xc8\x00garbage")
            autopilot.send(attitude(autopilot, yaw=float(number)))
        autopilot.transmit_bytes(bytes(300))
        assert wait_until(lambda: len(heard) == 20)
    assert heard == [float(number) for number in range(20)]
    assert link.counters.garbage_bytes >= 20 * 11


def test_a_garbage_sender_is_never_spoken_to(link: MavlinkLink) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(0.3)
        stranger.sendto(b"hello", ("127.0.0.1", port_of(link)))
        with autopilot_on_udp(port_of(link)) as autopilot:
            assert wait_until(lambda: "HEARTBEAT" in autopilot.names_heard())
            with pytest.raises(TimeoutError):
                stranger.recv(100)


def test_a_flood_of_garbage_from_many_senders_costs_no_message(link: MavlinkLink) -> None:
    heard: list[float] = []
    link.listen(
        lambda message, at_s: (
            heard.append(message.yaw) if message.get_type() == "ATTITUDE" else None
        )
    )
    chance = random.Random(0)
    with ExitStack() as opened, autopilot_on_udp(port_of(link)) as autopilot:
        strangers = [
            opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            for _ in range(40)
        ]
        assert wait_until(lambda: link.target)
        for number in range(50):
            for stranger in strangers:
                data = b"\xfd" + chance.randbytes(chance.randrange(200))
                stranger.sendto(data, ("127.0.0.1", port_of(link)))
            autopilot.send(attitude(autopilot, yaw=float(number)))
            # The kernel keeps some hundred packets for a thread that waits for its turn, no more.
            assert wait_until(lambda awaited=number + 1: len(heard) == awaited)
    assert heard == [float(number) for number in range(50)]
    assert link.counters.garbage_bytes > 50_000
    assert link.counters.listener_faults == 0


# Lines that are lost


def test_udpout_reaches_a_listener_that_comes_late() -> None:
    port = free_port()
    link = open_link(MavlinkConfig(f"udpout:127.0.0.1:{port}"))
    try:
        time.sleep(0.2)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
            late.bind(("127.0.0.1", port))
            late.settimeout(PATIENCE_S)
            assert late.recv(300)[0] == 0xFD
    finally:
        link.close()


def test_tcp_is_opened_again_when_the_router_is_restarted() -> None:
    port = free_port()
    server = socket.create_server(("127.0.0.1", port))
    link = open_link(MavlinkConfig(f"tcp:127.0.0.1:{port}", longest_back_off_s=0.2))
    try:
        peer, _ = server.accept()
        server.close()  # first, or the link would be back before the router is gone
        peer.close()
        assert wait_until(lambda: link.fault and link.send(link.heartbeat()) == b"")
        with socket.create_server(("127.0.0.1", port)) as server:
            server.settimeout(PATIENCE_S)
            peer, _ = server.accept()
            with peer:
                assert wait_until(lambda: link.counters.reconnects == 1)
                peer.settimeout(PATIENCE_S)
                assert peer.recv(300)[0] == 0xFD
    finally:
        link.close()


def test_tcpin_takes_one_peer_after_another() -> None:
    link = open_link(MavlinkConfig("tcpin:127.0.0.1:0"))
    try:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port_of(link)), PATIENCE_S) as peer:
                peer.settimeout(PATIENCE_S)
                assert peer.recv(300)[0] == 0xFD
    finally:
        link.close()


def test_a_serial_line_carries_messages_both_ways() -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    link = open_link(MavlinkConfig(f"{os.ttyname(slave)},115200"))
    try:
        with autopilot_on_descriptor(master) as autopilot:
            assert wait_until(lambda: link.target)
            assert wait_until(lambda: link.is_synced)
            assert "HEARTBEAT" in autopilot.names_heard()
            assert wait_until(lambda: clock_error_us(link, autopilot) < 5000.0)
    finally:
        link.close()
        os.close(slave)
        os.close(master)


def test_an_unplugged_serial_device_is_taken_again_when_it_is_back(tmp_path: Path) -> None:
    device = tmp_path / "ttyACM0"
    master, slave = pty.openpty()
    tty.setraw(slave)
    device.symlink_to(os.ttyname(slave))
    link = open_link(MavlinkConfig(str(device), longest_back_off_s=0.1))
    try:
        with autopilot_on_descriptor(master):
            assert wait_until(lambda: link.target)
        os.close(slave)
        os.close(master)
        device.unlink()
        assert wait_until(lambda: str(device) in link.fault)
        assert link.send(link.heartbeat()) == b""
        master, slave = pty.openpty()
        tty.setraw(slave)
        device.symlink_to(os.ttyname(slave))
        heard: list[Any] = []
        link.listen(lambda message, at_s: heard.append(message))
        with autopilot_on_descriptor(master):
            assert wait_until(lambda: heard)
        assert link.counters.reconnects == 1
        assert link.fault == ""
    finally:
        link.close()
        os.close(slave)
        os.close(master)


def test_a_device_that_is_not_there_yet_is_no_error(tmp_path: Path) -> None:
    link = open_link(MavlinkConfig(str(tmp_path / "ttyACM0")))
    try:
        assert "ttyACM0" in link.fault
        assert link.target is None
        assert link.autopilot_time_us(time.monotonic()) is None
    finally:
        link.close()


def test_a_closed_link_sends_nothing_and_may_be_closed_again(link: MavlinkLink) -> None:
    link.close()
    link.close()
    assert link.send(link.heartbeat()) == b""


# The autopilot's clock over a real line


def test_the_clock_is_known_within_a_millisecond_and_followed_over_a_restart(
    link: MavlinkLink,
) -> None:
    with autopilot_on_udp(port_of(link), booted_s_ago=4000.0) as autopilot:
        autopilot.stream = lambda it: [attitude(it)]
        assert wait_until(lambda: clock_error_us(link, autopilot) < 1000.0)
        autopilot.restart()
        assert wait_until(lambda: link.counters.autopilot_restarts == 1)
        assert wait_until(lambda: clock_error_us(link, autopilot) < 1000.0)
        assert link.counters.timesync_resets == 1

        def there_and_back_s() -> float:
            moment_s = time.monotonic() - 0.05
            back_s = link.monotonic_s_of(link.autopilot_time_us(moment_s) or 0)
            return float("inf") if back_s is None else abs(back_s - moment_s)

        # Between the two questions the link may have learned better: it is asked again then.
        assert wait_until(lambda: there_and_back_s() < 1e-5)


def test_a_restart_is_one_whichever_message_tells_of_it_first() -> None:
    link = MavlinkLink(MavlinkConfig("udpin:127.0.0.1:0"))
    codec = mavlink.MAVLink(None, srcSystem=1, srcComponent=1)

    def hear(message: Any, received_s: float) -> None:
        link._dispatch(codec.decode(bytearray(message.pack(codec))), received_s)

    def tell_clock(boot_s: float, received_s: float) -> None:
        asked_ns = round((received_s - 0.002) * 1e9)
        link._clock._outstanding[asked_ns] = None
        hear(mavlink.MAVLink_timesync_message(round(boot_s * 1e9), asked_ns), received_s)

    def tell_attitude(boot_s: float, received_s: float) -> None:
        hear(mavlink.MAVLink_attitude_message(round(boot_s * 1e3), *[0.0] * 6), received_s)

    try:
        hear(mavlink.MAVLink_heartbeat_message(2, 12, 0, 0, 4, 3), 100.0)
        for number in range(5):
            tell_clock(4000.0 + 0.1 * number, 100.0 + 0.1 * number)
            tell_attitude(4000.0 + 0.1 * number, 100.0 + 0.1 * number)
        tell_clock(0.1, 101.0)  # before its attitude, which says the same
        for number in range(5):
            tell_attitude(0.2 + 0.1 * number, 101.1 + 0.1 * number)
            tell_clock(0.2 + 0.1 * number, 101.1 + 0.1 * number)
        assert link.counters.autopilot_restarts == 1
        assert link.counters.timesync_resets == 1
        assert link.autopilot_time_us(101.5) == pytest.approx(0.6e6, abs=2000)
    finally:
        link.close()


def test_an_asking_autopilot_is_answered_in_its_own_time(link: MavlinkLink) -> None:
    """PX4 shifts stamps by the offset that it finds: none, for stamps in its own time."""
    with autopilot_on_udp(port_of(link)) as autopilot:
        autopilot.asks_timesync = True

        def offsets_ms() -> list[float]:
            answers = [m for m in autopilot.heard if m.get_type() == "TIMESYNC" and m.tc1]
            return [(answer.tc1 - answer.ts1) / 1e6 for answer in answers]

        # An answer that had to wait for its turn tells how long: the promptest counts.
        assert wait_until(lambda: any(-1.0 < offset_ms < 50.0 for offset_ms in offsets_ms()))


def test_answers_to_another_companions_requests_are_not_taken(link: MavlinkLink) -> None:
    with autopilot_on_udp(port_of(link)) as autopilot:
        autopilot.answers_timesync = False
        autopilot.stream = lambda it: [mavlink.MAVLink_timesync_message(it.clock_ns, 12345)]
        assert wait_until(lambda: link.counters.received > 20)
    assert not link.is_synced


# Signing


def signed_link(path: Path) -> MavlinkLink:
    return open_link(MavlinkConfig("udpin:127.0.0.1:0", signing_key=path))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(KEY)
    return path


def test_signed_links_understand_each_other(key_file: Path) -> None:
    link = signed_link(key_file)
    try:
        with autopilot_on_udp(port_of(link), key=KEY) as autopilot:
            assert wait_until(lambda: link.target)
            assert wait_until(lambda: "HEARTBEAT" in autopilot.names_heard())
            assert next(m for m in autopilot.heard if m.get_type() == "HEARTBEAT").get_signed()
    finally:
        link.close()


@pytest.mark.parametrize("key", [None, bytes(32)], ids=["unsigned", "another key"])
def test_under_a_key_what_is_not_signed_with_it_is_refused(
    key_file: Path, key: bytes | None
) -> None:
    link = signed_link(key_file)
    try:
        with autopilot_on_udp(port_of(link), key=key):
            assert wait_until(lambda: link.counters.unsigned > 2)
            assert link.target is None
            assert link.counters.received == 0
    finally:
        link.close()


def test_a_forged_stamp_from_the_future_does_not_silence_the_true_sender(key_file: Path) -> None:
    link = signed_link(key_file)
    try:
        with (
            autopilot_on_udp(port_of(link), key=KEY),
            autopilot_on_udp(port_of(link), key=bytes(32)) as forger,
        ):
            assert wait_until(lambda: link.target)
            forger.codec.signing.timestamp = 2**47
            assert wait_until(lambda: link.counters.unsigned > 2)
            before = link.counters.received
            assert wait_until(lambda: link.counters.received > before + 2)
    finally:
        link.close()


def test_a_companion_without_a_clock_is_understood_once_it_has_heard_the_autopilot(
    key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("edge_runtime.mavlink.signing.time.time", lambda: 0.0)
        link = MavlinkLink(MavlinkConfig("udpin:127.0.0.1:0", signing_key=key_file))
    link.start()
    try:
        with autopilot_on_udp(port_of(link), key=KEY) as autopilot:
            now = autopilot.codec.signing.timestamp
            autopilot.codec.signing.stream_timestamps[197, 1, 197] = now - 1
            assert wait_until(lambda: "HEARTBEAT" in autopilot.names_heard())
    finally:
        link.close()


def test_a_passphrase_file_gives_mavproxys_key(tmp_path: Path) -> None:
    from hashlib import sha256

    from edge_runtime.mavlink.signing import read_signing_key

    path = tmp_path / "phrase"
    path.write_text("correct horse\n", encoding="utf-8")
    assert read_signing_key(path) == sha256(b"correct horse").digest()


@pytest.mark.parametrize("content", [None, b"", b"\n", b"x" * 5000])
def test_a_key_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="signing key"):
        MavlinkLink(MavlinkConfig("udpin:127.0.0.1:0", signing_key=path))
