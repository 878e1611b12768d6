"""Suburbs of detached houses in gardens."""

import numpy as np

from dmnil_maps.sample_world.buildings import Shell, add_garage, add_house, add_wing
from dmnil_maps.sample_world.city_blocks import Block, Front, clumped, scattered
from dmnil_maps.sample_world.scene import FloatArray, Hedge, Patch, rectangle
from dmnil_maps.sample_world.scene_builder import SceneBuilder

GARDEN_TREES = (0, 1, 2, 3, 5, 6)


def fill_suburb(builder: SceneBuilder, block: Block) -> None:
    """Houses along the streets, each on its plot; trees and sheds behind."""
    builder.patch(block.outline, "lawn")
    roofs = [builder.pick(range(9)) for _ in range(3)]
    lot_m = builder.between(16.0, 23.0)
    setback = builder.between(4.5, 8.0)
    terraced = builder.chance(0.18)
    for front in block.fronts(14.0):
        if terraced and front.length_m > 45:
            _terrace(builder, front, setback, roofs)
        along = lot_m / 2
        while along < front.length_m - 5:
            lot = lot_m * builder.between(0.85, 1.25)
            _plot(builder, front, along, lot, setback, roofs)
            along += lot
    spots = scattered(builder, block.outline.min(0), block.outline.max(0), 7.0)
    spots = clumped(builder, spots, builder.between(0.25, 0.6))
    inside = spots[block.contains(spots)] if len(spots) else spots
    builder.trees_where_free(inside, (1.2, 4.4), GARDEN_TREES)


def _plot(
    builder: SceneBuilder,
    front: Front,
    along: float,
    lot: float,
    setback: float,
    roofs: list[int],
) -> None:
    across = builder.chance(0.3)
    angle = front.angle_rad + (np.pi / 2 if across else 0) + builder.between(-0.02, 0.02)
    rise = builder.between(2.4, 4.2)
    shell = Shell(
        builder.between(3.2, 6.4),
        "hip" if builder.chance(0.22) else "gable" if builder.chance(0.9) else "flat",
        rise,
        roofs[builder.pick(range(3))] if builder.chance(0.8) else builder.pick(range(9)),
        builder.pick(range(8)),
    )
    if shell.roof == "flat":
        shell = Shell(shell.height_m + 1, "flat", 0.0, builder.pick(range(6)), shell.wall_colour)
    depth = builder.between(30, 36) / 2 + 4
    plot = rectangle(front.at(along, depth / 2 + 4), lot - 0.8, depth + 8, front.angle_rad)
    centre = front.at(along + builder.between(-1.5, 1.5), setback + (7.5 if across else 5.5))
    start = len(builder.patches)
    if not add_house(builder, centre, angle, shell):
        return
    material = "lawn" if builder.chance(0.8) else "garden" if builder.chance(0.6) else "gravel"
    builder.patches.insert(start, Patch(plot, material, builder.seed()))
    side = builder.pick((-1, 1))
    _driveway(builder, front, along + side * (lot / 2 - 2.4), setback)
    if builder.chance(0.5):
        terrace = front.at(along, setback + (15 if across else 12.5))
        builder.patch(rectangle(terrace, 7, 4, front.angle_rad), "paving")
    if builder.chance(0.06):
        _pool(builder, front.at(along + builder.between(-3, 3), setback + 20), front.angle_rad)
    if builder.chance(0.45):
        edge = along - lot / 2 + 0.4
        far = front.at(edge, builder.between(14, 30))
        builder.hedges.append(
            Hedge(np.stack([front.at(edge, 1.0), far]), 0.9, builder.between(1, 2))
        )
    if builder.chance(0.4):
        ends = np.stack([front.at(along - lot / 2 + 1, 0.8), front.at(along + lot / 2 - 5, 0.8)])
        builder.hedges.append(Hedge(ends, 0.8, builder.between(0.8, 1.5)))


def _driveway(builder: SceneBuilder, front: Front, along: float, setback: float) -> None:
    length = setback + builder.between(4, 8)
    outline = rectangle(front.at(along, length / 2 - 1), 3.2, length + 2, front.angle_rad)
    builder.patch(outline, ("concrete", "paving", "asphalt_old")[builder.pick(range(3))])
    if builder.chance(0.5):
        add_garage(builder, front.at(along, length + 3), front.angle_rad + np.pi / 2)
    builder.car(front.at(along, length / 2), front.angle_rad + np.pi / 2, 0.5)


def _pool(builder: SceneBuilder, centre: FloatArray, angle: float) -> None:
    rim = rectangle(centre, 11, 7, angle)
    if builder.is_free(rim):
        builder.patch(rim, "paving")
        builder.patch(rectangle(centre, 8, 4, angle), "pool")
        builder.take(rim)


def _terrace(builder: SceneBuilder, front: Front, setback: float, roofs: list[int]) -> None:
    """A row of joined houses along a front."""
    count = int((front.length_m - 18) // 7.5)
    length = min(count, 9) * 7.5
    shell = Shell(6.0, "gable", 3.4, roofs[0], builder.pick(range(8)))
    centre = front.at(front.length_m / 2, setback + 5.5)
    if builder.is_free(rectangle(centre, length, 11, front.angle_rad)):
        building = builder.new_building()
        add_wing(builder, building, shell, centre, (length, 10.0), front.angle_rad)
