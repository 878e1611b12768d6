from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.errors import OutputError, StateError
from edge_runtime.contract.region_map import RegionMap, load_region_map
from edge_runtime.localize import saved_state
from edge_runtime.localize.filter import FilterConfig, PoseFilter
from edge_runtime.localize.hypotheses import HeadingAxis, HeightAxis, HypothesisConfig
from edge_runtime.localize.position_grid import Bounds
from edge_runtime.localize.query import QueryProjector
from edge_runtime.localize.restart import place_of, resume, state_of
from edge_runtime.localize.saved_state import (
    LocaliserState,
    SavedPlace,
    load_state,
    save_state,
    state_as_text,
    state_from_text,
)
from tests.small_map import write_small_map

REGION = Bounds(-700.0, -700.0, 700.0, 700.0)
HYPOTHESES = HypothesisConfig()


def new_filter(heading_is_given: bool = True) -> PoseFilter:
    return PoseFilter(
        REGION,
        FilterConfig(),
        HeadingAxis(HYPOTHESES, 5.0),
        HeightAxis(HYPOTHESES, 0.1, is_given=True),
        heading_is_given,
    )


def settled(east: float = 100.0, north: float = -50.0) -> PoseFilter:
    pose_filter = new_filter()
    pose_filter.start_from(np.array([east, north]), 40.0, 0.999)
    return pose_filter


def place() -> SavedPlace:
    saved = place_of(settled(), height_is_given=True)
    assert saved is not None
    return saved


@pytest.fixture
def state(region_map: RegionMap) -> LocaliserState:
    return state_of(region_map, QueryProjector(region_map), place(), 3, has_published=True)


def test_a_state_read_again_is_the_state(
    state: LocaliserState, region_map: RegionMap, tmp_path: Path
) -> None:
    save_state(tmp_path / "state.json", state)
    read = load_state(
        tmp_path / "state.json", region_map, monotonic=lambda: state.monotonic_s + 7.0
    )
    assert read is not None
    assert read.age_s == pytest.approx(7.0)
    assert replace(read, age_s=0.0, read_at_monotonic_s=None) == state
    assert state_from_text(state_as_text(read), "log") == read


@pytest.mark.parametrize("age_s", [-5.0, 601.0, 1e8])
def test_a_place_that_is_old_or_from_the_future_is_not_used_but_the_mean_view_is(
    state: LocaliserState, region_map: RegionMap, tmp_path: Path, age_s: float
) -> None:
    save_state(tmp_path / "state.json", state)
    read = load_state(
        tmp_path / "state.json", region_map, monotonic=lambda: state.monotonic_s + age_s
    )
    assert read is not None
    assert read.place is None
    assert read.view_sums == state.view_sums


def test_within_a_boot_a_wall_clock_that_jumps_an_hour_changes_nothing(
    state: LocaliserState, region_map: RegionMap, tmp_path: Path
) -> None:
    save_state(tmp_path / "state.json", state)
    read = load_state(
        tmp_path / "state.json",
        region_map,
        wall_time=lambda: state.wall_time_s + 3600.0,
        monotonic=lambda: state.monotonic_s + 2.0,
    )
    assert read is not None
    assert read.place is not None
    assert read.age_s == pytest.approx(2.0)


def test_after_a_reboot_the_wall_clock_tells_the_age(
    state: LocaliserState,
    region_map: RegionMap,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_state(tmp_path / "state.json", state)
    monkeypatch.setattr(saved_state, "boot_id", lambda: "another")
    read = load_state(
        tmp_path / "state.json", region_map, wall_time=lambda: state.wall_time_s + 40.0
    )
    assert read is not None
    assert read.age_s == pytest.approx(40.0)


def test_a_state_of_another_map_or_encoder_is_refused_with_a_warning(
    state: LocaliserState, region_map: RegionMap, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = load_region_map(write_small_map(tmp_path / "other.map", encoder_size=49))
    save_state(tmp_path / "state.json", state)
    assert load_state(tmp_path / "state.json", other) is None
    assert "of another map" in caplog.text
    save_state(tmp_path / "state.json", replace(state, encoder_sha256="1" * 64))
    assert load_state(tmp_path / "state.json", region_map) is None
    assert "of another encoder" in caplog.text


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is no saved state"),
        ("[]", "schema_version"),
        ('{"schema_version": 1}', "is missing"),
        ('{"schema_version": 2}', "schema_version"),
        ("[" * 100_000, "is no saved state"),
    ],
)
def test_what_is_no_state_is_one_clear_error(
    text: str, what: str, region_map: RegionMap, tmp_path: Path
) -> None:
    (tmp_path / "state.json").write_text(text, encoding="utf-8")
    with pytest.raises(StateError, match=what):
        load_state(tmp_path / "state.json", region_map)


def test_a_missing_file_and_bytes_that_are_no_text_are_clear_errors(
    region_map: RegionMap, tmp_path: Path
) -> None:
    with pytest.raises(StateError, match="cannot be read"):
        load_state(tmp_path / "none.json", region_map)
    (tmp_path / "state.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StateError, match="UTF-8"):
        load_state(tmp_path / "state.json", region_map)


def test_a_state_that_cannot_be_written_leaves_the_one_before(
    state: LocaliserState, tmp_path: Path
) -> None:
    save_state(tmp_path / "state.json", state)
    before = (tmp_path / "state.json").read_bytes()
    with pytest.raises(OutputError, match="cannot be written"):
        save_state(tmp_path / "state.json", replace(state, wall_time_s=float("nan")))
    assert (tmp_path / "state.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["map_sha256", "wall_time_s", "view_sums", "view_weights", "reset_counter", "place", "age_s"]
    + [f"place.{name}" for name in ("east_m", "variance_east_m2", "certainty", "heading_shares")]
)


@settings(max_examples=150, deadline=None)
@given(field=FIELDS, value=JSON_VALUES)
def test_a_mutated_state_is_read_or_refused_and_never_crashes(field: str, value: object) -> None:
    original = LocaliserState("0", "1", 1.0, 2.0, "b", ((1.0,),), (5.0,), 0, True, place())
    body = json.loads(state_as_text(original))
    target, name = (body["place"], field[6:]) if field.startswith("place.") else (body, field)
    target[name] = value
    try:
        read = state_from_text(json.dumps(body), "it")
    except StateError:
        return
    assert np.isfinite(read.wall_time_s)
    assert state_from_text(state_as_text(read), "it") == read


# What a restart makes of it


def test_a_restart_begins_where_the_drone_was_and_doubts_it() -> None:
    pose_filter = new_filter()
    resume(pose_filter, place(), 1.0, 10.0, height_is_given=True)
    assert pose_filter.is_local
    assert pose_filter.elsewhere == pytest.approx(0.2, abs=0.01)
    np.testing.assert_allclose(pose_filter.grid.mean(), [100.0, -50.0], atol=5.0)


def test_a_place_widens_by_the_way_that_may_have_been_flown() -> None:
    spreads = []
    for age_s in (0.0, 6.0):
        pose_filter = new_filter()
        resume(pose_filter, place(), age_s, 10.0, height_is_given=True)
        grid = pose_filter.grid
        spreads.append(float(grid.covariance(grid.mean())[0, 0]))
    assert spreads[1] - spreads[0] == pytest.approx(60.0**2, rel=0.1)


def test_an_old_place_is_a_hint_on_a_whole_map() -> None:
    pose_filter = new_filter()
    resume(pose_filter, place(), 30.0, 10.0, height_is_given=True)
    assert not pose_filter.is_local
    assert pose_filter.grid.mass.min() > 0.0
    assert pose_filter.grid.total + pose_filter.elsewhere == pytest.approx(1.0, abs=1e-4)


def test_the_error_of_telemetrys_heading_lasts_over_a_restart() -> None:
    shares = np.zeros(HYPOTHESES.headings)
    shares[2] = 1.0
    kept = replace(place(), heading_shares=tuple(shares))
    pose_filter = new_filter()
    resume(pose_filter, kept, 1.0, 10.0, height_is_given=True)
    by_heading = np.zeros(HYPOTHESES.headings)
    for hypothesis, mass in pose_filter.weights().items():
        by_heading[hypothesis.heading] += mass
    assert by_heading[2] / by_heading.sum() == pytest.approx(0.5, abs=0.01)
    unknown = new_filter(heading_is_given=False)
    resume(unknown, kept, 1.0, 10.0, height_is_given=True)
    assert unknown.heading_offset_deg()[1] > 60.0


def test_a_filter_that_knows_no_place_saves_none() -> None:
    assert place_of(new_filter(), height_is_given=True) is None
