"""The whole map's tiles that look most like a frame, wherever the filter takes the drone to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.fix import MatchedPlace
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.localize.camera import centre_ground_point
from edge_runtime.localize.hypotheses import Hypothesis
from edge_runtime.localize.search import TileSearch
from edge_runtime.localize.view import ViewedGround


@dataclass(frozen=True)
class ViewedMatches:
    """A frame's best tiles, best first."""

    rows: npt.NDArray[np.int64]
    """(K,) rows of the map's tiles."""
    scores: npt.NDArray[np.float32]
    """(K,) their scores."""
    places: tuple[MatchedPlace, ...]
    """The tiles moved to where the image centre meets flat ground."""


NO_MATCHES = ViewedMatches(np.zeros(0, np.int64), np.zeros(0, np.float32), ())


def viewed_matches(
    search: TileSearch,
    region_map: RegionMap,
    queries: Mapping[Hypothesis, npt.NDArray[np.float32]],
    grounds: Mapping[Hypothesis, ViewedGround],
    count: int,
) -> ViewedMatches:
    """The best tiles of the hypothesis whose first scores highest.

    Args:
        queries: (D,) of unit length, at least one.
        grounds: What each query is a view of.
        count: How many tiles to name.
    """
    found = {
        hypothesis: search.best([query[None]], [grounds[hypothesis].level], count)
        for hypothesis, query in queries.items()
    }
    best = max(found, key=lambda hypothesis: float(found[hypothesis][1][0, 0]))
    ground, (rows, scores) = grounds[best], found[best]
    tiles = region_map.tiles[rows[0]]
    level = region_map.levels[ground.level]
    centres = level.centre(tiles["lattice_row"], tiles["lattice_column"])
    to_image_centre = centre_ground_point(ground.attitude, ground.height_m) - ground.window.offset_m
    latitude, longitude = region_map.frame.to_geodetic(centres + to_image_centre)
    places = tuple(
        MatchedPlace(float(lat), float(lon), round(float(score), 3))
        for lat, lon, score in zip(latitude, longitude, scores[0], strict=True)
    )
    return ViewedMatches(rows[0], scores[0], places)
