"""Fields, orchards, farmsteads and woods."""

import cv2
import numpy as np

from dmnil_maps.sample_world import curves
from dmnil_maps.sample_world.buildings import Shell, add_wing
from dmnil_maps.sample_world.city_blocks import scattered
from dmnil_maps.sample_world.districts import District
from dmnil_maps.sample_world.planning_grid import PlanningGrid
from dmnil_maps.sample_world.scene import FloatArray, Hedge, Road, rectangle
from dmnil_maps.sample_world.scene_builder import OPEN_LAND, SceneBuilder

BROADLEAVED, CONIFERS, ORCHARD = (0, 1, 2, 3), (6, 7), 5
SMALLEST_FIELD_M2, LARGEST_FIELD_M2 = 2500.0, 32000.0


def fill_farmland(builder: SceneBuilder, district: District) -> None:
    """Fields of a district, split again and again, with tracks, hedges and a farm."""
    builder.patch(district.outline, "meadow")
    axis = np.array([np.cos(district.angle_rad), np.sin(district.angle_rad)])
    side = np.array([-axis[1], axis[0]])
    along, across = district.outline @ axis, district.outline @ side
    boxes = [(along.min(), along.max(), across.min(), across.max())]
    largest = builder.between(0.25, 1.5) * LARGEST_FIELD_M2
    strips = builder.between(0.25, 0.9)  # low: long strips
    while boxes:
        u0, u1, v0, v1 = boxes.pop()
        if (u1 - u0) * (v1 - v0) > largest and max(u1 - u0, v1 - v0) > 60:
            share = builder.between(0.22, 0.78)
            if (u1 - u0) * strips * builder.between(0.7, 1.4) > v1 - v0:
                cut = u0 + share * (u1 - u0)
                boxes += [(u0, cut, v0, v1), (cut, u1, v0, v1)]
                ends = axis * cut + side * v0, axis * cut + side * v1
            else:
                cut = v0 + share * (v1 - v0)
                boxes += [(u0, u1, v0, cut), (u0, u1, cut, v1)]
                ends = axis * u0 + side * cut, axis * u1 + side * cut
            _boundary(builder, district, curves.line(*ends, 5.0))
            continue
        gap = builder.between(0.8, 2.2)
        box = rectangle(
            (axis * (u0 + u1) / 2 + side * (v0 + v1) / 2),
            u1 - u0 - 2 * gap,
            v1 - v0 - 2 * gap,
            district.angle_rad,
        )
        _field(builder, district, box, u1 - u0 > v1 - v0)
    if builder.chance(0.65):
        _farmstead(builder, district)


def fill_wood(builder: SceneBuilder, district: District) -> None:
    """A wood of one dominant kind, with clearings and a ragged edge."""
    builder.patch(district.outline, "wood_floor")
    kinds = CONIFERS if builder.chance(0.35) else BROADLEAVED
    other = BROADLEAVED if kinds == CONIFERS else CONIFERS
    density = curves.SmoothBend(builder.rng, 160, 1.0)
    spacing = builder.between(4.6, 6.0)
    spots = scattered(builder, district.low, district.high, spacing)
    spots = spots[district.inside(spots) & (builder.free.at(spots) == OPEN_LAND)]
    thick = (density(spots) - spots).sum(1) + builder.rng.normal(0, 0.25, len(spots))
    stands = (curves.SmoothBend(builder.rng, 190, 1.0)(spots) - spots).sum(1)
    for (east, north), bulk, stand in zip(spots, thick, stands, strict=True):
        if bulk < -1.5:
            continue
        foreign = 0.8 if stand > 1.5 else 0.04
        species = builder.pick(other if builder.chance(foreign) else kinds)
        radius = builder.between(1.8, 3.4) if species in CONIFERS else builder.between(2.4, 5.4)
        radius *= 0.62 if stand < -1.6 else 1.0  # a young plantation
        builder.tree((east, north), radius, species)
    for _ in range(2):
        heading = builder.between(0, np.pi)
        unit = np.array([np.cos(heading), np.sin(heading)])
        middle = (district.low + district.high) / 2
        _track(builder, district, curves.line(middle - unit * 400, middle + unit * 400, 5.0))


def _field(builder: SceneBuilder, district: District, box: FloatArray, lengthwise: bool) -> None:
    piece = PlanningGrid(district.grid.half_extent_m, district.grid.cell_m)
    piece.fill(box, 1)
    both = district.grid.cells & piece.cells
    mask = cv2.erode(both, np.ones((3, 3), np.uint8)).astype(np.uint8)
    row_angle = district.angle_rad + (0 if lengthwise else np.pi / 2)
    for outline in piece.outlines(mask, 2.2):
        area = float(cv2.contourArea(outline.astype(np.float32)))
        if area < SMALLEST_FIELD_M2:
            continue
        if builder.chance(0.07) and area < 16000:
            _orchard(builder, outline, row_angle)
        else:
            builder.patch(outline, "field", row_angle, builder.between(0.7, 1.6))
            if builder.chance(0.2):
                spots = scattered(builder, outline.min(0), outline.max(0), 60)
                for east, north in spots[:1]:
                    builder.tree((east, north), builder.between(3, 5.5), builder.pick(BROADLEAVED))


def _orchard(builder: SceneBuilder, outline: FloatArray, angle: float) -> None:
    builder.patch(outline, "meadow")
    axis = np.array([np.cos(angle), np.sin(angle)])
    side = np.array([-axis[1], axis[0]])
    u, v = outline @ axis, outline @ side
    contour = outline.astype(np.float32)[:, None]
    step, row = builder.between(4.0, 6.5), builder.between(5.0, 7.5)
    for at in np.arange(v.min() + 3, v.max() - 2, row):
        for along in np.arange(u.min() + 3, u.max() - 2, step):
            east, north = axis * along + side * at
            if cv2.pointPolygonTest(contour, (east, north), True) > 2.5 and builder.chance(0.96):
                builder.tree((east, north), builder.between(1.3, 2.0), ORCHARD)


def _boundary(builder: SceneBuilder, district: District, line: FloatArray) -> None:
    kind = builder.between(0, 1)
    inside = line[district.inside(line)]
    if len(inside) < 6:
        return
    if kind < 0.2:
        _track(builder, district, line)
    elif kind < 0.32:
        builder.hedges.append(Hedge(inside, builder.between(1.5, 2.6), builder.between(1.6, 2.8)))
    elif kind < 0.55:
        for east, north in curves.resample(inside, builder.between(5, 14)):
            if builder.chance(0.8):
                shift = builder.rng.uniform(-1, 1, 2)
                radius = builder.between(1.8, 4.8)
                builder.tree((east + shift[0], north + shift[1]), radius, builder.pick(BROADLEAVED))


def _track(builder: SceneBuilder, district: District, line: FloatArray) -> None:
    bent = curves.SmoothBend(builder.rng, 220, 3.0)(line)
    keep = district.inside(bent)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], keep.view(np.int8), [0]])))
    for begin, stop in zip(edges[::2], edges[1::2], strict=True):
        if stop - begin > 6:
            builder.roads.append(Road(bent[begin:stop], 3.0, "dirt", seed=builder.seed()))


def _farmstead(builder: SceneBuilder, district: District) -> None:
    """A yard with a farmhouse and barns."""
    for spot in scattered(builder, district.low, district.high, 60)[:40]:
        yard = rectangle(spot, 58, 52, district.angle_rad)
        if not (builder.free.all_inside(yard, OPEN_LAND) and district.inside(yard).all()):
            continue
        axis = np.array([np.cos(district.angle_rad), np.sin(district.angle_rad)])
        side = np.array([-axis[1], axis[0]])
        builder.patch(yard, "lawn")
        builder.patch(rectangle(spot, 36, 30, district.angle_rad), "gravel")
        roof = builder.pick(range(9))
        layout = [(side * 17, (30.0, 13.0), 0.0), (-axis * 18, (22.0, 11.0), np.pi / 2)]
        layout.append((axis * 19 - side * 5, (15.0, 10.0), np.pi / 2))
        for shift, size, turn in layout:
            shell = Shell(
                builder.between(4, 6), "gable", size[1] * 0.33, roof, builder.pick(range(8))
            )
            add_wing(
                builder,
                builder.new_building(),
                shell,
                spot + shift,
                size,
                district.angle_rad + turn,
            )
        for _ in range(9):
            east, north = spot + builder.rng.uniform(-30, 30, 2)
            if builder.free.at(np.array([[east, north]]))[0] == OPEN_LAND:
                builder.tree((east, north), builder.between(2, 4.5), builder.pick(BROADLEAVED))
        return
