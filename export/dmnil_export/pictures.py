"""Which pictures an export calibrates on, verifies on, and puts into the bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmnil_export.golden_images import Images, generate_images, image_paths, read_images
from dmnil_train.encoder.config import EncoderConfig

GOLDEN_COUNT = 4
VERIFICATION_COUNT = 16
_CALIBRATION_PIXELS = 1 << 21
_CALIBRATION_COUNTS = (8, 32)
_ENOUGH_TO_HOLD_BACK = 16
_GOLDEN_SEED = 20_250_211
_VERIFICATION_SEED = 20_250_212


@dataclass(frozen=True)
class ExportPictures:
    """All (N, H, W, 3) in RGB, at the encoder's input size.

    Args:
        golden: Those whose descriptors go into the bundle.
        others: More to verify on, those that are like the camera's last.
        calibration: Those that 8-bit ranges are chosen on; none where no folder was given.
        camera_like: How many of the last of `others` come from the calibration folder.
        generated: Ground as the toolkit draws it, which no calibration has seen.
    """

    golden: Images
    others: Images
    calibration: Images | None
    camera_like: int
    generated: Images

    @property
    def verification(self) -> Images:
        """All that precisions are compared on, the golden ones first."""
        return np.concatenate([self.golden, self.others])

    @property
    def judged(self) -> slice:
        """Of those, the ones like the camera's, where a folder of such was given; else all."""
        return slice(-self.camera_like, None) if self.camera_like else slice(None)


def choose_pictures(
    config: EncoderConfig, golden_folder: Path | None, calibration_folder: Path | None
) -> ExportPictures:
    """Pictures of the folders, evenly spread; generated ones where no folder is given.

    Of a calibration folder with enough of them every other picture is held back to verify on.

    Raises:
        SourceError: If a folder holds no pictures, or one of them cannot be decoded.
    """
    height, width = config.input_height, config.input_width
    generated = generate_images(VERIFICATION_COUNT, height, width, _VERIFICATION_SEED)
    others = [] if calibration_folder else [generated]
    if golden_folder is None:
        golden = generate_images(GOLDEN_COUNT, height, width, _GOLDEN_SEED)
    else:
        pictures = _spread(golden_folder, GOLDEN_COUNT + VERIFICATION_COUNT, config)
        in_bundle = _even_places(len(pictures), GOLDEN_COUNT)
        golden = pictures[in_bundle]
        others = [np.delete(pictures, in_bundle, axis=0), *others]
    calibration, held_back = None, 0
    if calibration_folder is not None:
        least, most = _CALIBRATION_COUNTS
        count = min(max(_CALIBRATION_PIXELS // (height * width), least), most)
        found = _spread(calibration_folder, 2 * count, config)
        holds_back = len(found) >= _ENOUGH_TO_HOLD_BACK
        calibration = found[::2] if holds_back else found
        others.append(found[1::2] if holds_back else found)
        held_back = len(others[-1])
    return ExportPictures(golden, np.concatenate(others), calibration, held_back, generated)


def _spread(folder: Path, count: int, config: EncoderConfig) -> Images:
    """At most so many pictures of a folder, evenly spread over it."""
    paths = image_paths(folder)
    picked = [paths[index] for index in _even_places(len(paths), count)]
    return read_images(picked, config.input_height, config.input_width)


def _even_places(available: int, wanted: int) -> list[int]:
    return [int(place) for place in np.unique(np.linspace(0, available - 1, wanted, dtype=int))]
