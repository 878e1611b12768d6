"""A loaded engine and its buffers: pictures in, descriptors out, nothing allocated per frame."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import EngineError
from edge_runtime.engines.device_memory import Device, DeviceGraph, memory_report
from edge_runtime.engines.exchange import STAGES
from edge_runtime.engines.tensorrt_build import INPUT_NAME
from edge_runtime.engines.tensorrt_library import TensorRt


class TensorRtExecution:
    """One execution context, one stream, buffers for the largest batch.

    All but `close` is called inside `device.current()`.

    Raises:
        EngineError: If the engine is not an encoder of these shapes, or memory is short.
    """

    def __init__(
        self,
        library: TensorRt,
        device: Device,
        engine: Any,
        picture_shape: tuple[int, int, int],
        descriptor_size: int,
    ) -> None:
        self._library = library
        self._device = device
        self._engine = engine
        self._output_name = _check_tensors(library, engine, picture_shape, descriptor_size)
        _, _, largest = engine.get_tensor_profile_shape(INPUT_NAME, 0)
        self.max_batch = int(next(iter(largest)))
        library.forget_errors()
        self._context = engine.create_execution_context()
        if self._context is None:
            raise EngineError(
                f"TensorRT cannot make room for the engine: {library.first_error()} "
                f"({memory_report(device)})"
            )
        shape = (self.max_batch, *picture_shape)
        self._images = device.pinned_array(shape, np.uint8)
        self._descriptors = device.pinned_array((self.max_batch, descriptor_size), np.float32)
        self._images_address = device.allocate(self._images.nbytes)
        self._descriptors_address = device.allocate(self._descriptors.nbytes)
        self._accepted(
            self._context.set_tensor_address(INPUT_NAME, self._images_address)
            and self._context.set_tensor_address(self._output_name, self._descriptors_address)
        )
        self._batch = 0
        self._graph: DeviceGraph | None = None
        self._capturable = True

    def run(self, images: npt.NDArray[np.uint8], descriptors: npt.NDArray[np.float32]) -> None:
        """Encode up to `max_batch` pictures (n, H, W, 3) into descriptors (n, D).

        The second run of the same batch size is captured as a CUDA graph, which serves until the
        size changes.
        """
        count = len(images)
        np.copyto(self._images[:count], images)
        if self._graph is not None and count == self._batch:
            self._graph.launch()
        else:
            self._enqueue_anew(count)
        self._device.synchronise()
        np.copyto(descriptors, self._descriptors[:count])

    def run_in_stages(
        self, images: npt.NDArray[np.uint8], descriptors: npt.NDArray[np.float32]
    ) -> dict[str, float]:
        """As `run`, without a graph; milliseconds of `h2d`, `compute`, `d2h`, each waited for."""
        count = len(images)
        np.copyto(self._images[:count], images)
        if count != self._batch:
            self._enqueue_anew(count)
            self._device.synchronise()
        ends_s = [time.perf_counter()]
        for enqueue in (self._enqueue_upload, self._enqueue_network, self._enqueue_download):
            enqueue()
            self._device.synchronise()
            ends_s.append(time.perf_counter())
        np.copyto(descriptors, self._descriptors[:count])
        spans_ms = (np.diff(ends_s) * 1e3).tolist()
        return dict(zip(STAGES, spans_ms, strict=True))

    def close(self) -> None:
        """Free everything, engine first; a second call does nothing."""
        if self._context is None:
            return
        with suppress(EngineError):  # after a fault of the GPU nothing can be freed any more
            with self._device.current():
                self._drop_graph()
                self._context = None
                self._engine = None
            # Page-locked memory goes with the device: nothing may refer to it after that.
            self._images = np.empty(0, np.uint8)
            self._descriptors = np.empty(0, np.float32)
            self._device.close()

    def _enqueue_anew(self, count: int) -> None:
        if count != self._batch:
            # A graph holds for one shape; TensorRT wants a plain run between shape and capture.
            self._drop_graph()
            shape = (count, *self._images.shape[1:])
            self._accepted(self._context.set_input_shape(INPUT_NAME, shape))
            self._batch = count
            self._enqueue()
            return
        if self._capturable:
            self._graph = self._device.capture(self._enqueue)
            if self._graph is not None:
                self._graph.launch()
                return
            self._capturable = False
        self._enqueue()

    def _enqueue(self) -> None:
        self._enqueue_upload()
        self._enqueue_network()
        self._enqueue_download()

    def _enqueue_upload(self) -> None:
        self._device.upload(self._images_address, self._images[: self._batch])

    def _enqueue_network(self) -> None:
        self._accepted(self._context.execute_async_v3(self._device.stream_handle))

    def _enqueue_download(self) -> None:
        self._device.download(self._descriptors[: self._batch], self._descriptors_address)

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def _accepted(self, accepted: bool) -> None:
        if not accepted:
            raise EngineError(f"the encoder failed: TensorRT says {self._library.first_error()}")


def _check_tensors(
    library: TensorRt, engine: Any, picture_shape: tuple[int, int, int], descriptor_size: int
) -> str:
    """The output's name, once the engine is known to be an encoder of these shapes."""
    trt = library.module
    names: list[str] = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    found = {
        name: (
            engine.get_tensor_mode(name),
            engine.get_tensor_dtype(name),
            tuple(engine.get_tensor_shape(name))[1:],
        )
        for name in names
    }
    outputs = [name for name in names if name != INPUT_NAME]
    expected_input = (trt.TensorIOMode.INPUT, trt.DataType.UINT8, picture_shape)
    expected_output = (trt.TensorIOMode.OUTPUT, trt.DataType.FLOAT, (descriptor_size,))
    if (
        len(names) != 2
        or found.get(INPUT_NAME) != expected_input
        or found[outputs[0]] != expected_output
    ):
        described = "; ".join(f"{name} {kind} {shape}" for name, (_, kind, shape) in found.items())
        raise EngineError(
            f"the engine has {described}, its bundle says uint8 '{INPUT_NAME}' of (N, "
            f"{', '.join(map(str, picture_shape))}) and float32 (N, {descriptor_size})"
        )
    return outputs[0]
