"""What an 8-bit graph needs to know of real pictures: ranges of activations, corrected biases.

Rounded weights shift the mean of what a layer returns, and the shifts of many layers add up. So
the layers are gone through once, in order: each reads what the rounded layers before it return,
the scale of its input is chosen on that, and its bias takes up how far rounding has moved the mean
of each of its channels so far (the empirical correction of Nagel et al. 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from dmnil_export.graph_contract import INPUT_NAME, OUTPUT_NAME
from dmnil_export.precision.layers import Constants, Layer, constants_of, quantisable_layers
from dmnil_export.precision.rounding import (
    FloatArray,
    activation_scale,
    rounded,
    rounded_weights,
)
from dmnil_export.precision.segments import Segment, Value, Values, cut_around, run_segment
from edge_runtime.progress import progress_bar

_QUIET_S = 1.0


@dataclass(frozen=True)
class Calibration:
    """What was found on the pictures.

    Args:
        scales: Of every activation that a quantised layer reads, by its name.
        biases: Corrected ones, by the initializer's name.
        noise: Of every quantised layer, the variance that rounding its input and weights adds to
            its output, over the output's own, had nothing before it been rounded.
        mean_cosine: Of the pictures' descriptors, rounded, to those of float32.
        in_float: Names of the layers that were not rounded.
    """

    scales: dict[str, float]
    biases: dict[str, FloatArray]
    noise: dict[str, float]
    mean_cosine: float
    in_float: tuple[str, ...]


def calibrate(
    model: onnx.ModelProto, images: npt.NDArray[np.uint8], in_float: Sequence[str] = ()
) -> Calibration:
    """Go through a graph in float32 and in 8 bits side by side.

    Args:
        model: The float32 graph.
        images: (N, H, W, 3) at input size, like those that the encoder will see.
        in_float: Names of layers that are not rounded; their biases are corrected all the same.
    """
    layers = {layer.name: layer for layer in quantisable_layers(model)}
    run = _SideBySide(model, images, in_float)
    segments = list(cut_around(model, list(layers)))
    with progress_bar("int8 calibration", len(segments), "part", _QUIET_S) as bar:
        for segment in segments:
            layer = layers.get(segment.nodes[0].name)
            if layer is None:
                run.between_layers(segment)
            else:
                run.through_layer(segment, layer)
            run.forget(segment.forgotten)
            bar.update()
    return Calibration(run.scales, run.biases, run.noise, run.mean_cosine(), tuple(in_float))


class _SideBySide:
    """The values between segments, as float32 gives them and as rounded layers give them."""

    def __init__(
        self, model: onnx.ModelProto, images: npt.NDArray[np.uint8], in_float: Collection[str]
    ) -> None:
        self._model = model
        self._constants: Constants = constants_of(model)
        self._in_float = in_float
        self._exact: Values = {INPUT_NAME: images}
        self._rounded: Values = {INPUT_NAME: images}
        self.scales: dict[str, float] = {}
        self.biases: dict[str, FloatArray] = {}
        self.noise: dict[str, float] = {}

    def between_layers(self, segment: Segment) -> None:
        """Run what is never rounded on both; in front of the first layer both are the same."""
        exact = run_segment(self._model, segment, self._exact)
        is_same = all(self._exact[name] is self._rounded[name] for name in segment.reads)
        self._rounded.update(
            exact if is_same else run_segment(self._model, segment, self._rounded, self.biases)
        )
        self._exact.update(exact)

    def through_layer(self, segment: Segment, layer: Layer) -> None:
        """Run a layer in float32 and rounded; choose its input's scale, correct its bias."""
        given = _floats(self._rounded[layer.given])
        exact = _floats(run_segment(self._model, segment, self._exact)[layer.returned])
        if layer.name in self._in_float:
            returned = self._returned(segment, layer, given, {})
        else:
            if layer.given not in self.scales:
                self.scales[layer.given] = activation_scale(given)
            scale = self.scales[layer.given]
            weights = _floats(self._constants[layer.weight])
            codes: Values = {layer.weight: rounded_weights(weights, layer.weight_axis)}
            alone = rounded(_floats(self._exact[layer.given]), scale)
            self.noise[layer.name] = _noise(exact, self._returned(segment, layer, alone, codes))
            returned = self._returned(segment, layer, rounded(given, scale), codes)
        shift = _channel_means(exact, layer) - _channel_means(returned, layer)
        self.biases[layer.bias] = _floats(self._constants[layer.bias]) + shift
        if layer.adds_bias:  # else the next segment adds the corrected one
            returned += shift.reshape(layer.channel_shape(returned.ndim))
        self._exact[layer.returned] = exact
        self._rounded[layer.returned] = returned

    def forget(self, names: Iterable[str]) -> None:
        """Free values that nothing reads any more."""
        for name in names:
            del self._exact[name], self._rounded[name]

    def mean_cosine(self) -> float:
        """Of what the last segment returned: unit-length descriptors."""
        exact, found = _floats(self._exact[OUTPUT_NAME]), _floats(self._rounded[OUTPUT_NAME])
        return float(np.sum(exact * found, axis=1, dtype=np.float64).mean())

    def _returned(
        self, segment: Segment, layer: Layer, given: FloatArray, replaced: Values
    ) -> FloatArray:
        values = {layer.given: given}
        return _floats(run_segment(self._model, segment, values, replaced)[layer.returned])


def _floats(values: Value) -> FloatArray:
    return np.asarray(values, np.float32)


def _channel_means(values: FloatArray, layer: Layer) -> FloatArray:
    channel = layer.output_axis % values.ndim
    others = tuple(axis for axis in range(values.ndim) if axis != channel)
    return np.asarray(values.mean(axis=others, dtype=np.float64), np.float32)


def _noise(exact: FloatArray, returned: FloatArray) -> float:
    """Variance of the difference over that of the exact values."""
    variance = float(exact.var(dtype=np.float64))
    return float((returned - exact).var(dtype=np.float64)) / max(variance, 1e-30)
