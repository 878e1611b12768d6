"""What a localiser weighed in its last frame: the places that looked most like it, the gates."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from edge_runtime.contract.region_map import RegionMap
from edge_runtime.localize.localiser import Localiser
from edge_runtime.monitor.details import FixDetails
from edge_runtime.monitor.localiser_details import scored_ground_of
from edge_runtime.monitor.tile_match import tile_matches


def decision_of(localiser: Localiser, region_map: RegionMap) -> dict[str, Any]:
    """Top places and gates as plain values for the log; what a localiser does not offer is absent.

    Empty for a frame that was no evidence: nothing was searched for.
    """
    rows, scores = getattr(localiser, "matched_rows", ((), ()))
    named = tuple((int(row), float(score)) for row, score in zip(rows, scores, strict=True))
    ground = scored_ground_of(getattr(localiser, "best_view", None))
    matches = tile_matches(region_map, FixDetails(matched_tiles=named, scored_ground=ground))
    decision: dict[str, Any] = {}
    if matches:
        latitudes, longitudes = region_map.frame.to_geodetic(
            [[match.east_m, match.north_m] for match in matches]
        )
        decision["top_tiles"] = [
            {
                "latitude_deg": float(latitude),
                "longitude_deg": float(longitude),
                "footprint_m": match.footprint_m,
                "score": match.similarity,
            }
            for latitude, longitude, match in zip(latitudes, longitudes, matches, strict=True)
        ]
    evidence = getattr(localiser, "evidence", None)
    if evidence is not None:
        decision["evidence"] = {
            name: value if math.isfinite(value) else None
            for name, value in asdict(evidence).items()
        }
    return decision
