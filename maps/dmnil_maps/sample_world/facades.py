"""The walls of buildings: which wall a ray has met, its windows, its light."""

import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world import palette
from dmnil_maps.sample_world.scene import BuildingPart
from dmnil_maps.sample_world.sunlight import SHADE_RGB, Sun

FloatColumn = NDArray[np.float32]
FLOOR_M = 3.0
HALL_ROOFS = ("metal", "sawtooth")


class Facades:
    """Wall colours for points on the parts of a world."""

    def __init__(self, parts: tuple[BuildingPart, ...], sun: Sun, shadow_strength: float) -> None:
        self._sun = sun
        self._sunlight = shadow_strength
        rows = [
            (
                part.east,
                part.north,
                np.cos(part.angle_rad),
                np.sin(part.angle_rad),
                part.length_m / 2,
                part.width_m / 2,
                part.height_m,
                part.seed % 1009,
            )
            for part in parts
        ]
        self._shape = np.array(rows, np.float64).reshape(-1, 8)
        self._hall = np.array([part.roof in HALL_ROOFS for part in parts], bool)
        self._plain = np.array([part.roof in ("equipment", "solar") for part in parts], bool)
        wall = [palette.WALLS[part.wall_colour % len(palette.WALLS)] for part in parts]
        box = [palette.EQUIPMENT[part.roof_colour % 10] for part in parts]
        self._wall = np.array(wall, np.float32).reshape(-1, 3)
        self._wall[self._plain] = np.array(box, np.float32).reshape(-1, 3)[self._plain]

    def outward(
        self, part: NDArray[np.int64], east: FloatColumn, north: FloatColumn
    ) -> tuple[FloatColumn, FloatColumn, FloatColumn]:
        """Of the wall nearest to each point: outward normal (east, north) and position along it."""
        shape = self._shape[part]
        cosine, sine = shape[:, 2], shape[:, 3]
        u = (east - shape[:, 0]) * cosine + (north - shape[:, 1]) * sine
        v = (north - shape[:, 1]) * cosine - (east - shape[:, 0]) * sine
        on_end = np.abs(u) - shape[:, 4] > np.abs(v) - shape[:, 5]
        sign_u, sign_v = np.sign(u), np.sign(v)
        normal_east = np.where(on_end, sign_u * cosine, -sign_v * sine)
        normal_north = np.where(on_end, sign_u * sine, sign_v * cosine)
        along = np.where(on_end, v + shape[:, 5], u + shape[:, 4])
        return (
            normal_east.astype(np.float32),
            normal_north.astype(np.float32),
            along.astype(np.float32),
        )

    def colour(
        self,
        part: NDArray[np.int64],
        normal: tuple[FloatColumn, FloatColumn],
        along_m: FloatColumn,
        height_m: FloatColumn,
        shadow_top_m: FloatColumn,
        footprint_m: FloatColumn,
    ) -> NDArray[np.float32]:
        """(N, 3) lit colours of wall points.

        Args:
            shadow_top_m: Height of the shadow just outside the wall.
            footprint_m: Pixel size at the point; details under it fade.
        """
        albedo = self._wall[part].copy()
        self._add_windows(albedo, part, along_m, height_m, footprint_m)
        towards = normal[0] * np.float32(self._sun.column) - normal[1] * np.float32(self._sun.row)
        facing = np.clip(towards / np.float32(self._sun.tangent), 0, 1.25) * np.float32(0.85)
        facing = facing * np.clip((height_m - shadow_top_m) / 0.5 + 0.5, 0, 1)
        facing = facing * np.float32(self._sunlight) + np.float32(0.55 * (1 - self._sunlight))
        base = 0.78 + 0.22 * np.clip(height_m / 4, 0, 1)
        bounce = 1.12 + 0.1 * np.abs(normal[0])  # tells the two shaded walls of a house apart
        light = (base * bounce)[:, None] * SHADE_RGB + facing[:, None] * (1 - SHADE_RGB)
        lit: NDArray[np.float32] = albedo * light
        return lit

    def _add_windows(
        self,
        albedo: NDArray[np.float32],
        part: NDArray[np.int64],
        along_m: FloatColumn,
        height_m: FloatColumn,
        footprint_m: FloatColumn,
    ) -> None:
        shape = self._shape[part]
        seed, eaves = shape[:, 7].astype(np.int64), shape[:, 6]
        pitch = 2.5 + (seed % 7) * 0.22
        column = np.floor(along_m / pitch)
        floor = np.floor(height_m / FLOOR_M)
        in_column = along_m - (column + 0.5) * pitch
        in_floor = height_m - floor * FLOOR_M
        wide = 0.55 + (seed % 5) * 0.13
        whole_floor = (floor + 1) * FLOOR_M <= eaves + 0.7
        pane = (np.abs(in_column) < wide) & (in_floor > 0.9) & (in_floor < 2.35) & whole_floor
        hall = self._hall[part]
        strip = hall & (height_m > eaves - 2.2) & (height_m < eaves - 1.0) & (seed % 3 > 0)
        door = hall & (height_m < 4.0) & (np.abs(along_m % 14 - 7) < 2.0) & (seed % 2 > 0)
        pane = np.where(hall, strip, pane) & ~self._plain[part]
        shade = ((column * 7 + floor * 13 + seed) * 2654435761 % 97) / 97
        glass = np.array([46, 54, 64], np.float32) + (shade * 60)[:, None].astype(np.float32)
        strength = np.clip(1.35 - footprint_m / 0.8, 0.25, 1)
        strength = (strength * pane)[:, None].astype(np.float32)
        albedo += strength * (glass - albedo)
        # Balcony fronts and floor slabs of tall blocks, ribs of halls, plinths.
        tall = (eaves > 11) & ~hall & (seed % 3 == 0)
        band = tall & (in_floor < 0.8) & (floor > 0)
        albedo[band] *= np.float32(1.13)
        albedo[door] *= np.float32(0.72)
        ribs = hall & (along_m % 1.2 < 0.5)
        albedo[ribs] *= np.float32(0.95)
        plinth = (height_m < 0.7) & ~self._plain[part]
        albedo[plinth] *= np.float32(0.8)
