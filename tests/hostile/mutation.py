"""Inputs that nobody would send in good faith: random ones, and real ones with pieces altered."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from random import Random
from typing import Any

NUMBERS = (
    *("nan", "-nan", "inf", "-inf", ".nan", ".inf", "1e308", "-1e308", "1e400", "5e-324", "-0.0"),
    *("0", "-1", "1", "255", "65536", "2147483648", "18446744073709551616", "1" * 400, "9" * 5000),
    *("1_000", "0x7f", "0o17", "1:30", "٣", "--5", "1e", "", "true", "null", "1970-01-01"),
)
NASTY_BYTES = (
    *(b"", b"\x00", b"\xff", b"\r\n", b"\n\n", b'"', b"'", b",", b":", b"{", b"[", b"]", b"}"),
    *(b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1b[31m", b"%s%n", b"../", b"&a", b"*a", b"!!python/"),
    *(b"\xfd", b"\xfe", b"\x89MCAP0\r\n", b"\xff" * 8, b"<<: *a", b"- " * 60, b"[" * 3000),
    *(b"\xe2\x80\xa8", b"\x85", b"\x0c", b"\x1c", b"\t"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, 0.0, -0.0, 0.5, -1.5, 5e-324),
    *(1e308, -1e308, float("nan"), float("inf"), float("-inf"), "", "nan", "\x00", "\ud800"),
    *("x" * 2000, [], {}, [[]], [None], {"a": 1}, {"": None}, [0.0] * 300, "1", "12.5", "[1]"),
)
_NUMBER = re.compile(rb"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_MOST_BYTES = 1 << 16


def mutated(rng: Random, seed: bytes, others: Sequence[bytes] = ()) -> bytes:
    """A seed with one to six pieces altered; now and then random bytes throughout."""
    if rng.random() < 0.02:
        return rng.randbytes(rng.randrange(400))
    data = bytearray(seed)
    for _ in range(1 + min(5, int(rng.expovariate(0.7)))):
        _alter(rng, data, others)
        del data[_MOST_BYTES:]
    return bytes(data)


def _alter(rng: Random, data: bytearray, others: Sequence[bytes]) -> None:
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + min(200, int(rng.expovariate(0.1))))
    how = rng.randrange(9)
    if how == 0 and data:
        data[start % len(data)] ^= 1 << rng.randrange(8)
    elif how == 1 and data:
        data[start % len(data)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    elif how == 2:
        del data[start:end]
    elif how == 3:
        data[start:start] = data[start:end] * rng.choice((1, 2, 20))
    elif how == 4:
        data[start:end] = rng.choice(NASTY_BYTES)
    elif how == 5 and rng.random() < 0.3:
        del data[start:]
    elif how == 6 and others:
        other = rng.choice(others)
        data[start:] = other[rng.randrange(len(other) + 1) :]
    else:
        places = list(_NUMBER.finditer(data, rng.randrange(len(data) + 1)))[:200]
        if places:
            place = rng.choice(places)
            data[place.start() : place.end()] = rng.choice(NUMBERS).encode()


def mutated_tree(rng: Random, tree: Any, depth: int = 0) -> Any:
    """Plain values with one piece replaced, left out, repeated or renamed."""
    changed = copy.deepcopy(tree) if depth == 0 else tree
    if isinstance(changed, dict) and changed and rng.random() < 0.9:
        key = rng.choice(list(changed))
        how = rng.random()
        if how < 0.08:
            del changed[key]
        elif how < 0.14:
            changed[rng.choice(("", "a", "__class__", "time_s", f"{key} "))] = rng.choice(VALUES)
        elif how < 0.17:
            changed[str(key).upper()] = changed.pop(key)
        else:
            changed[key] = mutated_tree(rng, changed[key], depth + 1)
        return changed
    if isinstance(changed, list) and changed and rng.random() < 0.9:
        at = rng.randrange(len(changed))
        how = rng.random()
        if how < 0.1:
            del changed[at]
        elif how < 0.2:
            changed.insert(at, copy.deepcopy(changed[at]))
        else:
            changed[at] = mutated_tree(rng, changed[at], depth + 1)
        return changed
    if rng.random() < 0.1:
        return _nested(rng)
    if isinstance(changed, (int, float)) and abs(changed) < 1e300 and rng.random() < 0.4:
        return changed * rng.choice((-1, 0, 2, 1e3, 1e12, 1e-9, rng.gauss(0, 1)))
    return copy.deepcopy(rng.choice(VALUES))


def _nested(rng: Random) -> Any:
    value: Any = rng.choice(VALUES)
    for _ in range(rng.choice((3, 30, 300))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def mutated_json(rng: Random, tree: Any) -> bytes:
    """The JSON of altered plain values, or altered JSON."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        tree = mutated_tree(rng, tree)
    text = json.dumps(tree).encode()
    return mutated(rng, text) if rng.random() < 0.25 else text
