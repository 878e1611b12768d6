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


def quantisable_layers(model: onnx.ModelProto) -> list[Layer]:
    """The backbone's convolutions and matrix products, in the order in which they run."""
    constants = {entry.name for entry in model.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    layers = []
    for node in model.graph.node:
        is_convolution = node.op_type == "Conv" and len(node.input) == 3
        if not is_convolution and node.op_type != "MatMul":
            continue
        bias = node.input[2] if is_convolution else _added_to(node.output[0], readers, constants)
        # The bias's name tells the backbone's layers from the head's.
        if not bias.startswith(_BACKBONE) or node.input[1] not in constants:
            continue
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


def _added_to(tensor: str, readers: dict[str, list[onnx.NodeProto]], constants: set[str]) -> str:
    """The constant that the tensor's one reader adds to it; empty if it does something else."""
    following = readers.get(tensor, [])
    if len(following) != 1 or following[0].op_type != "Add":
        return ""
    added = [name for name in following[0].input if name in constants]
    return added[0] if added else ""
