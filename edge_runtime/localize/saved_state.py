"""What a localiser knows, kept over a restart: the flight's mean view, and where the drone was.

A restart is told from a new flight by the machine's boot: within one the monotonic clock tells how
old a state is. Across boots only the wall clock does, which may have been set meanwhile: such a
state, and an old one, says nothing of the position, and the mean view alone is kept.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.contract.artefact import replace_file
from edge_runtime.contract.errors import OutputError, StateError
from edge_runtime.contract.region_map import RegionMap

SCHEMA_VERSION = 1
LONGEST_AGE_S = 600.0
_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
_LARGEST_BYTES = 64 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedPlace:
    """The posterior reduced to a Gaussian, in the map's frame, and to shares of hypotheses."""

    east_m: float
    north_m: float
    variance_east_m2: float
    variance_north_m2: float
    covariance_east_north_m2: float
    certainty: float
    """Probability of being there at all, 0-1."""
    heading_shares: tuple[float, ...]
    """Probability of each heading offset."""
    height_shares: tuple[float, ...]
    """Probability of each multiple of telemetry's height."""
    first_heading_deg: float
    heading_is_given: bool
    height_is_given: bool


@dataclass(frozen=True)
class LocaliserState:
    """A localiser's state at one moment, of one map and so of one encoder."""

    map_sha256: str
    """Of the map's manifest."""
    encoder_sha256: str
    wall_time_s: float
    monotonic_s: float
    boot_id: str
    view_sums: tuple[tuple[float, ...], ...]
    """Per level, the weighted sum of the descriptors of its views."""
    view_weights: tuple[float, ...]
    reset_counter: int
    has_published: bool
    place: SavedPlace | None = None
    """None where no place was known, or none that is still worth anything."""
    age_s: float = 0.0
    """How old the place was when the state was read."""
    read_at_monotonic_s: float | None = None
    """When that was."""


def boot_id() -> str:
    """What tells one start of the machine from another; empty where the system does not say."""
    try:
        return _BOOT_ID_FILE.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def state_as_text(state: LocaliserState) -> str:
    """A state as its file holds it."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(state)}, allow_nan=False)


def state_from_text(text: str, where: str) -> LocaliserState:
    """A state from its file's text, its age as it stands there.

    Args:
        where: What to call the text in an error.
    Raises:
        StateError: If it is none.
    """
    try:
        return _state_of(json.loads(text))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        what = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
        raise StateError(f"{where} is no saved state ({what}): delete it") from error


def save_state(path: Path, state: LocaliserState) -> None:
    """Write a state, whole or not at all, and wait for the disk.

    Raises:
        OutputError: If it cannot be written; what was there before is intact.
    """
    try:
        replace_file(path, state_as_text(state), durable=True)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be written: {error}") from error


def load_state(
    path: Path,
    region_map: RegionMap,
    *,
    wall_time: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> LocaliserState | None:
    """Read a state; None, with a warning, where it is of another map or encoder.

    A place too old to be worth anything, or of an unknown age, is left out of it.

    Raises:
        StateError: If the file cannot be read or is no state.
    """
    state = _read(path)
    if state.map_sha256 != region_map.manifest_sha256:
        _log.warning("%s is of another map than %s: starting anew", path, region_map.folder)
        return None
    if state.encoder_sha256 != region_map.encoder_sha256:
        _log.warning("%s is of another encoder: starting anew", path)
        return None
    shape = region_map.descriptor_mean.shape
    sizes = [len(row) for row in state.view_sums]
    if sizes != [shape[1]] * shape[0] or len(state.view_weights) != shape[0]:
        raise StateError(f"{path}: its mean views do not fit the map's {shape}: delete it")
    now_s = monotonic()
    age_s = now_s - state.monotonic_s
    if not state.boot_id or state.boot_id != boot_id():
        age_s = wall_time() - state.wall_time_s
    place = state.place
    if place is not None and not 0.0 <= age_s <= LONGEST_AGE_S:
        _log.warning("%s is %.0f s old by the clock: its position is not used", path, age_s)
        place = None
    return replace(state, place=place, age_s=max(age_s, 0.0), read_at_monotonic_s=now_s)


def _read(path: Path) -> LocaliserState:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise StateError(f"{path} is too large to be a saved state: delete it")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise StateError(f"{path} is no saved state (not UTF-8): delete it") from error
    return state_from_text(text, str(path))


def _state_of(body: Any) -> LocaliserState:
    if not isinstance(body, dict) or body.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"schema_version {SCHEMA_VERSION} is missing")
    weights = _numbers(body["view_weights"])
    if min(weights, default=0.0) <= 0.0:
        raise ValueError("view_weights must be positive")
    resets = body["reset_counter"]
    if not isinstance(resets, int) or isinstance(resets, bool) or not 0 <= resets < 1 << 53:
        raise ValueError("reset_counter must be a count")
    return LocaliserState(
        map_sha256=_text(body["map_sha256"]),
        encoder_sha256=_text(body["encoder_sha256"]),
        wall_time_s=_number(body["wall_time_s"]),
        monotonic_s=_number(body["monotonic_s"]),
        boot_id=_text(body["boot_id"]),
        view_sums=tuple(_numbers(row) for row in _list(body["view_sums"])),
        view_weights=weights,
        reset_counter=resets,
        has_published=_truth(body["has_published"]),
        place=None if body["place"] is None else _place_of(body["place"]),
        age_s=_number(body["age_s"]),
        read_at_monotonic_s=None
        if body["read_at_monotonic_s"] is None
        else _number(body["read_at_monotonic_s"]),
    )


def _place_of(body: Any) -> SavedPlace:
    if not isinstance(body, dict):
        raise ValueError("place must be an object")
    east, north = _number(body["variance_east_m2"]), _number(body["variance_north_m2"])
    cross = _number(body["covariance_east_north_m2"])
    if min(east, north) <= 0.0 or cross**2 > east * north:
        raise ValueError("place has an impossible covariance")
    certainty = _number(body["certainty"])
    shares = {name: _numbers(body[name]) for name in ("heading_shares", "height_shares")}
    if not 0.0 <= certainty <= 1.0:
        raise ValueError("certainty must lie in 0..1")
    for name, several in shares.items():
        if min(several, default=-1.0) < 0.0 or abs(sum(several) - 1.0) > 0.01:
            raise ValueError(f"{name} must be probabilities")
    return SavedPlace(
        east_m=_number(body["east_m"]),
        north_m=_number(body["north_m"]),
        variance_east_m2=east,
        variance_north_m2=north,
        covariance_east_north_m2=cross,
        certainty=certainty,
        heading_shares=shares["heading_shares"],
        height_shares=shares["height_shares"],
        first_heading_deg=_number(body["first_heading_deg"]),
        heading_is_given=_truth(body["heading_is_given"]),
        height_is_given=_truth(body["height_is_given"]),
    )


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"a number is {type(value).__name__}")
    if not np.isfinite(value) or abs(value) > 1e12:
        raise ValueError("a number is out of range")
    return float(value)


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(_number(one) for one in _list(value))


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list is {type(value).__name__}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is {type(value).__name__}")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"true or false is {type(value).__name__}")
    return value
