"""Results that are computed ahead of whoever takes them."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from dmnil_maps.read_ahead import mapped_ahead


@pytest.mark.parametrize("threads", [1, 3])
def test_results_keep_the_order_of_the_items_however_long_each_takes(threads):
    def slow_at_first(number):
        time.sleep(0.02 if number % 4 == 0 else 0.0)
        return number * number

    found = list(mapped_ahead(slow_at_first, range(20), threads, 4))
    assert found == [number * number for number in range(20)]


def test_no_more_is_computed_ahead_than_asked_for():
    begun = []
    with closing(mapped_ahead(lambda n: begun.append(n) or n, iter(range(100)), 2, 5)) as results:
        assert next(results) == 0
        time.sleep(0.1)
        assert len(begun) <= 6
    time.sleep(0.05)
    assert len(begun) <= 6


def test_several_threads_work_at_once():
    meeting = threading.Barrier(3, timeout=120.0)
    assert list(mapped_ahead(lambda n: (meeting.wait(), n)[1], range(6), 3, 3)) == list(range(6))


def test_an_error_appears_in_its_place():
    results = mapped_ahead(lambda n: 1 // (3 - n), range(6), 2, 4)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
