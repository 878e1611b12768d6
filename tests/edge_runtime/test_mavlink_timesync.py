from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.mavlink.timesync import TimesyncFilter

OneWay = Callable[[np.random.Generator], float]


def quick_serial(random: np.random.Generator) -> float:
    return 1e-3 + random.exponential(2e-3)


def busy_serial(random: np.random.Generator) -> float:
    is_held_up = random.random() < 0.05
    return 2e-3 + (random.uniform(0.05, 0.3) if is_held_up else random.exponential(8e-3))


class Clocks:
    """Two clocks and a line of random delay between them; the filter's errors in ms."""

    def __init__(self, one_way: OneWay, drift: float = 40e-6, seed: int = 0) -> None:
        self.filter = TimesyncFilter()
        self.random = np.random.default_rng(seed)
        self.one_way, self.drift = one_way, drift
        self.now_s, self.offset_s = 1000.0, -900.0

    def remote_s(self, local_s: float) -> float:
        return local_s + self.offset_s + self.drift * (local_s - 1000.0)

    def run(self, seconds: float) -> list[float]:
        end_s, errors_ms = self.now_s + seconds, []
        while self.now_s < end_s:
            self.now_s += 1.0 if self.filter.is_settled else 0.1
            there_s = self.now_s + self.one_way(self.random)
            back_s = there_s + self.one_way(self.random)
            self.filter.take(*(round(t * 1e9) for t in (self.now_s, back_s)), self.stamp(there_s))
            errors_ms.append(self.error_ms(back_s + 0.5))
        return [error for error in errors_ms if error is not None]

    def stamp(self, local_s: float) -> int:
        return round(self.remote_s(local_s) * 1e9)

    def error_ms(self, local_s: float) -> float | None:
        remote_ns = self.filter.remote_ns(round(local_s * 1e9))
        return None if remote_ns is None else abs(remote_ns / 1e6 - self.remote_s(local_s) * 1e3)


@pytest.mark.parametrize(
    ("one_way", "limit_ms"), [(quick_serial, 1.0), (busy_serial, 5.0)], ids=["quick", "busy"]
)
def test_the_clock_is_followed_under_jitter_and_drift(one_way: OneWay, limit_ms: float) -> None:
    for seed in range(5):
        clocks = Clocks(one_way, seed=seed)
        clocks.run(30.0)
        assert max(clocks.run(300.0)) < limit_ms
        assert clocks.filter.resets == 0
        assert clocks.filter.drift == pytest.approx(40e-6, abs=60e-6)


def test_there_is_no_time_before_enough_exchanges_agree() -> None:
    timesync = TimesyncFilter()
    for number in range(3):
        timesync.take(number * 10**9, number * 10**9 + 10**6, 5 * 10**9 + number * 10**9)
        assert timesync.remote_ns(4 * 10**9) is None
        assert timesync.local_ns(4 * 10**9) is None


def test_constant_round_trips_give_the_offset_to_the_nanosecond() -> None:
    timesync = TimesyncFilter()
    for number in range(20):
        sent_ns = 10**12 + number * 10**9
        timesync.take(sent_ns, sent_ns + 2 * 10**6, sent_ns + 10**6 - 7 * 10**11)
    at_ns = 10**12 + 25 * 10**9
    remote_ns = timesync.remote_ns(at_ns)
    assert remote_ns is not None
    assert abs(remote_ns - (at_ns - 7 * 10**11)) <= 1
    back_ns = timesync.local_ns(remote_ns)
    assert back_ns is not None
    assert abs(back_ns - at_ns) <= 1


def test_a_clock_that_went_back_is_a_restart_at_once() -> None:
    clocks = Clocks(quick_serial)
    clocks.run(30.0)
    clocks.offset_s -= 50.0
    clocks.run(0.5)
    assert clocks.filter.resets == 1
    assert max(clocks.run(5.0)[5:]) < 3.0


@pytest.mark.parametrize("jump_s", [0.2, 3600.0, -0.2])
def test_a_jump_is_followed_after_three_exchanges(jump_s: float) -> None:
    clocks = Clocks(quick_serial)
    clocks.run(30.0)
    clocks.offset_s += jump_s
    clocks.run(4.0)
    assert clocks.filter.resets == 1
    assert clocks.filter.outliers >= 3
    assert max(clocks.run(10.0)) < 3.0


def test_single_wild_stamps_move_nothing() -> None:
    clocks = Clocks(quick_serial)
    clocks.run(30.0)
    for _ in range(20):
        sent_ns = round(clocks.now_s * 1e9)
        clocks.filter.take(sent_ns, sent_ns + 10**6, clocks.stamp(clocks.now_s + 5.0))
        assert max(clocks.run(3.0)) < 1.0
    assert clocks.filter.resets == 0
    assert clocks.filter.outliers == 20


def test_a_long_silence_ends_the_knowledge() -> None:
    clocks = Clocks(quick_serial)
    clocks.run(30.0)
    assert clocks.error_ms(clocks.now_s + 50.0) is not None
    assert clocks.error_ms(clocks.now_s + 62.0) is None


@given(
    st.lists(
        st.tuples(*[st.integers(-(2**63), 2**63 - 1)] * 3)
        | st.tuples(st.integers(0, 10**10), st.integers(0, 10**10), st.integers(0, 10**10)),
        max_size=40,
    )
)
def test_no_stamps_break_the_filter(exchanges: list[tuple[int, int, int]]) -> None:
    timesync = TimesyncFilter()
    for sent_ns, received_ns, remote_ns in exchanges:
        timesync.take(sent_ns, received_ns, remote_ns)
        timesync.remote_ns(received_ns)
        timesync.local_ns(remote_ns)
