"""INT8 for processors: unsigned activations and signed weights, as ONNX Runtime is fast with.

TensorRT takes signed activations alone, and ONNX Runtime falls back to float for those, so that
each needs a file of its own. The corrected biases serve both: most of what they take up comes from
the weights, which are rounded alike.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from dmnil_export.graph_contract import INPUT_NAME
from dmnil_export.precision.calibration import Calibration
from dmnil_export.precision.layers import quantisable_layers
from dmnil_export.precision.quantised_graph import with_corrected_biases


def cpu_quantised_graph(
    model: onnx.ModelProto, calibration: Calibration, images: npt.NDArray[np.uint8]
) -> onnx.ModelProto:
    """A float32 graph quantised by ONNX Runtime's own tool, which knows what it can fuse.

    Args:
        images: (N, H, W, 3) at input size, to take the activations' ranges from.
    """
    layers = [e for e in quantisable_layers(model) if e.name not in calibration.in_float]
    bounded = {layer.returned for layer in layers}
    # ReLU6 bounds what a convolution returns: rounded together, its range is that after it.
    clips = [n.name for n in model.graph.node if n.op_type == "Clip" and n.input[0] in bounded]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        written = Path(folder) / "int8-cpu.onnx"
        quantize_static(
            with_corrected_biases(model, calibration),
            written,
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_quantize=[*(layer.name for layer in layers), *clips],
            extra_options={"WeightSymmetric": True},
        )
        quantised = onnx.load(written)
    del quantised.metadata_props[:]
    return quantised


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Pictures as ONNX Runtime's tool asks for them."""

    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        self._left = iter(images)

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        """The next picture as the graph takes it; none at the end.

        One at a time: the tool keeps every value between layers, which for a ConvNeXt-Tiny at 384
        pixels takes 1.6 GB a picture.
        """
        image = next(self._left, None)
        return None if image is None else {INPUT_NAME: image[np.newaxis]}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The tool's advice on preparing graphs is for those who call it by hand."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
