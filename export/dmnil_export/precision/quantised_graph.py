"""A float32 graph with explicit 8-bit rounding, as strongly typed engines take it.

Every quantised layer's input and weights pass through a pair QuantizeLinear, DequantizeLinear with
signed values and zero points of 0; an engine that sees such a layer computes it in 8 bits. Weights
stay float32 in the file in front of their pair: not every TensorRT 10 reads 8-bit constants.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from dmnil_export.precision.calibration import Calibration
from dmnil_export.precision.layers import constants_of, quantisable_layers
from dmnil_export.precision.rounding import FloatArray, weight_scales


def quantised_graph(model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    """A float32 graph with its layers quantised, but for those that calibration left in float."""
    constants = constants_of(model)
    layers = {e.name: e for e in quantisable_layers(model) if e.name not in calibration.in_float}
    quantised = with_corrected_biases(model, calibration)
    graph = quantised.graph
    nodes: list[onnx.NodeProto] = []
    pairs: dict[str, str] = {}
    for node in graph.node:
        layer = layers.get(node.name)
        if layer is not None:
            if layer.given not in pairs:
                scale = np.array(calibration.scales[layer.given], np.float32)
                pairs[layer.given] = _add_pair(graph, nodes, layer.given, scale, None)
            if layer.weight not in pairs:
                weights = np.asarray(constants[layer.weight], np.float32)
                scales = weight_scales(weights, layer.weight_axis)
                pairs[layer.weight] = _add_pair(
                    graph, nodes, layer.weight, scales, layer.weight_axis
                )
            node.input[0], node.input[1] = pairs[layer.given], pairs[layer.weight]
        nodes.append(node)
    rewritten = helper.make_graph(nodes, graph.name, graph.input, graph.output, graph.initializer)
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


def _add_pair(
    graph: onnx.GraphProto,
    nodes: list[onnx.NodeProto],
    name: str,
    scales: FloatArray,
    axis: int | None,
) -> str:
    """Append the pair that rounds a tensor; returns the rounded tensor's name."""
    scale_name, zero_name = f"{name}.scale", f"{name}.zero_point"
    zeros = np.zeros(scales.shape, np.int8)
    graph.initializer.append(numpy_helper.from_array(scales, scale_name))
    graph.initializer.append(numpy_helper.from_array(zeros, zero_name))
    codes, returned = f"{name}.codes", f"{name}.rounded"
    for operator, given, made in (
        ("QuantizeLinear", name, codes),
        ("DequantizeLinear", codes, returned),
    ):
        node = helper.make_node(operator, [given, scale_name, zero_name], [made])
        node.name = f"{name}.{operator}"
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        nodes.append(node)
    return returned
