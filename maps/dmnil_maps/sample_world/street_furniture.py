"""What lines the streets: trees, parked cars, traffic."""

import numpy as np

from dmnil_maps.sample_world import curves
from dmnil_maps.sample_world.city_blocks import along_line
from dmnil_maps.sample_world.scene import FloatArray, Road
from dmnil_maps.sample_world.scene_builder import TAKEN, SceneBuilder


def line_streets(builder: SceneBuilder, roads: list[Road]) -> None:
    """Trees and cars along every asphalt road."""
    for road in roads:
        if road.surface != "asphalt":
            continue
        if road.sidewalk_m > 0 and builder.chance(0.42):
            _street_trees(builder, road, roads)
        elif road.sidewalk_m == 0 and builder.chance(0.3):
            _avenue(builder, road)
        _cars(builder, road)


def _street_trees(builder: SceneBuilder, road: Road, roads: list[Road]) -> None:
    species = builder.pick((0, 1, 2))
    radius = builder.between(2.0, 3.6)
    spacing = builder.between(9.0, 15.0)
    for sign in (-1, 1) if builder.chance(0.6) else (builder.pick((-1, 1)),):
        line = curves.offset(road.centreline, sign * (road.width_m / 2 + road.sidewalk_m - 0.4))
        for (east, north), _ in along_line(line, spacing):
            if builder.chance(0.82) and not _on_carriageway(builder, east, north):
                builder.tree((east, north), radius * builder.between(0.75, 1.2), species)


def _on_carriageway(builder: SceneBuilder, east: float, north: float) -> bool:
    return bool(builder.carriageway.at(np.array([[east, north]]))[0])


def _avenue(builder: SceneBuilder, road: Road) -> None:
    species = builder.pick((0, 1, 2, 4))
    spacing = builder.between(11.0, 20.0)
    for sign in (-1, 1):
        line = curves.offset(road.centreline, sign * (road.width_m / 2 + 2.5))
        for (east, north), _ in along_line(line, spacing):
            if builder.chance(0.75) and not _on_carriageway(builder, east, north):
                builder.tree((east, north), builder.between(2.2, 4.4), species)


def _cars(builder: SceneBuilder, road: Road) -> None:
    parked = 0.38 if road.width_m < 7.5 and road.sidewalk_m > 0 else 0.0
    for sign in (-1, 1):
        if parked:
            line = curves.offset(road.centreline, sign * (road.width_m / 2 - 1.05))
            _line_of_cars(builder, line, 6.2, parked * builder.between(0.2, 1.3))
        elif road.width_m >= 6:
            lane = curves.offset(road.centreline, sign * road.width_m * 0.22)
            _line_of_cars(builder, lane, 15.0, 0.16)


def _line_of_cars(builder: SceneBuilder, line: FloatArray, spacing: float, presence: float) -> None:
    for (east, north), angle in along_line(line, spacing):
        if builder.free.at(np.array([[east, north]]))[0] == TAKEN:
            shift = builder.between(-0.8, 0.8)
            builder.car(
                (east + shift * np.cos(angle), north + shift * np.sin(angle)),
                angle + builder.between(-0.03, 0.03),
                presence,
            )
