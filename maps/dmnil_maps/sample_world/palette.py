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
    "meadow": Look((118, 124, 86), (142, 138, 101), 0.085, 0.05, 0.035),
    "lawn": Look((105, 118, 78), (132, 132, 94), 0.065, 0.032, 0.025, 0.07),
    "garden": Look((106, 113, 80), (126, 116, 92), 0.1, 0.1, 0.03, 0.07),
    "pitch": Look((98, 124, 76), (118, 132, 86), 0.03, 0.03, 0.03, 0.05, 0.05),
    "wood_floor": Look((80, 84, 60), (96, 92, 68), 0.12, 0.1, 0.05),
    "water": Look((64, 80, 78), (84, 96, 86), 0.025, 0.02, 0.05, 0.0),
    "pool": Look((106, 178, 192), (120, 190, 200), 0.02, 0.02, 0.0, 0.05),
    "asphalt": Look((122, 121, 121), (134, 132, 129), 0.03, 0.014, 0.018, 0.08),
    "asphalt_old": Look((139, 137, 133), (128, 126, 123), 0.035, 0.022, 0.025, 0.06),
    "parking": Look((116, 115, 115), (132, 130, 127), 0.035, 0.025, 0.025, 0.1),
    "concrete": Look((170, 166, 158), (154, 150, 142), 0.03, 0.03, 0.03, 0.06),
    "paving": Look((166, 158, 148), (150, 144, 136), 0.04, 0.03, 0.025, 0.08),
    "sidewalk": Look((174, 169, 161), (160, 156, 149), 0.03, 0.015, 0.02, 0.03),
    "gravel": Look((172, 162, 143), (152, 142, 123), 0.06, 0.06, 0.04, 0.05),
    "dirt": Look((160, 143, 113), (140, 126, 98), 0.06, 0.08, 0.05, 0.05),
    "bare": Look((165, 143, 112), (143, 121, 92), 0.08, 0.1, 0.08, 0.06),
    "ballast": Look((128, 116, 106), (110, 101, 95), 0.08, 0.04, 0.03, 0.03),
    "track": Look((164, 98, 79), (152, 92, 76), 0.02, 0.02, 0.02, 0.05),
    "clay": Look((174, 112, 84), (162, 106, 82), 0.02, 0.03, 0.02, 0.05),
    "court": Look((82, 116, 126), (88, 120, 120), 0.02, 0.02, 0.02, 0.06),
    "hedge": Look((70, 86, 50), (84, 98, 58), 0.16, 0.08, 0.03, 0.05),
    # crops
    "wheat": Look((192, 173, 127), (180, 163, 120), 0.04, 0.03, 0.025, 0.06, 0.05),
    "barley": Look((176, 166, 122), (190, 176, 132), 0.035, 0.03, 0.03, 0.07, 0.04),
    "stubble": Look((188, 174, 140), (174, 160, 126), 0.045, 0.03, 0.025, 0.06, 0.08),
    "maize": Look((92, 108, 68), (102, 116, 74), 0.07, 0.035, 0.025, 0.08, 0.11),
    "beet": Look((104, 124, 76), (122, 132, 88), 0.06, 0.04, 0.03, 0.08, 0.09),
    "ploughed": Look((132, 112, 93), (118, 101, 85), 0.06, 0.05, 0.04, 0.1, 0.1),
    "harrowed": Look((160, 141, 118), (146, 128, 107), 0.04, 0.04, 0.04, 0.08, 0.06),
    "rape": Look((186, 178, 92), (172, 168, 96), 0.05, 0.03, 0.03, 0.05, 0.05),
    "young_grain": Look((106, 126, 82), (126, 132, 96), 0.045, 0.035, 0.035, 0.07, 0.08),
    "hay": Look((136, 142, 98), (150, 148, 108), 0.05, 0.04, 0.03, 0.08, 0.08),
    "cover_crop": Look((120, 126, 88), (136, 128, 98), 0.07, 0.06, 0.04, 0.08, 0.06),
}

_CHANGES: dict[Season, dict[str, tuple[Rgb, Rgb]]] = {
    "summer": {},
    "spring": {
        "meadow": ((112, 126, 83), (130, 133, 94)),
        "lawn": ((103, 123, 79), (120, 129, 90)),
        "wood_floor": ((98, 94, 64), (106, 98, 72)),
        "hedge": ((90, 104, 66), (100, 110, 74)),
        "hay": ((108, 127, 80), (122, 133, 90)),
    },
    "autumn": {
        "meadow": ((128, 125, 93), (144, 134, 102)),
        "lawn": ((112, 118, 82), (134, 128, 94)),
        "garden": ((112, 110, 86), (124, 110, 90)),
        "wood_floor": ((112, 92, 64), (124, 100, 66)),
        "pitch": ((98, 118, 68), (122, 128, 82)),
        "water": ((66, 74, 68), (76, 82, 72)),
        "hedge": ((86, 82, 52), (98, 88, 56)),
        "hay": ((118, 126, 78), (136, 130, 88)),
        "maize": ((152, 138, 104), (140, 128, 98)),
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
    "summer": ("wheat", "barley", "maize", "beet", "stubble", "hay", "harrowed", "cover_crop"),
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
    Species((86, 101, 64), (146, 128, 80), (112, 128, 66), True),  # lime
    Species((76, 93, 58), (128, 114, 72), (104, 122, 62), True),  # plane
    Species((96, 109, 70), (158, 132, 82), (122, 134, 72), True),  # maple
    Species((72, 87, 56), (138, 104, 74), (98, 112, 58), True),  # oak
    Species((102, 112, 78), (142, 128, 66), (128, 136, 82), True),  # poplar
    Species((94, 108, 62), (140, 112, 64), (150, 146, 116), True),  # fruit
    Species((60, 75, 55), (60, 75, 55), (54, 70, 45), False, True),  # spruce
    Species((70, 84, 62), (70, 84, 62), (64, 78, 52), False, True),  # pine
)
BARE_CROWN: Rgb = (134, 122, 110)

TILED_ROOFS: tuple[Rgb, ...] = (
    (164, 110, 90),
    (148, 96, 80),
    (136, 90, 77),
    (172, 124, 102),
    (118, 100, 92),
    (104, 98, 96),
    (92, 88, 88),
    (142, 120, 106),
    (154, 104, 90),
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
    (112, 62, 58),
    (52, 68, 100),
    (152, 152, 150),
    (168, 166, 160),
    (88, 92, 96),
)
