"""An encoder as an ONNX graph: `images` uint8 (N, H, W, 3), `descriptors` float32 (N, D)."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dmnil_export.graph_contract import INPUT_NAME, OPSET, OUTPUT_NAME, departures
from dmnil_train.encoder.efficientnet_lite import ConvNorm
from dmnil_train.encoder.model import Encoder


def onnx_graph(encoder: Encoder) -> onnx.ModelProto:
    """The graph for any batch size, with no trace of this machine in it."""
    config = encoder.config
    # Its registry complains that torchvision's operators, which no encoder uses, are not there.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    # Two images: with one, the exporter would fix the batch size at 1.
    images = torch.zeros((2, config.input_height, config.input_width, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            encoder.eval(),
            (images,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the ONNX exporter returned nothing")
    model = program.model_proto
    _forget_origin(model)
    return model


def write_graph(model: onnx.ModelProto, path: Path) -> Path:
    """Write a graph as one file; the same graph always gives the same bytes.

    Raises:
        RuntimeError: If it is no graph that the runtime knows, which is a defect of the export.
    """
    onnx.checker.check_model(model)
    if found := departures(model):
        raise RuntimeError(f"{path.name} is not as bundles have it: {'; '.join(found)}")
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def fold_batch_norms(encoder: Encoder) -> Encoder:
    """A copy whose convolutions carry their batch normalisation: same result, fewer operations.

    Folding in float32 also keeps small variances from being rounded when the copy goes to half.
    """
    folded = copy.deepcopy(encoder).eval()
    for module in folded.modules():
        if isinstance(module, ConvNorm) and isinstance(module.norm, nn.BatchNorm2d):
            module.convolution = fuse_conv_bn_eval(module.convolution, module.norm)
            module.norm = nn.Identity()
    return folded


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes, among them paths and line numbers of this machine."""
    model.doc_string = ""
    del model.metadata_props[:]
    model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    described = (*model.graph.node, *model.graph.value_info, *model.graph.initializer)
    for part in (*described, *model.graph.input, *model.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
