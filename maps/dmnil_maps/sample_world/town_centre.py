"""The old town: closed rows of houses around courtyards, squares and a church."""

import numpy as np

from dmnil_maps.sample_world.buildings import Shell, add_wing, furnish_roof
from dmnil_maps.sample_world.city_blocks import Block, Front, clumped, scattered
from dmnil_maps.sample_world.parking import add_parking_lot
from dmnil_maps.sample_world.scene import rectangle
from dmnil_maps.sample_world.scene_builder import SceneBuilder


def fill_centre(builder: SceneBuilder, block: Block) -> None:
    """Rows along the streets; the courtyard gets sheds, trees or parking."""
    builder.patch(
        block.outline, "paving" if block.area_m2 < 7000 and builder.chance(0.5) else "lawn"
    )
    if builder.chance(0.12) and 2000 < block.area_m2 < 6500:
        _square(builder, block)
        return
    depth = builder.between(11.0, 14.5)
    height = builder.between(8.5, 15.5)
    modern = builder.chance(0.3)
    roofs = [builder.pick(range(9)) for _ in range(2)]
    for front in block.fronts(12.0):
        _row(builder, front, depth, height, modern, roofs)
    fronts = block.fronts(10.0)
    angle = fronts[0].angle_rad if fronts else 0.0
    if builder.chance(0.4):
        add_parking_lot(builder, block.centre, builder.between(18, 34), 16.8, angle, 0.7)
    for spot in scattered(builder, block.outline.min(0), block.outline.max(0), 14.0):
        size = builder.between(5, 13), builder.between(4, 8)
        if builder.chance(0.35) and builder.is_free(
            rectangle(spot, size[0] + 2, size[1] + 2, angle)
        ):
            shell = Shell(
                builder.between(2.6, 5), "flat", 0, builder.pick(range(6)), builder.pick((0, 1))
            )
            add_wing(builder, builder.new_building(), shell, spot, size, angle)
    spots = scattered(builder, block.outline.min(0), block.outline.max(0), 8.0)
    spots = clumped(builder, spots, 0.35)
    inside = spots[block.contains(spots)] if len(spots) else spots
    builder.trees_where_free(inside, (1.8, 4.2), (0, 1, 2, 5))


def _row(
    builder: SceneBuilder, front: Front, depth: float, height: float, modern: bool, roofs: list[int]
) -> None:
    along = 0.3
    while along < front.length_m - 7:
        width = min(builder.between(9.0, 21.0), front.length_m - along - 0.3)
        own_depth = depth + builder.between(-1.0, 1.0)
        own_height = max(6.0, height + builder.between(-2.5, 2.5))
        centre = front.at(along + width / 2, own_depth / 2 + 0.4)
        footprint = rectangle(centre, width - 1.2, own_depth, front.angle_rad)
        along += width
        if builder.chance(0.06) or not builder.is_free(footprint):
            continue
        building = builder.new_building()
        walls = builder.pick(range(8))
        if modern or builder.chance(0.2):
            shell = Shell(own_height + 2, "flat", 0.0, builder.pick(range(6)), walls)
            furnish_roof(builder, building, shell, centre, (width, own_depth), front.angle_rad, 1.2)
        else:
            colour = (
                roofs[builder.pick((0, 0, 1))] if builder.chance(0.85) else builder.pick(range(9))
            )
            shell = Shell(own_height, "gable", builder.between(3.6, 5.2), colour, walls)
            for _ in range(builder.pick((0, 1, 1, 2))):
                spot = front.at(
                    along - builder.between(1, width - 1), own_depth * builder.between(0.3, 0.7)
                )
                top = own_height + shell.roof_rise_m + 0.6
                chimney = Shell(top, "equipment", 0.0, 5, 5)
                add_wing(builder, building, chimney, spot, (1.2, 0.9), front.angle_rad)
        size = width, own_depth
        add_wing(builder, building, shell, centre, size, front.angle_rad, -0.4)


def _square(builder: SceneBuilder, block: Block) -> None:
    """A paved square with a church and rows of trees."""
    fronts = block.fronts(8.0)
    angle = fronts[0].angle_rad if fronts else 0.0
    axis = np.array([np.cos(angle), np.sin(angle)])
    building = builder.new_building()
    nave = Shell(13.0, "gable", 7.0, builder.pick((1, 4, 6)), 2)
    if builder.is_free(rectangle(block.centre, 38, 24, angle)):
        add_wing(builder, building, nave, block.centre, (34, 13), angle)
        add_wing(builder, building, nave, block.centre + axis * 6, (23, 10), angle + np.pi / 2)
        tower = Shell(27.0, "hip", 9.0, nave.roof_colour, 2)
        add_wing(builder, building, tower, block.centre - axis * 17, (8, 8), angle)
    for front in fronts:
        steps = np.arange(6.0, front.length_m - 4, 8.5)
        points = np.array([front.at(float(step), 5.0) for step in steps]).reshape(-1, 2)
        builder.trees_where_free(points, (2.2, 3.0), (1,))
