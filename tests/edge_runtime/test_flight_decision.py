"""What the log keeps of a decision: the places that looked most like the view."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edge_runtime.contract.region_map import RegionMap
from edge_runtime.flight_log.decision import decision_of
from edge_runtime.localize.integrity import ViewEvidence


def localiser_with(**shown: Any) -> Any:
    return SimpleNamespace(**{"matched_rows": ((), ()), **shown})


def test_the_best_tiles_are_told_by_place_best_first(region_map: RegionMap) -> None:
    decision = decision_of(localiser_with(matched_rows=([5, 700], [6.5, 5.25])), region_map)
    first, second = decision["top_tiles"]
    assert (first["score"], second["score"]) == (6.5, 5.25)
    tile = region_map.tiles[5]
    level = region_map.levels[tile["level"]]
    expected = region_map.frame.to_geodetic(
        level.centre(tile["lattice_row"], tile["lattice_column"])
    )
    assert first["latitude_deg"] == pytest.approx(float(expected[0]), abs=1e-9)
    assert first["longitude_deg"] == pytest.approx(float(expected[1]), abs=1e-9)


def test_the_gates_are_told_in_figures_that_json_has(region_map: RegionMap) -> None:
    evidence = ViewEvidence(4.5, float("inf"), best_score=5.0, novelty=0.75)
    decision = decision_of(localiser_with(evidence=evidence), region_map)
    assert decision["evidence"]["score"] == 4.5
    assert decision["evidence"]["prior_radius_m"] is None
    assert decision["evidence"]["novelty"] == 0.75


def test_a_frame_that_was_no_evidence_has_no_decision(region_map: RegionMap) -> None:
    assert decision_of(localiser_with(), region_map) == {}
    assert decision_of(localiser_with(evidence=None), region_map) == {}
