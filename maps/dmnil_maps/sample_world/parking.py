"""Parking lots: tarmac, painted bays, cars and a few trees."""

import numpy as np

from dmnil_maps.sample_world.scene import FloatArray, Stripe, rectangle
from dmnil_maps.sample_world.scene_builder import SceneBuilder

BAY_WIDTH_M, BAY_LENGTH_M, AISLE_M = 2.6, 5.0, 6.2


def add_parking_lot(
    builder: SceneBuilder,
    centre: FloatArray,
    length_m: float,
    depth_m: float,
    angle_rad: float,
    fullness: float,
) -> bool:
    """A rectangular lot with bays across `depth_m`; False if its ground is not free."""
    outline = rectangle(centre, length_m, depth_m, angle_rad)
    if not builder.is_free(outline):
        return False
    builder.patch(outline, "parking")
    builder.take(outline)
    axis = np.array([np.cos(angle_rad), np.sin(angle_rad)])
    side = np.array([-axis[1], axis[0]])
    module = 2 * BAY_LENGTH_M + AISLE_M
    bays = int((length_m - 2.0) / BAY_WIDTH_M)
    offset = -depth_m / 2 + 0.6
    while offset + BAY_LENGTH_M < depth_m / 2:
        for row in (offset, offset + BAY_LENGTH_M + AISLE_M):
            if row + BAY_LENGTH_M > depth_m / 2:
                continue
            _bay_row(builder, centre, axis, side, row, bays, fullness)
        offset += module
    return True


def _bay_row(
    builder: SceneBuilder,
    centre: FloatArray,
    axis: FloatArray,
    side: FloatArray,
    row_m: float,
    bays: int,
    fullness: float,
) -> None:
    start = -bays * BAY_WIDTH_M / 2
    across = float(np.arctan2(side[1], side[0]))
    for bay in range(bays + 1):
        base = centre + axis * (start + bay * BAY_WIDTH_M) + side * row_m
        builder.stripes.append(Stripe(np.stack([base, base + side * BAY_LENGTH_M]), 0.12))
        if bay == bays:
            continue
        spot = base + axis * BAY_WIDTH_M / 2 + side * BAY_LENGTH_M / 2
        if bay % 9 == 8:
            builder.patch(rectangle(spot, BAY_LENGTH_M, BAY_WIDTH_M - 0.5, across), "lawn")
            builder.tree(spot, builder.between(1.6, 2.6), builder.pick((0, 1, 2)))
            continue
        builder.car(spot, across + builder.between(-0.03, 0.03), fullness)
