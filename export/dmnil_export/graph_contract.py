"""What every exported graph looks like from outside, and what it may be made of."""

from __future__ import annotations

from pathlib import Path

import onnx

from edge_runtime.contract.errors import BundleError

OPSET = 18
INPUT_NAME = "images"
OUTPUT_NAME = "descriptors"
OPERATORS = frozenset(
    name
    for names in (
        ("Cast", "Transpose", "Reshape", "AveragePool", "ReduceMean", "ReduceL2"),
        ("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Erf", "Clip"),
        ("Conv", "MatMul", "Gemm", "LayerNormalization"),
        ("QuantizeLinear", "DequantizeLinear"),
    )
    for name in names
)
"""What encoders are exported to; TensorRT 10 parses every one of them at opset 18."""
_NODES_NAMED = 5


def read_graph(path: Path) -> onnx.ModelProto:
    """An ONNX file.

    Raises:
        BundleError: If it is missing, cut short, or no ONNX.
    """
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # protobuf's errors differ between its implementations
        raise BundleError(f"{path} is cut short or no ONNX graph: copy it again") from error
    if not model.graph.node:
        raise BundleError(f"{path} is cut short or no ONNX graph: copy it again")
    return model


def departures(model: onnx.ModelProto) -> list[str]:
    """Where a graph is not as this toolkit writes them, in words; nothing where it is."""
    found = []
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if opsets != {"ai.onnx": OPSET}:
        listed = ", ".join(f"{domain} {version}" for domain, version in sorted(opsets.items()))
        found.append(f"it is written in {listed}, not in ai.onnx {OPSET}")
    strange = [node for node in model.graph.node if node.domain or node.op_type not in OPERATORS]
    if strange:
        named = ", ".join(f"{node.op_type} '{node.name}'" for node in strange[:_NODES_NAMED])
        more = len(strange) - _NODES_NAMED
        found.append(f"unsupported nodes: {named}" + (f" and {more} more" if more > 0 else ""))
    inputs, outputs = ([e.name for e in part] for part in (model.graph.input, model.graph.output))
    if inputs != [INPUT_NAME] or outputs != [OUTPUT_NAME]:
        found.append(f"it takes {inputs} and returns {outputs}")
    return found
