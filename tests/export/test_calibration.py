"""Ranges and biases found on pictures, and the 8-bit graph that is made of them."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from dmnil_export.golden_images import Images, generate_images
from dmnil_export.graph_contract import read_graph
from dmnil_export.precision.calibration import Calibration, calibrate
from dmnil_export.precision.int8 import calibrate_for
from dmnil_export.precision.int8_cpu import cpu_quantised_graph
from dmnil_export.precision.layers import constants_of, quantisable_layers, with_own_biases
from dmnil_export.precision.quantised_graph import quantised_graph
from dmnil_export.precision.segments import cut_around, run_segment
from edge_runtime.contract.encoder_bundle import EncoderBundle
from tests.export.encoders import TINY


@pytest.fixture(scope="module")
def exported(convnext_bundle: EncoderBundle) -> onnx.ModelProto:
    return read_graph(convnext_bundle.graph_path("fp32"))


@pytest.fixture(scope="module")
def graph(exported: onnx.ModelProto) -> onnx.ModelProto:
    return with_own_biases(exported)


@pytest.fixture(scope="module")
def images() -> Images:
    return generate_images(6, TINY.input_height, TINY.input_width, seed=1)


@pytest.fixture(scope="module")
def calibration(graph: onnx.ModelProto, images: Images) -> Calibration:
    return calibrate(graph, images)


def returned_by(model: onnx.ModelProto, images: Images, *names: str) -> list[np.ndarray]:
    """Values of tensors inside a graph, every operation literally as the graph has it."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    del opened.graph.output[:]
    opened.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        opened.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(value) for value in session.run(list(names), {"images": images})]


def test_every_layer_of_the_backbone_is_found_and_none_of_the_head(graph: onnx.ModelProto) -> None:
    layers = quantisable_layers(graph)
    operators = {node.name: node.op_type for node in graph.graph.node}
    # Four reductions, and a convolution and two products in each of four blocks.
    assert [operators[layer.name] for layer in layers].count("Conv") == 4 + 4
    assert [operators[layer.name] for layer in layers].count("MatMul") == 8
    assert len({layer.bias for layer in layers}) == len(layers)


def test_own_biases_change_no_descriptor(
    exported: onnx.ModelProto, graph: onnx.ModelProto, images: Images
) -> None:
    assert len({layer.bias for layer in quantisable_layers(exported)}) < 16
    models = exported, graph
    (before,), (after,) = (returned_by(model, images, "descriptors") for model in models)
    np.testing.assert_array_equal(after, before)


def test_a_graph_in_segments_gives_what_it_gives_whole(
    graph: onnx.ModelProto, images: Images
) -> None:
    values: dict[str, np.ndarray] = {"images": images}
    names = [layer.name for layer in quantisable_layers(graph)]
    for segment in cut_around(graph, names):
        values.update(run_segment(graph, segment, values))
        for name in segment.forgotten:
            del values[name]
    assert list(values) == ["descriptors"]
    (whole,) = returned_by(graph, images, "descriptors")
    np.testing.assert_allclose(values["descriptors"], whole, atol=1e-6)


def test_corrected_biases_keep_every_channels_mean(
    graph: onnx.ModelProto, images: Images, calibration: Calibration
) -> None:
    def channel_means(model: onnx.ModelProto, corrected: bool) -> list[np.ndarray]:
        names = [layer.returned for layer in quantisable_layers(graph) if layer.adds_bias]
        found = calibration if corrected else without_correction(calibration)
        rounded = model if found is None else quantised_graph(model, found)
        return [value.mean(axis=(0, 2, 3)) for value in returned_by(rounded, images, *names)]

    exact = [
        value.mean(axis=(0, 2, 3))
        for value in returned_by(
            graph, images, *(e.returned for e in quantisable_layers(graph) if e.adds_bias)
        )
    ]
    for corrected, uncorrected, wanted in zip(
        channel_means(graph, True), channel_means(graph, False), exact, strict=True
    ):
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(corrected, wanted, atol=1e-3 * scale)
        assert np.abs(uncorrected - wanted).max() > 2e-3 * scale


def without_correction(calibration: Calibration) -> Calibration:
    return Calibration(
        calibration.scales, {}, calibration.noise, calibration.mean_cosine, calibration.in_float
    )


def test_the_predicted_cosine_is_that_of_the_quantised_graph(
    graph: onnx.ModelProto, images: Images, calibration: Calibration
) -> None:
    (exact,) = returned_by(graph, images, "descriptors")
    (rounded,) = returned_by(quantised_graph(graph, calibration), images, "descriptors")
    cosine = float(np.sum(exact * rounded, axis=1).mean())
    assert cosine == pytest.approx(calibration.mean_cosine, abs=1e-4)
    assert 0.99 < cosine < 0.99999


def test_rounding_is_signed_symmetric_and_around_every_layer(
    graph: onnx.ModelProto, calibration: Calibration
) -> None:
    model = quantised_graph(graph, calibration)
    onnx.checker.check_model(model)
    constants = constants_of(model)
    made_by = {name: node for node in model.graph.node for name in node.output}
    pairs = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in pairs:
        zero_point = constants[node.input[2]]
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
    layers = {layer.name: layer for layer in quantisable_layers(graph)}
    floats = constants_of(graph)
    for node in model.graph.node:
        if node.name in layers:
            given, weights = (made_by[name] for name in node.input[:2])
            assert given.op_type == weights.op_type == "DequantizeLinear"
            assert constants[given.input[1]].shape == ()
            channels = floats[layers[node.name].weight].shape[layers[node.name].weight_axis]
            assert constants[weights.input[1]].shape == (channels,)


def test_weights_are_held_in_8_bits_and_nowhere_else(
    graph: onnx.ModelProto, images: Images, calibration: Calibration
) -> None:
    model = quantised_graph(graph, calibration)
    constants = constants_of(model)
    held = 0
    for layer in quantisable_layers(graph):
        assert layer.weight not in constants
        codes = constants[f"{layer.weight}.codes"]
        assert codes.dtype == np.int8
        assert np.abs(codes.astype(int)).max() == 127
        held += codes.size
    saved = len(graph.SerializeToString()) - len(model.SerializeToString())
    assert saved > 2 * held  # of the 3 bytes a weight less, some are taken up by scales


def test_held_weights_compute_what_rounding_them_on_the_way_does(
    graph: onnx.ModelProto, images: Images, calibration: Calibration
) -> None:
    model = quantised_graph(graph, calibration)
    on_the_way = onnx.ModelProto()
    on_the_way.CopyFrom(model)
    floats = constants_of(graph)
    for layer in quantisable_layers(graph):
        weights = numpy_helper.from_array(floats[layer.weight], layer.weight)
        codes = f"{layer.weight}.codes"
        on_the_way.graph.initializer.remove(
            next(entry for entry in on_the_way.graph.initializer if entry.name == codes)
        )
        on_the_way.graph.initializer.append(weights)
        inputs = [layer.weight, f"{layer.weight}.scale", f"{layer.weight}.zero_point"]
        node = helper.make_node("QuantizeLinear", inputs, [codes], axis=layer.weight_axis)
        on_the_way.graph.node.insert(0, node)
    models = model, on_the_way
    (held,), (rounded,) = (returned_by(each, images, "descriptors") for each in models)
    np.testing.assert_array_equal(held, rounded)


def test_layers_left_in_float_read_what_they_read_before(
    graph: onnx.ModelProto, images: Images
) -> None:
    left = [layer.name for layer in quantisable_layers(graph)][1:3]
    found = calibrate(graph, images, left)
    assert not set(left) & set(found.noise)
    model = quantised_graph(graph, found)
    before = {node.name: list(node.input[:2]) for node in graph.graph.node}
    for node in model.graph.node:
        if node.name in left:
            assert list(node.input[:2]) == before[node.name]
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) == 16 - 2


def test_the_layer_that_does_not_bear_8_bits_is_left_in_float(
    graph: onnx.ModelProto, images: Images, caplog: pytest.LogCaptureFixture
) -> None:
    # One input of a product is a thousand times the others, as a few are in large networks; its
    # weights make up for that, so that float32 gives what it gave.
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    operators = {node.name: node.op_type for node in broken.graph.node}
    layer = [e for e in quantisable_layers(broken) if operators[e.name] == "MatMul"][2]
    norm = next(node for node in broken.graph.node if layer.given in node.output)
    constants = constants_of(broken)
    for name, old in (
        ("gain", norm.input[1]),
        ("offset", norm.input[2]),
        ("weights", layer.weight),
    ):
        changed = constants[old].copy()
        changed[0] *= 1e-3 if name == "weights" else 1e3
        broken.graph.initializer.append(numpy_helper.from_array(changed, name))
    norm.input[1], norm.input[2] = "gain", "offset"
    next(node for node in broken.graph.node if node.name == layer.name).input[1] = "weights"
    (before,), (after,) = (returned_by(model, images, "descriptors") for model in (graph, broken))
    np.testing.assert_allclose(after, before, atol=1e-5)
    plain = calibrate(broken, images)
    assert max(plain.noise, key=plain.noise.__getitem__) == layer.name
    with caplog.at_level(logging.INFO):
        found = calibrate_for(broken, images, 0.999)
    assert found.in_float == (layer.name,)
    assert plain.mean_cosine < 0.999 <= found.mean_cosine
    assert "trying 1" in caplog.text


def test_at_most_half_of_the_layers_are_left_in_float(
    graph: onnx.ModelProto, images: Images
) -> None:
    found = calibrate_for(graph, images, wanted_mean_cosine=1.1)
    assert len(found.in_float) == 8


def test_the_graph_for_processors_has_unsigned_activations_and_signed_weights(
    graph: onnx.ModelProto, images: Images, calibration: Calibration
) -> None:
    model = cpu_quantised_graph(graph, calibration, images)
    constants = constants_of(model)
    types = {
        constants[node.input[2]].dtype.name
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    }
    assert types == {"uint8"}
    weights = [entry for entry in model.graph.initializer if len(entry.dims) == 4]
    assert {entry.data_type for entry in weights} == {TensorProto.INT8}
    (exact,) = returned_by(graph, images, "descriptors")
    (rounded,) = returned_by(model, images, "descriptors")
    assert np.sum(exact * rounded, axis=1).mean() > 0.99
