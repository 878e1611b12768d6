"""ONNX Runtime on the processor: the engine that runs everywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime

from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.errors import EngineError

_LOG_SEVERITY_ERROR = 3


class OnnxRuntimeEngine:
    """One inference session over a bundle's graph.

    Raises:
        EngineError: If ONNX Runtime refuses the graph, or the graph is not what the bundle says.
    """

    def __init__(self, bundle: EncoderBundle, precision: str = "fp32", threads: int = 0) -> None:
        path = bundle.graph_path(precision)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _LOG_SEVERITY_ERROR
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no other base class
            raise EngineError(f"{path} cannot be loaded: {_first_line(error)}") from error
        self._input_shape = (bundle.input_height, bundle.input_width, 3)
        self._descriptor_size = bundle.descriptor_size
        self._check_graph(str(path))

    def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Unit-length descriptors (N, D) of RGB pictures (N, H, W, 3) at the encoder's input size.

        Raises:
            EngineError: If the pictures are of another shape or type, or the result is not finite.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self._input_shape:
            raise EngineError(
                f"encoder takes uint8 (N, {self._input_shape[0]}, {self._input_shape[1]}, 3), "
                f"got {images.dtype} {images.shape}"
            )
        try:
            descriptors: npt.NDArray[np.float32] = self._session.run(None, {"images": images})[0]
        except Exception as error:  # its errors share no other base class
            raise EngineError(f"the encoder failed: {_first_line(error)}") from error
        if not np.isfinite(descriptors).all():
            raise EngineError("the encoder returned values that are not finite")
        return descriptors

    def _check_graph(self, path: str) -> None:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if [node.name for node in inputs] != ["images"] or inputs[0].type != "tensor(uint8)":
            raise EngineError(f"{path} does not take one uint8 input named 'images'")
        if list(inputs[0].shape[1:]) != list(self._input_shape):
            raise EngineError(
                f"{path} takes {inputs[0].shape[1:]}, its bundle says {list(self._input_shape)}"
            )
        if len(outputs) != 1 or outputs[0].shape[-1] != self._descriptor_size:
            raise EngineError(
                f"{path} returns {outputs[0].shape}, its bundle says (N, {self._descriptor_size})"
            )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
