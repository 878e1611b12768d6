"""A float32 graph with explicit 8-bit rounding, as strongly typed engines take it.

Every quantised layer's input passes through a pair QuantizeLinear, DequantizeLinear with signed
values and a zero point of 0; its weights are 8-bit constants in front of a DequantizeLinear. An
engine that sees such a layer computes it in 8 bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from dmnil_export.precision.calibration import Calibration
from dmnil_export.precision.layers import constants_of, quantisable_layers
from dmnil_export.precision.rounding import FloatArray, weight_codes, weight_scales


def quantised_graph(model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    """A float32 graph with its layers quantised, but for those that calibration left in float."""
    constants = constants_of(model)
    layers = {e.name: e for e in quantisable_layers(model) if e.name not in calibration.in_float}
    quantised = with_corrected_biases(model, calibration)
    graph = quantised.graph
    rewriting = _Rewriting()
    rounded: dict[str, str] = {}
    for node in graph.node:
        layer = layers.get(node.name)
        if layer is not None:
            given, weight, axis = layer.given, layer.weight, layer.weight_axis
            if given not in rounded:
                rounded[given] = rewriting.round(given, np.float32(calibration.scales[given]))
            if weight not in rounded:
                weights = np.asarray(constants[weight], np.float32)
                codes, scales = weight_codes(weights, axis), weight_scales(weights, axis)
                rounded[weight] = rewriting.hold(weight, codes, scales, axis)
            node.input[0], node.input[1] = rounded[given], rounded[weight]
        rewriting.nodes.append(node)
    read = {name for node in rewriting.nodes for name in node.input}
    kept = [initializer for initializer in graph.initializer if initializer.name in read]
    kept += rewriting.initializers
    rewritten = helper.make_graph(rewriting.nodes, graph.name, graph.input, graph.output, kept)
    graph.CopyFrom(rewritten)
    return quantised


def with_corrected_biases(model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    """A copy of a float32 graph with the biases that go with rounded weights."""
    corrected = onnx.ModelProto()
    corrected.CopyFrom(model)
    for initializer in corrected.graph.initializer:
        if (bias := calibration.biases.get(initializer.name)) is not None:
            initializer.CopyFrom(numpy_helper.from_array(bias, initializer.name))
    return corrected


class _Rewriting:
    """Nodes and constants of the new graph, in order."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def round(self, name: str, scale: np.float32) -> str:
        """Append the pair that rounds an activation; returns the rounded one's name."""
        codes = f"{name}.codes"
        parameters = self._parameters(name, np.array(scale))
        self._append("QuantizeLinear", name, [name, *parameters], codes)
        return self._append("DequantizeLinear", name, [codes, *parameters], f"{name}.rounded")

    def hold(self, name: str, codes: npt.NDArray[np.int8], scales: FloatArray, axis: int) -> str:
        """Append weights as 8-bit constants; returns the name of what they stand for."""
        inputs = [self._constant(f"{name}.codes", codes), *self._parameters(name, scales)]
        returned = self._append("DequantizeLinear", name, inputs, f"{name}.rounded")
        self.nodes[-1].attribute.append(helper.make_attribute("axis", axis))
        return returned

    def _parameters(self, name: str, scales: FloatArray) -> tuple[str, str]:
        zeros = np.zeros(scales.shape, np.int8)
        return (
            self._constant(f"{name}.scale", scales),
            self._constant(f"{name}.zero_point", zeros),
        )

    def _constant(self, name: str, values: npt.NDArray[np.float32] | npt.NDArray[np.int8]) -> str:
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def _append(self, operator: str, name: str, inputs: list[str], output: str) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], f"{name}.{operator}"))
        return output
