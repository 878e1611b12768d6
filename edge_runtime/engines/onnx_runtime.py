"""ONNX Runtime: on the processor the engine that runs everywhere, or on NVIDIA GPUs by name."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.errors import EngineError
from edge_runtime.engines.exchange import STAGES, require_finite, require_pictures

PROVIDERS = {
    "onnxruntime": ("CPUExecutionProvider",),
    "onnxruntime-cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "onnxruntime-tensorrt": (
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ),
}
"""Execution providers of each backend, the wanted one first; later ones take what it cannot."""

_LOG_SEVERITY_ERROR = 3
Images = npt.NDArray[np.uint8]
Descriptors = npt.NDArray[np.float32]


class OnnxRuntimeEngine:
    """One inference session over a bundle's graph.

    Args:
        bundle: The encoder.
        precision: Which of its graphs.
        threads: Processor threads; 0 leaves it to ONNX Runtime.
        backend: A name in `PROVIDERS`.

    Raises:
        EngineError: If ONNX Runtime lacks the provider or refuses the graph, or the graph is not
            what the bundle says.
    """

    def __init__(
        self,
        bundle: EncoderBundle,
        precision: str = "fp32",
        threads: int = 0,
        backend: str = "onnxruntime",
    ) -> None:
        path = bundle.graph_path(precision)
        self._session = _open_session(path, threads, backend)
        self._input_shape = (bundle.input_height, bundle.input_width, 3)
        self._descriptor_size = bundle.descriptor_size
        self._check_graph(str(path))

    def encode(self, images: Images) -> Descriptors:
        """Unit-length descriptors (N, D) of RGB pictures (N, H, W, 3) at the encoder's input size.

        Raises:
            EngineError: If the pictures are of another shape or type, or the result is not finite.
        """
        require_pictures(images, self._input_shape)
        try:
            descriptors = self._run(images)
        except Exception as error:  # its errors share no other base class
            raise EngineError(f"the encoder failed: {_first_line(error)}") from error
        require_finite(descriptors)
        return descriptors

    def _run(self, images: Images) -> Descriptors:
        descriptors: Descriptors = self._session.run(None, {"images": images})[0]
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


class DeviceOnnxRuntimeEngine(OnnxRuntimeEngine):
    """ONNX Runtime on a GPU: see `OnnxRuntimeEngine`, whose arguments and errors it shares."""

    def __init__(
        self, bundle: EncoderBundle, precision: str = "fp32", backend: str = "onnxruntime-cuda"
    ) -> None:
        super().__init__(bundle, precision, backend=backend)
        self._buffers = BoundBuffers(self._session, bundle.descriptor_size, "cuda")

    def encode_in_stages(self, images: Images) -> tuple[Descriptors, dict[str, float]]:
        """Descriptors, and milliseconds of the copy in, the computation, the copy out.

        Raises:
            EngineError: If the pictures are of another shape or type.
        """
        require_pictures(images, self._input_shape)
        return self._buffers.run_in_stages(images)

    def _run(self, images: Images) -> Descriptors:
        return self._buffers.run(images)


class BoundBuffers:
    """Runs a session between buffers on its device that stay where they are, one pair a batch size.

    A frame then costs one copy in and one copy out, and no allocation.

    Args:
        session: With one input named images and one output.
        descriptor_size: Values of a descriptor.
        device: ONNX Runtime's name of where the buffers lie.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, descriptor_size: int, device: str
    ) -> None:
        self._session = session
        self._descriptor_size = descriptor_size
        self._device = device
        self._bound: dict[tuple[int, ...], _Bound] = {}

    def run(self, images: Images) -> Descriptors:
        """Descriptors (N, D) of pictures (N, H, W, 3)."""
        return self.run_in_stages(images)[0]

    def run_in_stages(self, images: Images) -> tuple[Descriptors, dict[str, float]]:
        """As `run`, and milliseconds of `h2d`, `compute` and `d2h`; each waits for the device."""
        bound = self._bound.get(images.shape)
        if bound is None:
            bound = self._bound[images.shape] = self._bind(images.shape)
        began = time.perf_counter()
        bound.images.update_inplace(np.ascontiguousarray(images))
        copied = time.perf_counter()
        self._session.run_with_iobinding(bound.binding)
        computed = time.perf_counter()
        # A copy also where the buffer lies in main memory: the next frame overwrites it.
        descriptors = np.array(bound.descriptors.numpy(), np.float32)
        fetched = time.perf_counter()
        spans_ms = (np.diff((began, copied, computed, fetched)) * 1e3).tolist()
        return descriptors, dict(zip(STAGES, spans_ms, strict=True))

    def _bind(self, shape: tuple[int, ...]) -> _Bound:
        def buffer(shape: tuple[int, ...], kind: type) -> Any:
            return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, kind, self._device)

        images = buffer(shape, np.uint8)
        descriptors = buffer((shape[0], self._descriptor_size), np.float32)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("images", images)
        binding.bind_ortvalue_output(self._session.get_outputs()[0].name, descriptors)
        return _Bound(binding, images, descriptors)


@dataclass(frozen=True)
class _Bound:
    """A binding and the two buffers that it keeps."""

    binding: Any
    images: Any
    descriptors: Any


def _open_session(path: Path, threads: int, backend: str) -> onnxruntime.InferenceSession:
    providers = PROVIDERS[backend]
    available = onnxruntime.get_available_providers()
    if providers[0] not in available:
        raise EngineError(
            f"{backend} needs ONNX Runtime's {providers[0]}, and this one has only "
            f"{', '.join(available)}: install onnxruntime-gpu in place of onnxruntime"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _LOG_SEVERITY_ERROR
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # its errors share no other base class
        raise EngineError(f"{path} cannot be loaded: {_first_line(error)}") from error
    # ONNX Runtime falls back to the processor without a word where a GPU's libraries are missing.
    used = session.get_providers()
    if used[0] != providers[0]:
        raise EngineError(
            f"{backend}: ONNX Runtime could not start {providers[0]} and would have run on "
            f"{used[0]}: check the driver, CUDA and cuDNN, or fly with the engine onnxruntime"
        )
    return session


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
