"""Generation of a whole world from one seed: a town, its river and railway, fields and woods."""

from dataclasses import dataclass

import numpy as np

from dmnil_maps.sample_world import curves
from dmnil_maps.sample_world.city_blocks import blocks_of
from dmnil_maps.sample_world.countryside import fill_farmland, fill_wood
from dmnil_maps.sample_world.districts import District, divide
from dmnil_maps.sample_world.green_spaces import fill_campus, fill_park, fill_verge
from dmnil_maps.sample_world.housing_estates import fill_estate
from dmnil_maps.sample_world.industry import fill_industry
from dmnil_maps.sample_world.local_streets import lay_streets
from dmnil_maps.sample_world.residential import fill_suburb
from dmnil_maps.sample_world.road_markings import paint_roads
from dmnil_maps.sample_world.scene import (
    CAR_DTYPE,
    TREE_DTYPE,
    BuildingPart,
    Hedge,
    Patch,
    RecordArray,
    Road,
    Stripe,
    rectangle,
)
from dmnil_maps.sample_world.scene_builder import FREE, OPEN_LAND, TAKEN, SceneBuilder
from dmnil_maps.sample_world.street_furniture import line_streets
from dmnil_maps.sample_world.street_network import MainLines, lay_main_lines
from dmnil_maps.sample_world.town_centre import fill_centre

MARGIN_M = 260.0  # the world goes on this far past its edge, so that oblique views are filled
FILLERS = {
    "centre": fill_centre,
    "suburb": fill_suburb,
    "slabs": fill_estate,
    "industry": fill_industry,
    "campus": fill_campus,
    "park": fill_park,
}


@dataclass(frozen=True)
class World:
    """A generated piece of flat country; see `scene` for frame and units.

    The world's own area is the square of side `size_m` about (0, 0); elements reach
    `MARGIN_M` beyond it. The same seed and size give the same world.
    """

    seed: int
    size_m: float
    patches: tuple[Patch, ...]  # in painting order
    roads: tuple[Road, ...]  # in painting order
    stripes: tuple[Stripe, ...]
    hedges: tuple[Hedge, ...]
    parts: tuple[BuildingPart, ...]
    trees: RecordArray  # scene.TREE_DTYPE
    cars: RecordArray  # scene.CAR_DTYPE
    districts: tuple[District, ...]


def generate_world(seed: int, size_m: float = 2000.0) -> World:
    """Generate a world.

    Args:
        seed: Same seed and size, same world.
        size_m: Side of the square, at least 200 m.
    Raises:
        ValueError: If the size is too small.
    """
    if size_m < 200:
        raise ValueError(f"a world of {size_m} m is too small for a town: choose 200 m or more")
    builder = SceneBuilder(np.random.default_rng(seed), size_m / 2 + MARGIN_M)
    half = builder.half_extent_m
    builder.patch(rectangle((0, 0), 2 * half, 2 * half, 0), "meadow")
    lines = lay_main_lines(builder)
    districts = divide(builder, lines)
    for district in districts:
        value = OPEN_LAND if district.use in ("farmland", "wood", "verge") else FREE
        builder.free.fill(district.outline, value)
    streets = [road for district in districts for road in lay_streets(builder, district)]
    _take_lines(builder, lines, streets)
    for district in districts:
        _fill(builder, district)
    builder.patches += [lines.river_bank, lines.shore, lines.river]
    _plant_river_bank(builder, lines)
    roads = [*streets, *lines.roads]
    line_streets(builder, roads)
    paint_roads(builder, roads, lines.rails)
    return World(
        seed=seed,
        size_m=size_m,
        patches=tuple(builder.patches),
        roads=(*builder.roads, *lines.rails, *_smallest_first(roads)),
        stripes=tuple(builder.stripes),
        hedges=tuple(builder.hedges),
        parts=tuple(builder.parts),
        trees=np.array(builder.trees, TREE_DTYPE),
        cars=np.array(builder.cars, CAR_DTYPE),
        districts=tuple(districts),
    )


def _take_lines(builder: SceneBuilder, lines: MainLines, streets: list[Road]) -> None:
    for road in (*streets, *lines.roads, *lines.rails):
        builder.free.draw(road.centreline, road.width_m + 2 * road.sidewalk_m + 1.0, TAKEN)
        builder.carriageway.draw(road.centreline, road.width_m + 0.5, 1)
    builder.free.fill(lines.river_bank.outline, TAKEN)
    builder.carriageway.fill(lines.river.outline, 1)


def _fill(builder: SceneBuilder, district: District) -> None:
    if district.use == "farmland":
        fill_farmland(builder, district)
    elif district.use == "wood":
        fill_wood(builder, district)
    elif district.use == "verge":
        fill_verge(builder, district.outline)
    else:
        builder.patch(district.outline, "lawn")
        for block in blocks_of(builder, district):
            builder.open_block(block.outline)
            FILLERS[district.use](builder, block)
            builder.close_block(block.outline)


def _plant_river_bank(builder: SceneBuilder, lines: MainLines) -> None:
    for sign in (-1, 1):
        line = curves.offset(lines.river_centreline, sign * 27.0)
        for east, north in curves.resample(line, 6.5):
            shift = builder.rng.uniform(-4, 4, 2)
            spot = np.array([[east + shift[0], north + shift[1]]])
            if builder.chance(0.5) and not builder.carriageway.at(spot)[0]:
                builder.tree(spot[0], builder.between(1.6, 4.6), builder.pick((0, 1, 2, 4)))


def _smallest_first(roads: list[Road]) -> list[Road]:
    return sorted(roads, key=lambda road: road.width_m)
