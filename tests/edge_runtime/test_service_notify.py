"""What systemd hears from the service, over real datagram sockets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.service_notify import ServiceNotifier, notifier_from_environment
from tests.service_listener import Listener


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(str(tmp_path / "notify"))
    yield listener
    listener.close()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


def test_a_service_says_ready_status_and_stopping(listener: Listener, address: str) -> None:
    notifier = ServiceNotifier(address)
    notifier.ready()
    notifier.status("TRACKING")
    notifier.stopping()
    assert listener.heard() == ["READY=1", "STATUS=TRACKING", "STOPPING=1"]


def test_an_abstract_socket_is_reached_by_its_at_sign() -> None:
    name = f"edge_runtime-test-{os.getpid()}"
    listener = Listener(f"\0{name}")
    ServiceNotifier(f"@{name}").ready()
    heard = listener.heard()
    listener.close()
    assert heard == ["READY=1"]


def test_signs_of_life_are_sent_at_most_twice_an_interval(listener: Listener, address: str) -> None:
    clock = Clock()
    notifier = ServiceNotifier(address, watchdog_s=10.0, now_s=clock)
    sent_at_s = []
    for _ in range(21):  # frames at 1 Hz, for twice the interval
        notifier.alive()
        if listener.heard() == ["WATCHDOG=1"]:
            sent_at_s.append(clock.now_s - 100.0)
        clock.now_s += 1.0
    assert sent_at_s == [0.0, 5.0, 10.0, 15.0, 20.0]


def test_without_a_watchdog_there_are_no_signs_of_life(listener: Listener, address: str) -> None:
    ServiceNotifier(address).alive()
    assert listener.heard() == []


def test_a_status_is_sent_again_only_when_it_changed(listener: Listener, address: str) -> None:
    notifier = ServiceNotifier(address)
    for state in ("INIT", "INIT", "TRACKING", "TRACKING", "INIT"):
        notifier.status(state)
    assert listener.heard() == ["STATUS=INIT", "STATUS=TRACKING", "STATUS=INIT"]


def test_a_status_cannot_smuggle_in_another_message(listener: Listener, address: str) -> None:
    ServiceNotifier(address).status("LOST\nSTOPPING=1")
    assert listener.heard() == ["STATUS=LOST STOPPING=1"]


def test_a_manager_that_is_gone_does_not_end_the_flight(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ServiceNotifier(str(tmp_path / "nobody")).ready()
    assert "systemd was not told READY=1: No such file or directory" in caplog.text


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_outside_systemd_nothing_is_sent(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    notifier = notifier_from_environment(environment)
    notifier.ready()
    notifier.alive()
    notifier.stopping()
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("watchdog", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, ["WATCHDOG=1"]),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, ["WATCHDOG=1"]),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, []),
        ({"WATCHDOG_USEC": "0"}, []),
        ({"WATCHDOG_USEC": "soon"}, []),
        ({}, []),
    ],
)
def test_the_watchdog_is_the_one_that_the_environment_asks_for(
    listener: Listener, address: str, watchdog: dict[str, str], expected: list[str]
) -> None:
    notifier = notifier_from_environment({"NOTIFY_SOCKET": address, **watchdog})
    notifier.alive()
    notifier.alive()
    assert listener.heard() == expected
