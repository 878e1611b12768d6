"""INT8: how many layers 8 bits can hold, and which are better left in float.

Every layer is quantised at first. Where descriptors then move too far, the layers whose own
rounding makes the most noise stay in float: the noisiest one, the two noisiest, four, and so on.
"""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import onnx

from dmnil_export.precision.calibration import Calibration, calibrate

logger = logging.getLogger(__name__)


def calibrate_for(
    model: onnx.ModelProto, images: npt.NDArray[np.uint8], wanted_mean_cosine: float
) -> Calibration:
    """A calibration that keeps a mean cosine to float32 on the pictures that it is made on.

    At most half of the layers are left in float; verification tells whether that was enough.
    """
    found = calibrate(model, images)
    noisiest_first = sorted(found.noise, key=lambda name: (-found.noise[name], name))
    left = 1
    while not found.mean_cosine >= wanted_mean_cosine and 2 * left <= len(noisiest_first):
        logger.info(
            "int8 with %d layers in float keeps a mean cosine of %.4f, %.4f is wanted: trying %d",
            len(found.in_float),
            found.mean_cosine,
            wanted_mean_cosine,
            left,
        )
        found = calibrate(model, images, noisiest_first[:left])
        left *= 2
    return found
