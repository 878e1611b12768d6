"""The layers of an exported graph that can be quantised: the backbone's convolutions and products.

The pixel scaling before the backbone and the pooling, projection and unit length behind it cost
next to nothing and are where rounding would lose most; they stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

_BACKBONE = "backbone."
Constants = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product with constant weights, and its bias.

    Args:
        name: Of the node.
        given: The tensor that it reads.
        returned: The tensor that it writes.
        weight: Its weights' initializer.
        weight_axis: Where the weights' output channels are.
        output_axis: Where the returned tensor's channels are.
        bias: The bias's initializer.
        adds_bias: The node itself adds the bias; else the next one does.
    """

    name: str
    given: str
    returned: str
    weight: str
    weight_axis: int
    output_axis: int
    bias: str
    adds_bias: bool

    def channel_shape(self, dimensions: int) -> tuple[int, ...]:
        """Shape in which one value a channel is broadcast to the returned tensor."""
        channel = self.output_axis % dimensions
        return tuple(-1 if axis == channel else 1 for axis in range(dimensions))


def constants_of(model: onnx.ModelProto) -> Constants:
    """Every initializer by name."""
    return {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


def with_own_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which each of the backbone's layers has a bias that no other node reads.

    The exporter leaves out biases of zero and keeps equal constants once: a bias that is to be
    corrected must be there, and must be the layer's alone.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    constants = constants_of(copied)
    readers = _readers_of(copied)
    for node in copied.graph.node:
        own = f"{_BACKBONE}{node.name}.bias"
        if node.op_type == "Conv" and node.input[1].startswith(_BACKBONE) and len(node.input) == 2:
            channels = constants[node.input[1]].shape[0]
            value: npt.NDArray[np.generic] = np.zeros(channels, np.float32)
            node.input.append(own)
        else:
            adding = node if node.op_type == "Conv" else _next_of(node, readers)
            bias = _bias_of(node, readers, set(constants))
            if adding is None or not bias.startswith(_BACKBONE) or len(readers[bias]) == 1:
                continue
            value = constants[bias]
            adding.input[list(adding.input).index(bias)] = own
        copied.graph.initializer.append(numpy_helper.from_array(value, own))
    return copied


def quantisable_layers(model: onnx.ModelProto) -> list[Layer]:
    """The backbone's convolutions and matrix products, in the order in which they run.

    Args:
        model: As `with_own_biases` returns it.
    """
    constants = {entry.name for entry in model.graph.initializer}
    readers = _readers_of(model)
    layers = []
    for node in model.graph.node:
        bias = _bias_of(node, readers, constants)
        # The bias's name tells the backbone's layers from the head's.
        if not bias.startswith(_BACKBONE) or node.input[1] not in constants:
            continue
        is_convolution = node.op_type == "Conv"
        layers.append(
            Layer(
                name=node.name,
                given=node.input[0],
                returned=node.output[0],
                weight=node.input[1],
                weight_axis=0 if is_convolution else 1,
                output_axis=1 if is_convolution else -1,
                bias=bias,
                adds_bias=is_convolution,
            )
        )
    return layers


def _bias_of(
    node: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]], constants: set[str]
) -> str:
    """The name of a layer's bias; empty if it has none, or is no layer."""
    if node.op_type == "Conv":
        return node.input[2] if len(node.input) == 3 else ""
    if node.op_type != "MatMul":
        return ""
    following = _next_of(node, readers)
    added = [] if following is None else [name for name in following.input if name in constants]
    return added[0] if added else ""


def _next_of(
    node: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]]
) -> onnx.NodeProto | None:
    """The addition that alone reads what a node returns."""
    following = readers.get(node.output[0], [])
    return following[0] if len(following) == 1 and following[0].op_type == "Add" else None


def _readers_of(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers
