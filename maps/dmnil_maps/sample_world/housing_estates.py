"""Post-war estates: parallel slabs and point blocks in open green, with paths and parking."""

import numpy as np

from dmnil_maps.sample_world import curves
from dmnil_maps.sample_world.buildings import Shell, add_flat_block
from dmnil_maps.sample_world.city_blocks import Block, clumped, scattered
from dmnil_maps.sample_world.parking import add_parking_lot
from dmnil_maps.sample_world.scene import Road, rectangle
from dmnil_maps.sample_world.scene_builder import SceneBuilder


def fill_estate(builder: SceneBuilder, block: Block) -> None:
    """Slabs on a lawn, all turned the same way."""
    builder.patch(block.outline, "lawn")
    fronts = block.fronts(20.0)
    if not fronts:
        return
    angle = fronts[0].angle_rad + (np.pi / 2 if builder.chance(0.45) else 0)
    front = fronts[0]
    add_parking_lot(
        builder,
        front.at(front.length_m / 2, 11.5),
        min(front.length_m - 14, builder.between(40, 75)),
        16.8,
        front.angle_rad,
        0.65,
    )
    axis = np.array([np.cos(angle), np.sin(angle)])
    side = np.array([-axis[1], axis[0]])
    walls, roof, floors = (
        builder.pick(range(8)),
        builder.pick(range(6)),
        builder.pick((4, 4, 5, 6, 8)),
    )
    point_blocks = builder.chance(0.25)
    gap = builder.between(30, 42)
    for across in np.arange(-260, 260, gap):
        along = -260 + builder.between(0, 40)
        while along < 260:
            length = builder.between(19, 24) if point_blocks else builder.between(34, 74)
            width = builder.between(17, 20) if point_blocks else builder.between(11.0, 13.5)
            centre = block.centre + axis * (along + length / 2) + side * across
            shell = Shell(3.0 * floors + builder.pick((0, 0, 3)) + 1, "flat", 0.0, roof, walls)
            lawn = rectangle(centre, length + 5, width + 7, angle)
            placed = builder.is_free(lawn) and add_flat_block(
                builder, centre, (length, width), angle, shell, 0.9
            )
            if placed:
                path = centre - side * (width / 2 + 3.5)
                ends = np.stack([path - axis * length / 2, path + axis * length / 2])
                builder.roads.append(Road(ends, 1.8, "concrete", seed=builder.seed()))
            along += length + builder.between(12, 22) if placed else 9.0
    _paths(builder, block)
    spots = scattered(builder, block.outline.min(0), block.outline.max(0), 6.5)
    spots = clumped(builder, spots, 0.42)
    inside = spots[block.contains(spots)] if len(spots) else spots
    builder.trees_where_free(inside, (1.8, 4.8), (0, 1, 2, 3, 5))


def _paths(builder: SceneBuilder, block: Block) -> None:
    """Footpaths across the lawn where nothing stands."""
    bend = curves.SmoothBend(builder.rng, 90, 6)
    for _ in range(2):
        heading = builder.between(0, np.pi)
        unit = np.array([np.cos(heading), np.sin(heading)])
        line = bend(curves.line(block.centre - unit * 120, block.centre + unit * 120, 3.0))
        inside = line[block.contains(line) & builder.is_free_at(line)]
        if len(inside) > 8 and np.hypot(*np.diff(inside, axis=0).T).max() < 8:
            builder.roads.append(Road(inside, 1.8, "concrete", seed=builder.seed()))
