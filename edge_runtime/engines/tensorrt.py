"""TensorRT on the GPU: the engine of a Jetson, built there from the bundle's ONNX graph.

Written for the interfaces of TensorRT 10.3 (JetPack 6.1) to 11.x; older than 10.0 is refused.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.errors import EngineError
from edge_runtime.engines.device_memory import Device
from edge_runtime.engines.exchange import require_finite, require_pictures
from edge_runtime.engines.golden_check import require_golden
from edge_runtime.engines.tensorrt_config import TensorRtConfig
from edge_runtime.engines.tensorrt_execution import TensorRtExecution
from edge_runtime.engines.tensorrt_library import TensorRt
from edge_runtime.engines.tensorrt_preparation import EnginePreparation


class TensorRtEngine:
    """A bundle's graph on the first GPU, checked against the bundle's golden descriptors.

    The first start builds the engine, which can take many minutes; later ones load it.

    Args:
        library, device: TensorRT and the GPU; by default those of this machine.
        golden_check: Refuse an engine that computes wrongly.
    Raises:
        BundleError: If the bundle lacks the precision, or its graph was altered.
        EngineError: If TensorRT, its driver or a GPU is missing, if it cannot run the graph or
            computes it wrongly, or if the engine given belongs to another machine or graph.
    """

    def __init__(
        self,
        bundle: EncoderBundle,
        precision: str = "fp32",
        config: TensorRtConfig | None = None,
        library: TensorRt | None = None,
        device: Device | None = None,
        golden_check: bool = True,
    ) -> None:
        preparation = EnginePreparation(
            bundle, precision, config or TensorRtConfig(), library, device
        )
        self._input_shape = preparation.picture_shape
        self._descriptor_size = bundle.descriptor_size
        with preparation.device_kept_on_success():
            self._execution = TensorRtExecution(
                preparation.library,
                preparation.device,
                preparation.load(),
                self._input_shape,
                self._descriptor_size,
            )
        self._device = preparation.device
        self._lock = threading.Lock()
        # Also runs when the engine is forgotten and at exit, while CUDA is still there.
        self._closing = weakref.finalize(self, self._execution.close)
        try:
            if golden_check:
                require_golden(self, bundle, precision)
        except BaseException:
            self.close()
            raise

    def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Unit-length descriptors (N, D) of RGB pictures (N, H, W, 3) at the encoder's input size.

        Raises:
            EngineError: If the pictures are of another shape or type, the GPU fails, or the
                result is not finite.
        """
        descriptors = self._room_for(images)
        with self._on_device():
            for batch in self._batches(len(images)):
                self._execution.run(images[batch], descriptors[batch])
        require_finite(descriptors)
        return descriptors

    def encode_in_stages(
        self, images: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], dict[str, float]]:
        """Descriptors, and milliseconds of `h2d`, `compute` and `d2h`; slower than `encode`.

        Raises:
            EngineError: As `encode`.
        """
        descriptors = self._room_for(images)
        totals_ms: Counter[str] = Counter()
        with self._on_device():
            for batch in self._batches(len(images)):
                totals_ms.update(self._execution.run_in_stages(images[batch], descriptors[batch]))
        return descriptors, dict(totals_ms)

    def _room_for(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        require_pictures(images, self._input_shape)
        return np.empty((len(images), self._descriptor_size), np.float32)

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        with self._lock:
            if not self._closing.alive:
                raise EngineError("the engine is closed")
            with self._device.current():
                yield

    def _batches(self, count: int) -> list[slice]:
        size = self._execution.max_batch
        return [slice(start, start + size) for start in range(0, count, size)]

    def close(self) -> None:
        """Free the GPU's memory; `encode` is an error from then on."""
        with self._lock:
            self._closing()
