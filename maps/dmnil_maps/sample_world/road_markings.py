"""Paint on the roads: lane lines that stop at junctions, zebra crossings; and rails."""

import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world import curves
from dmnil_maps.sample_world.planning_grid import PlanningGrid
from dmnil_maps.sample_world.scene import FloatArray, Road, Stripe
from dmnil_maps.sample_world.scene_builder import SceneBuilder

BoolArray = NDArray[np.bool_]
DASH_M, PERIOD_M = 3.0, 8.0
ZEBRA_BARS_M, ZEBRA_LENGTH_M = 0.9, 3.6
TRACKS_M = (-2.2, 2.2)  # centre lines of a double track
GAUGE_M = 1.435


def paint_roads(builder: SceneBuilder, roads: list[Road], rails: tuple[Road, ...]) -> None:
    """Add the stripes of all roads and railways."""
    junctions = _crossed_ground(builder, roads)
    for road in roads:
        line = curves.resample(road.centreline, 1.0)
        crossed = junctions.at(line) > 1
        if road.marking == "lanes":
            for sign in (-1, 1):
                _dashes(builder, line, crossed, sign * road.width_m / 4)
                _solid(builder, line, crossed, sign * (road.width_m / 2 - 0.3))
            _solid(builder, line, crossed, 0.12)
            _solid(builder, line, crossed, -0.12)
        elif road.marking == "centre":
            _dashes(builder, line, crossed, 0.0)
            if road.sidewalk_m == 0:
                for sign in (-1, 1):
                    _solid(builder, line, crossed, sign * (road.width_m / 2 - 0.25))
        if road.sidewalk_m > 1.4:
            _zebras(builder, road, line, crossed)
    for rail in rails:
        for track in TRACKS_M:
            middle = curves.offset(rail.centreline, track)
            builder.stripes.append(Stripe(middle, 2.5, "path"))
            for side in (-GAUGE_M / 2, GAUGE_M / 2):
                builder.stripes.append(Stripe(curves.offset(middle, side), 0.16, "rail"))


def _crossed_ground(builder: SceneBuilder, roads: list[Road]) -> PlanningGrid:
    """A grid holding the number of roads that cover each cell."""
    total = PlanningGrid(builder.half_extent_m, 1.0)
    one = PlanningGrid(builder.half_extent_m, 1.0)
    for road in roads:
        cells = np.clip(one.to_cells(road.centreline), 0, one.size - 1).astype(int)
        pad = int(road.width_m) + 2
        low, high = np.maximum(cells.min(0) - pad, 0), cells.max(0) + pad
        window = slice(low[1], high[1]), slice(low[0], high[0])
        one.draw(road.centreline, road.width_m + 1.0, 1)
        total.cells[window] += one.cells[window]
        one.cells[window] = 0
    return total


def _runs(kept: BoolArray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], kept.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _dashes(builder: SceneBuilder, line: FloatArray, crossed: BoolArray, left_m: float) -> None:
    moved = curves.offset(line, left_m)
    for begin in range(0, len(line) - int(DASH_M) - 1, int(PERIOD_M)):
        span = slice(begin, begin + int(DASH_M) + 1)
        if not crossed[span].any():
            builder.stripes.append(Stripe(moved[span], 0.15))


def _solid(builder: SceneBuilder, line: FloatArray, crossed: BoolArray, left_m: float) -> None:
    moved = curves.offset(line, left_m)
    for begin, stop in _runs(~crossed):
        if stop - begin > 6:
            builder.stripes.append(Stripe(moved[begin:stop], 0.13))


def _zebras(builder: SceneBuilder, road: Road, line: FloatArray, crossed: BoolArray) -> None:
    """Crossings a few metres before some junctions."""
    for begin, stop in _runs(~crossed):
        if stop - begin < 24:
            continue
        for at, sign in ((begin + 3, 1), (stop - 4, -1)):
            if not builder.chance(0.4):
                continue
            unit = curves.directions(line[at - 1 : at + 2])[1]
            side = np.array([-unit[1], unit[0]])
            reach = road.width_m / 2 - 0.4
            for across in np.arange(-reach, reach, ZEBRA_BARS_M):
                start = line[at] + side * across
                bar = np.stack([start, start + sign * unit * ZEBRA_LENGTH_M])
                builder.stripes.append(Stripe(bar, 0.45))
