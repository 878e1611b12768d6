"""The main lines of a town: river, railway, radial and ring roads, none of them straight."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dmnil_maps.sample_world import curves
from dmnil_maps.sample_world.scene import FloatArray, Patch, Road
from dmnil_maps.sample_world.scene_builder import SceneBuilder

FIRST_RING_M = (190.0, 260.0)
RING_GAP_M = (230.0, 420.0)
LONGEST_ARC_M = 430.0  # between two radials; beyond, a further one starts
TOWN_RADIUS_M = 780.0
RIVER_WIDTH_M = (24.0, 44.0)


@dataclass(frozen=True)
class MainLines:
    """What divides the town into districts."""

    town_centre: FloatArray  # (2,)
    roads: tuple[Road, ...]
    rails: tuple[Road, ...]
    river: Patch
    shore: Patch  # bare strip at the water
    river_bank: Patch
    river_centreline: FloatArray


def lay_main_lines(builder: SceneBuilder) -> MainLines:
    """Choose the town centre and lay river, railway and main roads across the whole extent."""
    rng, half = builder.rng, builder.half_extent_m
    centre = rng.uniform(-0.16, 0.16, 2) * half
    bend = curves.SmoothBend(rng, 760.0, 75.0)
    small_bend = curves.SmoothBend(rng, 210.0, 11.0)
    reach = 1.6 * half + 600.0

    def bent(points: FloatArray) -> FloatArray:
        return small_bend(bend(curves.resample(points, 8.0)))

    river_heading = builder.between(0, 2 * np.pi)
    river_line, river, shore, bank = _river(builder, centre, river_heading, reach)
    roads = _radials_and_rings(builder, centre, reach, bent)
    rail_line = _railway(builder, centre, river_heading, reach, bend)
    return MainLines(centre, tuple(roads), (rail_line,), river, shore, bank, river_line)


def _river(
    builder: SceneBuilder, centre: FloatArray, heading: float, reach: float
) -> tuple[FloatArray, Patch, Patch, Patch]:
    along = np.array([np.cos(heading), np.sin(heading)])
    across = np.array([-along[1], along[0]])
    past = centre + across * builder.between(270.0, 420.0)
    straight = np.stack([past - along * reach, past + along * reach])
    meander = curves.SmoothBend(builder.rng, 640.0, 70.0)
    line = curves.eased(meander(curves.resample(straight, 6.0)), 15)
    wander = np.sin(np.linspace(0, reach / 60.0, len(line)) + builder.between(0, 6))
    width = builder.between(*RIVER_WIDTH_M) * (1 + 0.16 * wander)
    river = Patch(curves.ribbon(line, width), "water", builder.seed())
    ragged = (
        width
        + 3.2
        + 1.6 * np.sin(np.arange(len(line)) * 0.7)
        + builder.rng.normal(0, 0.5, len(line))
    )
    shore = Patch(curves.ribbon(line, ragged), "bare", builder.seed())
    bank = Patch(curves.ribbon(line, width + builder.between(14, 22)), "meadow", builder.seed())
    return line, river, shore, bank


def _railway(
    builder: SceneBuilder,
    centre: FloatArray,
    river_heading: float,
    reach: float,
    bend: curves.SmoothBend,
) -> Road:
    heading = river_heading + builder.between(-0.25, 0.25)
    along = np.array([np.cos(heading), np.sin(heading)])
    across = np.array([-along[1], along[0]])
    past = centre - across * builder.between(330.0, 520.0)
    line = bend(curves.line(past - along * reach, past + along * reach, 10.0))
    return Road(line, 12.0, "rail", seed=builder.seed())


def _radials_and_rings(
    builder: SceneBuilder,
    centre: FloatArray,
    reach: float,
    bent: Callable[[FloatArray], FloatArray],
) -> list[Road]:
    roads: list[Road] = []
    first = builder.between(0, 2 * np.pi)
    jitter = builder.rng.uniform(-0.22, 0.22, 6)
    radials = [(first + i * np.pi / 3 + jitter[i], 0.0, True) for i in range(6)]
    rings = [builder.between(*FIRST_RING_M)]
    while rings[-1] < reach:
        rings.append(rings[-1] + builder.between(*RING_GAP_M))
    for ring_index, radius in enumerate(rings):
        headings = sorted(heading % (2 * np.pi) for heading, _, _ in radials)
        for heading, following in zip(
            headings, [*headings[1:], headings[0] + 2 * np.pi], strict=True
        ):
            in_town = radius < TOWN_RADIUS_M
            if not builder.chance(0.94 if in_town else 0.55):
                continue
            angles = np.linspace(heading, following, 40)
            wobble = 1 + 0.07 * np.sin(3 * angles + first) + 0.04 * np.sin(5 * angles + 2 * first)
            arc = (
                centre + np.stack([np.cos(angles), np.sin(angles)], 1) * (radius * wobble)[:, None]
            )
            roads.append(_main_road(builder, bent(arc), ring_index < 2, in_town))
            if radius * (following - heading) > LONGEST_ARC_M:
                middle = (heading + following) / 2 + builder.between(-0.12, 0.12)
                radials.append((middle, radius * 0.98, False))
    for heading, start, major in radials:
        unit = np.array([np.cos(heading), np.sin(heading)])
        end = min(reach, TOWN_RADIUS_M)
        if start < end:
            inner = curves.line(centre + unit * start, centre + unit * end)
            roads.append(_main_road(builder, bent(inner), major, True))
        outer = curves.line(centre + unit * max(start, end), centre + unit * reach)
        roads.append(_main_road(builder, bent(outer), major, False))
    return roads


def _main_road(builder: SceneBuilder, line: FloatArray, major: bool, in_town: bool) -> Road:
    sidewalk_m = 2.2 if in_town else 0.0
    if major:
        width_m = 10.5 if in_town else 7.5
        return Road(line, width_m, "asphalt", sidewalk_m, "centre", builder.seed())
    return Road(line, 7.0 if in_town else 5.5, "asphalt", sidewalk_m, "centre", builder.seed())
