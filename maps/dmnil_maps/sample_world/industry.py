"""Industrial and retail estates: large halls, yards, tanks and big parking lots."""

import numpy as np

from dmnil_maps.sample_world.buildings import Shell, add_flat_block
from dmnil_maps.sample_world.city_blocks import Block, scattered
from dmnil_maps.sample_world.parking import add_parking_lot
from dmnil_maps.sample_world.scene import FloatArray, rectangle
from dmnil_maps.sample_world.scene_builder import SceneBuilder


def fill_industry(builder: SceneBuilder, block: Block) -> None:
    """Halls from large to small, a parking lot along the street, a green rim."""
    builder.patch(
        block.outline, ("concrete", "asphalt_old", "gravel")[builder.pick((0, 0, 1, 1, 2))]
    )
    fronts = block.fronts(18.0)
    if not fronts:
        return
    front = fronts[0]
    angle = front.angle_rad
    if builder.chance(0.75) and front.length_m > 45:
        lot = min(front.length_m - 16, builder.between(40, 120))
        rows = builder.pick((1, 1, 2))
        add_parking_lot(
            builder,
            front.at(front.length_m / 2, 3 + 8.4 * rows),
            lot,
            16.4 * rows + 0.4,
            angle,
            0.6,
        )
    for scale in (1.0, 0.75, 0.55, 0.4, 0.3, 0.2):
        for spot in scattered(builder, block.outline.min(0), block.outline.max(0), 15.0)[:220]:
            size = scale * builder.between(55, 105), scale * builder.between(34, 62)
            _hall(builder, spot, size, angle + (np.pi / 2 if builder.chance(0.3) else 0))
    for spot in scattered(builder, block.outline.min(0), block.outline.max(0), 16.0):
        if builder.chance(0.15):
            _containers(builder, spot, angle)
        elif builder.chance(0.3) and builder.is_free(rectangle(spot, 6, 6, 0)):
            builder.car(spot, angle + builder.between(-0.3, 0.3), 0.7)
    for edge in fronts:
        steps = np.arange(4.0, edge.length_m - 2, builder.between(8, 16))
        points = np.array([edge.at(float(step), 1.8) for step in steps]).reshape(-1, 2)
        if builder.chance(0.6):
            builder.trees_where_free(points, (1.8, 3.6), (0, 1, 2))


def _hall(builder: SceneBuilder, spot: FloatArray, size: tuple[float, float], angle: float) -> None:
    room = size[0] + 5, size[1] + 5
    if min(size) < 8 or not builder.is_free(rectangle(spot, *room, angle)):
        return
    kind = builder.pick((0, 0, 1, 1, 2, 3))
    height = builder.between(5.5, 10.5) if max(size) > 30 else builder.between(4, 6.5)
    walls = builder.pick((0, 1, 2, 8, 9))
    if kind == 0:
        shell = Shell(height, "metal", size[1] * 0.045, builder.pick(range(7)), walls)
    elif kind == 1:
        shell = Shell(height, "flat", 0.0, builder.pick(range(6)), walls)
    elif kind == 2:
        shell = Shell(height, "sawtooth", 2.2, builder.pick(range(7)), walls)
    else:
        shell = Shell(height, "metal", size[1] * 0.03, builder.pick(range(7)), walls)
    add_flat_block(builder, spot, size, angle, shell, 0.35 if shell.roof == "flat" else 0.0)


def _containers(builder: SceneBuilder, spot: FloatArray, angle: float) -> None:
    axis = np.array([np.cos(angle), np.sin(angle)])
    side = np.array([-axis[1], axis[0]])
    for row in range(builder.pick((1, 2, 3, 4))):
        shell = Shell(
            2.6 * builder.pick((1, 1, 2)), "equipment", 0.0, builder.pick(range(5, 10)), 9
        )
        add_flat_block(builder, spot + side * row * 3.4, (12.2, 2.44), angle, shell, 0.0)
