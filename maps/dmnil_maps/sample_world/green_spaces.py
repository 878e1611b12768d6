"""Parks, school and sports grounds, and the leftover verges."""

import numpy as np

from dmnil_maps.sample_world import curves
from dmnil_maps.sample_world.buildings import Shell, add_flat_block
from dmnil_maps.sample_world.city_blocks import Block, clumped, scattered
from dmnil_maps.sample_world.parking import add_parking_lot
from dmnil_maps.sample_world.scene import FloatArray, Road, Stripe, rectangle
from dmnil_maps.sample_world.scene_builder import SceneBuilder


def fill_park(builder: SceneBuilder, block: Block) -> None:
    """A lawn with a pond, winding paths and clumps of trees."""
    builder.patch(block.outline, "lawn")
    pond = _blob(builder, block.centre, np.sqrt(block.area_m2) * builder.between(0.1, 0.2))
    if builder.is_free(pond) and builder.chance(0.8):
        builder.patch(_grown(pond, 1.08), "meadow")
        builder.patch(pond, "water")
        builder.take(pond)
    bend = curves.SmoothBend(builder.rng, 120, 14)
    for _ in range(int(np.clip(block.area_m2 / 5000, 2, 7))):
        start = block.outline[builder.pick(range(len(block.outline)))]
        end = block.outline[builder.pick(range(len(block.outline)))]
        line = bend(curves.line(start, end, 3.0))
        keep = block.contains(line) & builder.is_free_at(line)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], keep.view(np.int8), [0]])))
        for begin, stop in zip(edges[::2], edges[1::2], strict=True):
            if stop - begin > 5:
                path = Road(
                    line[begin:stop], builder.between(2, 3.4), "gravel", seed=builder.seed()
                )
                builder.roads.append(path)
                builder.take(curves.ribbon(path.centreline, path.width_m + 1.5))
    density = curves.SmoothBend(builder.rng, 130, 1.0)
    spots = scattered(builder, block.outline.min(0), block.outline.max(0), 6.5)
    clumps = (density(spots) - spots).sum(1) + builder.rng.normal(0, 0.35, len(spots))
    spots = spots[clumps > 0.45]
    inside = spots[block.contains(spots)] if len(spots) else spots
    builder.trees_where_free(inside, (2.2, 6.2), (0, 1, 2, 3, 5))


def fill_campus(builder: SceneBuilder, block: Block) -> None:
    """A school or sports ground: pitches first, then buildings around them."""
    builder.patch(block.outline, "lawn")
    fronts = block.fronts(20.0)
    if not fronts:
        return
    angle = fronts[0].angle_rad
    spots = scattered(builder, block.outline.min(0), block.outline.max(0), 17.0)
    counts = {"stadium": 1, "pitch": 1, "tennis": builder.pick((0, 0, 1, 2))}
    makers = {"stadium": _stadium, "pitch": _pitch, "tennis": _tennis}
    for name, make in makers.items():
        for spot in spots:
            turned = angle + (np.pi / 2 if builder.chance(0.5) else 0)
            if counts[name] > 0 and make(builder, spot, turned):
                counts[name] -= 1
    for front in fronts[:2]:
        spot = front.at(front.length_m * builder.between(0.3, 0.7), 11.0)
        add_parking_lot(builder, spot, builder.between(25, 50), 16.8, front.angle_rad, 0.6)
    walls, roof = builder.pick(range(8)), builder.pick(range(6))
    left = 5
    for spot in spots:
        size = builder.between(22, 55), builder.between(12, 20)
        turned = angle + (np.pi / 2 if builder.chance(0.5) else 0)
        shell = Shell(builder.between(6, 13), "flat", 0.0, roof, walls)
        room = rectangle(spot, size[0] + 14, size[1] + 14, turned)
        if left > 0 and builder.is_free(room):
            builder.patch(rectangle(spot, size[0] + 9, size[1] + 9, turned), "paving")
            left -= add_flat_block(builder, spot, size, turned, shell, 0.8)
    trees = scattered(builder, block.outline.min(0), block.outline.max(0), 9.0)
    inside = trees[block.contains(trees)] if len(trees) else trees
    builder.trees_where_free(clumped(builder, inside, 0.4), (2.0, 4.6), (0, 1, 2, 3))


def fill_verge(builder: SceneBuilder, outline: FloatArray) -> None:
    """Leftover ground: rough grass with bushes."""
    builder.patch(outline, "meadow" if builder.chance(0.7) else "lawn")


def _stadium(builder: SceneBuilder, spot: FloatArray, angle: float) -> bool:
    """A 400 m running track around a football pitch."""
    if not builder.is_free(rectangle(spot, 182, 98, angle)):
        return False
    axis = np.array([np.cos(angle), np.sin(angle)])
    side = np.array([-axis[1], axis[0]])

    def oval(radius: float) -> FloatArray:
        turn = np.linspace(-np.pi / 2, np.pi / 2, 24)
        right = [
            spot + axis * (42.2 + radius * np.cos(t)) + side * radius * np.sin(t) for t in turn
        ]
        left = [spot - axis * (42.2 + radius * np.cos(t)) - side * radius * np.sin(t) for t in turn]
        return np.array(right + left)

    builder.patch(oval(46.0), "track")
    builder.patch(oval(36.5), "lawn")
    for lane in range(8):
        ring = oval(36.8 + 1.22 * lane)
        builder.stripes.append(Stripe(np.concatenate([ring, ring[:1]]), 0.08))
    _marked_pitch(builder, spot, 100, 64, angle)
    builder.take(oval(46.5))
    return True


def _pitch(builder: SceneBuilder, spot: FloatArray, angle: float) -> bool:
    if not builder.is_free(rectangle(spot, 108, 68, angle)):
        return False
    _marked_pitch(builder, spot, 98, 60, angle)
    builder.take(rectangle(spot, 106, 66, angle))
    return True


def _marked_pitch(
    builder: SceneBuilder, spot: FloatArray, length: float, width: float, angle: float
) -> None:
    axis = np.array([np.cos(angle), np.sin(angle)])
    builder.patch(rectangle(spot, length + 5, width + 5, angle), "pitch", angle + np.pi / 2, 11.0)
    lines = [rectangle(spot, length, width, angle)]
    for end in (-1, 1):
        lines.append(rectangle((spot + axis * end * (length / 2 - 8.25)), 16.5, 40.3, angle))
        lines.append(rectangle((spot + axis * end * (length / 2 - 2.75)), 5.5, 18.3, angle))
    turn = np.linspace(0, 2 * np.pi, 40)
    lines.append(spot + 9.15 * np.stack([np.cos(turn), np.sin(turn)], 1))
    for points in lines:
        builder.stripes.append(Stripe(np.concatenate([points, points[:1]]), 0.16))
    side = np.array([-axis[1], axis[0]]) * width / 2
    builder.stripes.append(Stripe(np.stack([spot - side, spot + side]), 0.16))


def _tennis(builder: SceneBuilder, spot: FloatArray, angle: float) -> bool:
    if not builder.is_free(rectangle(spot, 40, 38, angle)):
        return False
    side = np.array([-np.sin(angle), np.cos(angle)])
    material = "clay" if builder.chance(0.6) else "court"
    builder.patch(rectangle(spot, 38, 36, angle), material)
    for end in (-1, 1):
        court = spot + side * end * 9
        for size in ((23.8, 11), (23.8, 8.2), (12.8, 8.2), (12.8, 0.2)):
            outline = rectangle(court, size[0], size[1], angle)
            builder.stripes.append(Stripe(np.concatenate([outline, outline[:1]]), 0.12))
        net = np.stack([court - side * 5.5, court + side * 5.5])
        builder.stripes.append(Stripe(net, 0.15, "path"))
    builder.take(rectangle(spot, 38, 36, angle))
    return True


def _blob(builder: SceneBuilder, centre: FloatArray, radius: float) -> FloatArray:
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    phase = builder.rng.uniform(0, 6.28, 3)
    shape = 1 + 0.28 * np.sin(turn + phase[0]) + 0.16 * np.sin(2 * turn + phase[1])
    shape = shape + 0.1 * np.sin(3 * turn + phase[2])
    blob: FloatArray = centre + radius * shape[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
    return blob


def _grown(outline: FloatArray, factor: float) -> FloatArray:
    grown: FloatArray = outline.mean(0) + (outline - outline.mean(0)) * factor
    return grown
