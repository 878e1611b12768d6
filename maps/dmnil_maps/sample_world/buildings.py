"""Single buildings: wings, roofs, and what stands on the roofs."""

from dataclasses import dataclass

import numpy as np

from dmnil_maps.sample_world.scene import BuildingPart, FloatArray, Roof, rectangle
from dmnil_maps.sample_world.scene_builder import SceneBuilder


@dataclass(frozen=True)
class Shell:
    """How a building looks and how high it is."""

    height_m: float
    roof: Roof
    roof_rise_m: float
    roof_colour: int
    wall_colour: int


def add_wing(
    builder: SceneBuilder,
    building: int,
    shell: Shell,
    centre: FloatArray,
    size_m: tuple[float, float],
    angle_rad: float,
    spacing_m: float = 0.6,
) -> None:
    """One wing; the ridge runs along the first size, nothing else comes within `spacing_m`."""
    part = BuildingPart(
        building,
        float(centre[0]),
        float(centre[1]),
        size_m[0],
        size_m[1],
        angle_rad,
        shell.height_m,
        shell.roof,
        shell.roof_rise_m,
        shell.roof_colour,
        shell.wall_colour,
        builder.seed(),
    )
    builder.parts.append(part)
    builder.take(part.corners(spacing_m))


def add_house(builder: SceneBuilder, centre: FloatArray, angle_rad: float, shell: Shell) -> bool:
    """A detached house, sometimes with a cross wing, a chimney; False if there is no room."""
    size = builder.between(10.0, 15.5), builder.between(8.0, 10.5)
    if not builder.is_free(rectangle(centre, size[0] + 2, size[1] + 2, angle_rad)):
        return False
    building = builder.new_building()
    axis = np.array([np.cos(angle_rad), np.sin(angle_rad)])
    side = np.array([-axis[1], axis[0]])
    if builder.chance(0.35):
        reach = builder.between(2.5, 4.5)
        wing_centre = centre + side * (size[1] / 2 + reach / 2 - 3) * builder.pick((-1, 1))
        wing_centre = wing_centre + axis * builder.between(-0.25, 0.25) * size[0]
        wing = reach + 6, builder.between(5.0, 6.5)
        if builder.is_free(rectangle(wing_centre, wing[0], wing[1], angle_rad + np.pi / 2)):
            add_wing(builder, building, shell, wing_centre, wing, angle_rad + np.pi / 2)
    add_wing(builder, building, shell, centre, size, angle_rad)
    if builder.chance(0.6):
        spot = (
            centre + axis * builder.between(-0.35, 0.35) * size[0] + side * builder.between(-1, 1)
        )
        chimney = Shell(shell.height_m + shell.roof_rise_m + 0.7, "equipment", 0.0, 5, 5)
        add_wing(builder, building, chimney, spot, (0.9, 0.8), angle_rad)
    return True


def add_garage(builder: SceneBuilder, centre: FloatArray, angle_rad: float) -> bool:
    """A small flat-roofed garage or shed; False if no room."""
    size = builder.between(5.5, 7.0), builder.between(3.0, 4.2)
    if not builder.is_free(rectangle(centre, size[0], size[1], angle_rad)):
        return False
    shell = Shell(
        builder.between(2.4, 2.9), "flat", 0.0, builder.pick(range(6)), builder.pick((0, 1))
    )
    add_wing(builder, builder.new_building(), shell, centre, size, angle_rad)
    return True


def add_flat_block(
    builder: SceneBuilder,
    centre: FloatArray,
    size_m: tuple[float, float],
    angle_rad: float,
    shell: Shell,
    equipment_per_100_m2: float,
) -> bool:
    """A flat-roofed block with boxes, stair heads or solar panels on the roof; False if no room."""
    if not builder.is_free(rectangle(centre, size_m[0] + 1, size_m[1] + 1, angle_rad)):
        return False
    building = builder.new_building()
    add_wing(builder, building, shell, centre, size_m, angle_rad)
    furnish_roof(builder, building, shell, centre, size_m, angle_rad, equipment_per_100_m2)
    return True


def furnish_roof(
    builder: SceneBuilder,
    building: int,
    shell: Shell,
    centre: FloatArray,
    size_m: tuple[float, float],
    angle_rad: float,
    equipment_per_100_m2: float,
) -> None:
    """Boxes, skylights and solar panels on a flat roof."""
    axis = np.array([np.cos(angle_rad), np.sin(angle_rad)])
    side = np.array([-axis[1], axis[0]])
    height = shell.height_m
    if builder.chance(0.13) and min(size_m) > 9:
        share = builder.between(0.35, 0.85)
        spot = centre + axis * builder.between(-0.5, 0.5) * (1 - share) * size_m[0]
        panels = Shell(height + 0.35, "solar", 0.0, 0, 0)
        size = size_m[0] * share - 2.5, size_m[1] - 3.5
        if min(size) > 3:
            add_wing(builder, building, panels, spot, size, angle_rad)
            equipment_per_100_m2 *= 0.3
    count = int(builder.rng.poisson(size_m[0] * size_m[1] / 100 * equipment_per_100_m2))
    for _ in range(min(count, 28)):
        box = builder.between(1.0, 4.2), builder.between(0.9, 2.8)
        room = (size_m[0] - box[0]) / 2 - 1.2, (size_m[1] - box[1]) / 2 - 1.2
        if min(room) <= 0:
            continue
        spot = (
            centre
            + axis * builder.between(-1, 1) * room[0]
            + side * builder.between(-1, 1) * room[1]
        )
        rise = builder.between(0.4, 2.0)
        unit = Shell(height + rise, "equipment", 0.0, builder.pick(range(6)), 1)
        add_wing(builder, building, unit, spot, box, angle_rad)
    if builder.chance(0.5) and max(size_m) > 16 and min(size_m) > 7:
        spot = centre + axis * builder.between(-0.35, 0.35) * size_m[0]
        stairs = Shell(height + 2.6, "flat", 0.0, shell.roof_colour, shell.wall_colour)
        add_wing(builder, building, stairs, spot, (5.0, 3.2), angle_rad)
