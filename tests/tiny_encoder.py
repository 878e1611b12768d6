"""A real but tiny encoder bundle, for tests: average colours on a grid, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.contract.artefact import staged_directory, write_manifest
from edge_runtime.contract.encoder_bundle import (
    BUNDLE_KIND,
    BUNDLE_SCHEMA_VERSION,
    GOLDEN_FILE,
    GRAPH_FILES,
)


def write_tiny_encoder(folder: Path, input_size: int = 64, cells: int = 4) -> Path:
    """Write a bundle whose descriptor is the picture's colours on a grid of cells x cells.

    The picture's mean colour is removed, so that only the layout counts, and a small constant
    is appended, so that a uniform picture has a descriptor too: D = 3 * cells**2 + 1.
    """
    if input_size % cells:
        raise ValueError(f"{input_size} pixels do not divide into {cells} cells")
    model = _graph(input_size, cells)
    onnx.checker.check_model(model, full_check=True)
    images = np.random.default_rng(0).integers(
        0, 256, (4, input_size, input_size, 3), dtype=np.uint8
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (descriptors,) = session.run(None, {"images": images})
    with staged_directory(folder, BUNDLE_KIND) as staging:
        (staging / GRAPH_FILES["fp32"]).write_bytes(model.SerializeToString())
        np.savez(staging / GOLDEN_FILE, images=images, descriptors=descriptors)
        body = {
            "backbone": "average-pool",
            "head": f"grid{cells}x{cells}",
            "input_height": input_size,
            "input_width": input_size,
            "descriptor_size": 3 * cells**2 + 1,
        }
        write_manifest(staging, BUNDLE_KIND, BUNDLE_SCHEMA_VERSION, body)
    return folder


def _graph(input_size: int, cells: int) -> onnx.ModelProto:
    cell = input_size // cells
    size = 3 * cells**2 + 1
    constants = {
        "white": np.array(255.0, np.float32),
        "picture_axes": np.array([2, 3], np.int64),
        "descriptor_axis": np.array([1], np.int64),
        "flat": np.array([0, -1], np.int64),
        "end_padding": np.array([0, 0, 0, 1], np.int64),
        "constant_value": np.array(0.01, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["as_float", "white"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool", ["planes"], ["grid"], kernel_shape=[cell, cell], strides=[cell, cell]
        ),
        helper.make_node("ReduceMean", ["grid", "picture_axes"], ["mean_colour"], keepdims=1),
        helper.make_node("Sub", ["grid", "mean_colour"], ["layout"]),
        helper.make_node("Reshape", ["layout", "flat"], ["values"]),
        helper.make_node("Pad", ["values", "end_padding", "constant_value"], ["padded"]),
        helper.make_node("ReduceL2", ["padded", "descriptor_axis"], ["length"], keepdims=1),
        helper.make_node("Div", ["padded", "length"], ["descriptors"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny_encoder",
        [
            helper.make_tensor_value_info(
                "images", TensorProto.UINT8, ["batch", input_size, input_size, 3]
            )
        ],
        [helper.make_tensor_value_info("descriptors", TensorProto.FLOAT, ["batch", size])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
