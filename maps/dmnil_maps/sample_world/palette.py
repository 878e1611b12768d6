"""Colours of ground materials, crops, trees, roofs and walls, by season (sRGB, in sunlight)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Season = Literal["spring", "summer", "autumn", "winter"]
Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """A ground material: its colour, the colour that it drifts to, and its texture contrast."""

    rgb: Rgb
    drift_rgb: Rgb
    fine: float = 0.03  # contrast of grains under 1 m
    middle: float = 0.03  # of patches of a few metres
    coarse: float = 0.03  # of patches of tens of metres
    variety: float = 0.05  # brightness spread between patches
    rows: float = 0.0  # contrast of crop rows


_SUMMER: dict[str, Look] = {
    "meadow": Look((112, 121, 76), (146, 139, 95), 0.07, 0.07, 0.06),
    "lawn": Look((101, 118, 69), (138, 136, 90), 0.05, 0.045, 0.04, 0.08),
    "garden": Look((103, 112, 72), (128, 116, 88), 0.12, 0.13, 0.04, 0.08),
    "pitch": Look((94, 124, 66), (120, 134, 80), 0.03, 0.03, 0.03, 0.05, 0.05),
    "wood_floor": Look((66, 72, 46), (84, 80, 55), 0.14, 0.12, 0.05),
    "water": Look((62, 78, 76), (74, 88, 80), 0.01, 0.012, 0.03, 0.0),
    "pool": Look((106, 178, 192), (120, 190, 200), 0.02, 0.02, 0.0, 0.05),
    "asphalt": Look((119, 118, 117), (134, 132, 128), 0.035, 0.03, 0.03, 0.1),
    "asphalt_old": Look((138, 136, 131), (122, 120, 116), 0.045, 0.06, 0.05, 0.08),
    "parking": Look((113, 112, 112), (132, 130, 127), 0.04, 0.04, 0.03, 0.12),
    "concrete": Look((168, 164, 155), (148, 144, 135), 0.03, 0.05, 0.04, 0.06),
    "paving": Look((166, 157, 146), (146, 139, 131), 0.05, 0.05, 0.03, 0.09),
    "sidewalk": Look((158, 153, 146), (144, 140, 134), 0.04, 0.03, 0.02, 0.03),
    "gravel": Look((172, 162, 143), (152, 142, 123), 0.06, 0.06, 0.04, 0.05),
    "dirt": Look((160, 143, 113), (140, 126, 98), 0.06, 0.08, 0.05, 0.05),
    "bare": Look((165, 143, 112), (143, 121, 92), 0.08, 0.1, 0.08, 0.06),
    "ballast": Look((128, 116, 106), (110, 101, 95), 0.08, 0.04, 0.03, 0.03),
    "track": Look((164, 98, 79), (152, 92, 76), 0.02, 0.02, 0.02, 0.05),
    "clay": Look((174, 112, 84), (162, 106, 82), 0.02, 0.03, 0.02, 0.05),
    "court": Look((82, 116, 126), (88, 120, 120), 0.02, 0.02, 0.02, 0.06),
    "hedge": Look((70, 86, 50), (84, 98, 58), 0.16, 0.08, 0.03, 0.05),
    # crops
    "wheat": Look((190, 167, 112), (176, 158, 106), 0.05, 0.05, 0.06, 0.05, 0.05),
    "barley": Look((173, 160, 104), (190, 170, 115), 0.04, 0.05, 0.07, 0.05, 0.04),
    "stubble": Look((186, 170, 128), (168, 152, 112), 0.06, 0.05, 0.05, 0.05, 0.1),
    "maize": Look((84, 108, 54), (96, 116, 62), 0.09, 0.06, 0.05, 0.06, 0.13),
    "beet": Look((92, 122, 62), (116, 128, 76), 0.08, 0.06, 0.07, 0.05, 0.1),
    "ploughed": Look((132, 107, 83), (116, 95, 75), 0.07, 0.08, 0.08, 0.09, 0.12),
    "harrowed": Look((158, 136, 108), (142, 121, 95), 0.05, 0.07, 0.09, 0.07, 0.07),
    "rape": Look((184, 176, 66), (168, 166, 76), 0.06, 0.05, 0.06, 0.04, 0.05),
    "young_grain": Look((98, 124, 66), (124, 130, 82), 0.05, 0.05, 0.08, 0.06, 0.09),
    "hay": Look((137, 142, 88), (152, 147, 98), 0.06, 0.06, 0.05, 0.06, 0.1),
    "cover_crop": Look((118, 124, 78), (138, 126, 92), 0.09, 0.09, 0.08, 0.06, 0.06),
}

_CHANGES: dict[Season, dict[str, tuple[Rgb, Rgb]]] = {
    "summer": {},
    "spring": {
        "meadow": ((106, 128, 70), (128, 134, 82)),
        "lawn": ((94, 128, 64), (114, 132, 76)),
        "wood_floor": ((98, 94, 64), (106, 98, 72)),
        "hedge": ((86, 108, 56), (98, 114, 64)),
        "hay": ((100, 132, 66), (118, 136, 78)),
    },
    "autumn": {
        "meadow": ((125, 121, 82), (146, 130, 92)),
        "lawn": ((106, 113, 71), (138, 126, 84)),
        "garden": ((110, 104, 74), (128, 104, 76)),
        "wood_floor": ((112, 92, 64), (124, 100, 66)),
        "pitch": ((98, 118, 68), (122, 128, 82)),
        "water": ((66, 74, 68), (76, 82, 72)),
        "hedge": ((86, 82, 52), (98, 88, 56)),
        "hay": ((118, 126, 78), (136, 130, 88)),
        "maize": ((158, 138, 92), (144, 126, 84)),
    },
    "winter": {
        "meadow": ((134, 127, 99), (150, 139, 112)),
        "lawn": ((118, 119, 88), (140, 131, 104)),
        "garden": ((118, 108, 88), (128, 112, 92)),
        "wood_floor": ((120, 106, 88), (130, 114, 94)),
        "pitch": ((112, 120, 84), (132, 130, 98)),
        "water": ((74, 82, 82), (84, 92, 90)),
        "hedge": ((98, 88, 68), (106, 94, 72)),
        "hay": ((122, 122, 90), (140, 132, 104)),
    },
}

_CROPS: dict[Season, tuple[str, ...]] = {
    "spring": ("young_grain", "young_grain", "rape", "harrowed", "harrowed", "hay", "ploughed"),
    "summer": ("wheat", "barley", "maize", "beet", "stubble", "hay", "wheat", "beet"),
    "autumn": ("stubble", "ploughed", "harrowed", "cover_crop", "hay", "maize", "young_grain"),
    "winter": ("ploughed", "harrowed", "young_grain", "cover_crop", "stubble", "hay"),
}

MATERIALS = tuple(_SUMMER)
MATERIAL_INDEX = {name: index for index, name in enumerate(MATERIALS)}


def look_of(material: str, season: Season) -> Look:
    """A material's look in a season."""
    look = _SUMMER[material]
    change = _CHANGES[season].get(material)
    if change is None:
        return look
    return Look(*change, look.fine, look.middle, look.coarse, look.variety, look.rows)


def crop_of(field_seed: int, season: Season, change_seed: int) -> str:
    """What grows in a field in a season; another change seed is another year."""
    crops = _CROPS[season]
    return crops[int(np.random.default_rng([field_seed, change_seed]).integers(len(crops)))]


def texture_tables(season: Season) -> dict[str, NDArray[np.float32]]:
    """Per material index: (M, 3) drift, (M,) contrasts."""
    looks = [look_of(name, season) for name in MATERIALS]
    drift = [np.subtract(look.drift_rgb, look.rgb) for look in looks]
    return {
        "drift": np.array(drift, np.float32),
        "fine": np.array([look.fine for look in looks], np.float32),
        "middle": np.array([look.middle for look in looks], np.float32),
        "coarse": np.array([look.coarse for look in looks], np.float32),
    }


@dataclass(frozen=True)
class Species:
    """A kind of tree: crown colours by season, whether it sheds its leaves, its shape."""

    summer: Rgb
    autumn: Rgb
    spring: Rgb
    sheds: bool
    cone: bool = False


SPECIES = (
    Species((76, 92, 50), (150, 118, 58), (112, 128, 66), True),  # lime
    Species((66, 84, 45), (128, 108, 56), (104, 122, 62), True),  # plane
    Species((87, 101, 57), (164, 126, 60), (122, 134, 72), True),  # maple
    Species((60, 76, 44), (132, 88, 56), (98, 112, 58), True),  # oak
    Species((96, 106, 66), (142, 128, 66), (128, 136, 82), True),  # poplar
    Species((94, 108, 62), (140, 112, 64), (150, 146, 116), True),  # fruit
    Species((49, 64, 43), (50, 64, 43), (54, 70, 45), False, True),  # spruce
    Species((60, 73, 50), (62, 73, 50), (64, 78, 52), False, True),  # pine
)
BARE_CROWN: Rgb = (122, 110, 98)

TILED_ROOFS: tuple[Rgb, ...] = (
    (168, 104, 80),
    (152, 90, 70),
    (138, 84, 68),
    (176, 118, 90),
    (118, 100, 92),
    (104, 98, 96),
    (92, 88, 88),
    (142, 120, 106),
    (158, 98, 82),
)
FLAT_ROOFS: tuple[Rgb, ...] = (
    (168, 164, 156),
    (146, 142, 136),
    (186, 182, 174),
    (122, 120, 118),
    (158, 148, 134),
    (138, 140, 126),
)
METAL_ROOFS: tuple[Rgb, ...] = (
    (188, 190, 190),
    (168, 172, 174),
    (202, 200, 194),
    (150, 156, 162),
    (132, 142, 148),
    (178, 168, 156),
    (152, 112, 98),
)
EQUIPMENT: tuple[Rgb, ...] = (
    (186, 186, 182),
    (160, 160, 158),
    (204, 204, 200),
    (132, 132, 132),
    (172, 166, 156),
    (150, 96, 78),
    (94, 116, 138),
    (104, 126, 108),
    (172, 172, 168),
    (162, 132, 84),
)
WALLS: tuple[Rgb, ...] = (
    (206, 198, 182),
    (190, 186, 178),
    (198, 180, 152),
    (182, 158, 134),
    (214, 208, 198),
    (156, 104, 84),
    (196, 186, 150),
    (172, 172, 170),
    (160, 166, 170),
    (142, 148, 150),
)
SOLAR: Rgb = (58, 66, 84)
CARS: tuple[Rgb, ...] = (
    (214, 214, 212),
    (192, 194, 196),
    (72, 74, 78),
    (48, 50, 54),
    (132, 136, 140),
    (226, 226, 222),
    (96, 40, 38),
    (52, 68, 100),
    (152, 152, 150),
    (110, 60, 48),
)
