"""A graph run in pieces, so that values between layers can be looked at and changed on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper

Value = npt.NDArray[np.generic]
Values = dict[str, Value]
_BATCH = 4
_LOG_SEVERITY_ERROR = 3


@dataclass(frozen=True)
class Segment:
    """Neighbouring nodes, what they read from outside, and what others read of theirs.

    Args:
        forgotten: Of what they read, what nothing reads after them.
    """

    nodes: tuple[onnx.NodeProto, ...]
    reads: tuple[str, ...]
    returns: tuple[str, ...]
    forgotten: tuple[str, ...]


def cut_around(model: onnx.ModelProto, names: Sequence[str]) -> Iterator[Segment]:
    """The nodes in order: those of these names each alone, what lies between them together."""
    alone = set(names)
    groups: list[list[onnx.NodeProto]] = [[]]
    for node in model.graph.node:
        if node.name in alone:
            groups += [[node], []]
        else:
            groups[-1].append(node)
    groups = [group for group in groups if group]
    constants = {entry.name for entry in model.graph.initializer}
    reads = [_read_by(group) - constants for group in groups]
    for index, group in enumerate(groups):
        later = {output.name for output in model.graph.output}.union(*reads[index + 1 :])
        made = {name for node in group for name in node.output}
        yield Segment(
            nodes=tuple(group),
            reads=tuple(sorted(reads[index])),
            returns=tuple(sorted(made & later)),
            forgotten=tuple(sorted(reads[index] - later)),
        )


def run_segment(
    model: onnx.ModelProto,
    segment: Segment,
    values: Mapping[str, Value],
    replaced: Mapping[str, Value] | None = None,
) -> Values:
    """What a segment returns, computed a few pictures at a time to spare memory.

    Args:
        values: At least what the segment reads, pictures along the first axis.
        replaced: Constants to use in place of the graph's own.
    """
    used = {name for node in segment.nodes for name in node.input}
    new = {name: value for name, value in (replaced or {}).items() if name in used}
    constants = [e for e in model.graph.initializer if e.name in used and e.name not in new]
    constants += [numpy_helper.from_array(value, name) for name, value in new.items()]
    graph = helper.make_graph(
        list(segment.nodes),
        "segment",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(values[name].dtype), None
            )
            for name in segment.reads
        ],
        [helper.make_empty_tensor_value_info(name) for name in segment.returns],
        constants,
    )
    piece = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_SEVERITY_ERROR
    session = onnxruntime.InferenceSession(
        piece.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    count = len(values[segment.reads[0]])
    parts = [
        session.run(
            list(segment.returns),
            {name: values[name][start : start + _BATCH] for name in segment.reads},
        )
        for start in range(0, count, _BATCH)
    ]
    return {
        name: np.concatenate([part[place] for part in parts])
        for place, name in enumerate(segment.returns)
    }


def _read_by(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    made = {name for node in nodes for name in node.output}
    return {name for node in nodes for name in node.input if name} - made
