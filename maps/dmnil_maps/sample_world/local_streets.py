"""The streets within one district: parallel, gently bent streets, joined by side streets."""

import itertools
from dataclasses import dataclass

import numpy as np

from dmnil_maps.sample_world import curves
from dmnil_maps.sample_world.districts import District
from dmnil_maps.sample_world.scene import FloatArray, Road
from dmnil_maps.sample_world.scene_builder import SceneBuilder

SHORTEST_STREET_M = 28.0


@dataclass(frozen=True)
class StreetPlan:
    """How densely a land use is laid with streets."""

    spacing_m: tuple[float, float]  # between parallel streets
    cross_m: tuple[float, float]  # between side streets
    width_m: float
    sidewalk_m: float
    bend_m: float
    kept: float  # share of side streets that are built


PLANS = {
    "centre": StreetPlan((58, 84), (70, 120), 6.5, 2.4, 7.0, 0.85),
    "suburb": StreetPlan((62, 78), (90, 190), 5.5, 1.5, 16.0, 0.75),
    "slabs": StreetPlan((105, 150), (130, 210), 6.0, 2.0, 6.0, 0.8),
    "industry": StreetPlan((120, 170), (150, 260), 8.0, 1.2, 4.0, 0.7),
    "campus": StreetPlan((150, 220), (180, 300), 5.5, 2.0, 8.0, 0.5),
}


def lay_streets(builder: SceneBuilder, district: District) -> list[Road]:
    """Streets of a district; none for land uses without a plan."""
    plan = PLANS.get(district.use)
    if plan is None:
        return []
    along = np.array([np.cos(district.angle_rad), np.sin(district.angle_rad)])
    across = np.array([-along[1], along[0]])
    corners = np.array(
        [
            [e, n]
            for e in (district.low[0], district.high[0])
            for n in (district.low[1], district.high[1])
        ]
    )
    first, last = (corners @ across).min(), (corners @ across).max()
    start, end = (corners @ along).min(), (corners @ along).max()
    bend = curves.SmoothBend(builder.rng, builder.between(260, 420), plan.bend_m)
    rows = [first - builder.between(0, 1) * plan.spacing_m[0]]
    while rows[-1] < last:
        rows.append(rows[-1] + builder.between(*plan.spacing_m))
    lines = [curves.line(along * start + across * row, along * end + across * row) for row in rows]
    for row, following in itertools.pairwise(rows):
        at = start + builder.between(0, plan.cross_m[1])
        while at < end:
            if builder.chance(plan.kept):
                lines.append(
                    curves.line(along * at + across * row, along * at + across * following)
                )
            at += builder.between(*plan.cross_m)
    runs = (run for street in lines for run in _inside(district, bend(street)))
    return [
        Road(run, plan.width_m, "asphalt", plan.sidewalk_m, "none", builder.seed()) for run in runs
    ]


def _inside(district: District, street: FloatArray) -> list[FloatArray]:
    """The runs of a street inside its district that do not hug its border."""
    dense = curves.resample(street, 3.0)
    inside = district.inside(dense)
    tangent = curves.directions(dense)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    clear = inside & district.inside(dense + 24 * normal) & district.inside(dense - 24 * normal)
    runs = []
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.view(np.int8), [0]])))
    for begin, stop in zip(edges[::2], edges[1::2], strict=True):
        run = dense[begin:stop]
        if len(run) < 3 or curves.length_m(run) < SHORTEST_STREET_M:
            continue
        if clear[begin:stop].mean() < 0.6:
            continue
        # Reach into the main road at both ends, so that the junction has no gap.
        unit = curves.directions(run)
        runs.append(np.concatenate([run[:1] - 7 * unit[:1], run, run[-1:] + 7 * unit[-1:]]))
    return runs
