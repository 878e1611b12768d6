"""From a bundle to a loaded engine: given, kept from an earlier start, or built here and now."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edge_runtime.contract.encoder_bundle import GRAPH_FILES, EncoderBundle
from edge_runtime.contract.errors import ArtefactError, BundleError, EngineError
from edge_runtime.engines.device_memory import Device, memory_report, open_device
from edge_runtime.engines.tensorrt_artefact import EngineIdentity, read_engine, write_engine
from edge_runtime.engines.tensorrt_build import BuildRequest, build_engine
from edge_runtime.engines.tensorrt_cache import EngineCache, default_cache_folder
from edge_runtime.engines.tensorrt_config import TensorRtConfig
from edge_runtime.engines.tensorrt_library import TensorRt, load_tensorrt

_LARGEST_WORKSPACE_BYTES = 1 << 30


class EnginePreparation:
    """One bundle in one precision, one TensorRT, one GPU.

    Raises:
        BundleError: If the bundle lacks the precision, or its batch sizes are damaged.
        EngineError: If TensorRT, its driver or a GPU is missing.
    """

    def __init__(
        self,
        bundle: EncoderBundle,
        precision: str,
        config: TensorRtConfig,
        library: TensorRt | None = None,
        device: Device | None = None,
    ) -> None:
        self._graph_path = bundle.graph_path(precision)
        usual_batch, max_batch = config.batches_for(bundle)
        self.picture_shape = (bundle.input_height, bundle.input_width, 3)
        self.library = library or load_tensorrt()
        # CUDA before any object of TensorRT: without a driver its runtime ends the process.
        self.device = device or open_device()
        self.identity = EngineIdentity(
            tensorrt_version=self.library.version,
            gpu=self.device.gpu.name,
            architecture=self.device.gpu.architecture,
            multiprocessors=self.device.gpu.multiprocessors,
            precision=precision,
            onnx_sha256=str(bundle.manifest["files"][GRAPH_FILES[precision]]["sha256"]),
            usual_batch=usual_batch,
            max_batch=max_batch,
        )
        self._engine_folder = config.engine_folder
        self._cache = EngineCache(config.cache_folder or default_cache_folder())

    @contextmanager
    def device_kept_on_success(self) -> Iterator[None]:
        """Inside it the device is current; an exception closes it."""
        try:
            with self.device.current():
                yield
        except BaseException:
            with suppress(EngineError):  # the first reason is the one to tell
                self.device.close()
            raise

    def load(self) -> Any:
        """An ICudaEngine for this bundle on this machine, inside `device_kept_on_success`.

        Raises:
            BundleError: If the graph was altered.
            EngineError: If it cannot be built or loaded, or if the engine that the configuration
                names belongs to another machine or graph.
        """
        if self._engine_folder is not None:
            engine = self.library.load(self._given(self._engine_folder))
        else:
            engine = self._cache.obtain(self.identity, self.library.load, self.build)
        if engine is None:
            raise EngineError(
                f"{self.library.title} cannot load "
                f"{self._engine_folder or 'the engine that it has built'}: "
                f"{self.library.first_error()} ({memory_report(self.device)})"
            )
        return engine

    def build(self) -> bytes:
        """A serialized engine, built anew, inside `device_kept_on_success`.

        Raises:
            BundleError: If the graph was altered.
            EngineError: If TensorRT cannot run the graph, or memory is short.
        """
        free, _ = self.device.free_and_total_bytes()
        request = BuildRequest(
            source=str(self._graph_path),
            onnx=self._graph(),
            picture_shape=self.picture_shape,
            usual_batch=self.identity.usual_batch,
            max_batch=self.identity.max_batch,
            # A Jetson's processor lives on the same memory: half of what is free is left to it.
            workspace_bytes=min(_LARGEST_WORKSPACE_BYTES, free // 2),
        )
        try:
            built = build_engine(self.library, request, self._cache.timings(self.identity))
        except EngineError as error:
            raise EngineError(f"{error} ({memory_report(self.device)})") from error
        if built.timing_cache is not None:
            self._cache.keep_timings(self.identity, built.timing_cache)
        return built.plan

    def _given(self, folder: Path) -> bytes:
        """The serialized engine that the user named, which is refused rather than replaced."""
        try:
            built, plan = read_engine(folder)
        except ArtefactError as error:
            raise EngineError(str(error)) from error
        if (refusal := self.identity.refusal_of(built)) is not None:
            raise EngineError(f"{folder}: {refusal}")
        return plan

    def _graph(self) -> bytes:
        path = self._graph_path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
        if hashlib.sha256(content).hexdigest() != self.identity.onnx_sha256:
            raise BundleError(
                f"{path} was altered: its SHA-256 is not the manifest's, copy it again"
            )
        return content


def export_engine(
    bundle: EncoderBundle,
    precision: str,
    folder: Path,
    config: TensorRtConfig | None = None,
    library: TensorRt | None = None,
    device: Device | None = None,
) -> Path:
    """Build an engine for this machine and write it as NAME.engine; returns the folder.

    Raises:
        BundleError: If the bundle lacks the precision, or its graph was altered.
        EngineError: If TensorRT, its driver or a GPU is missing, or it cannot run the graph.
        OutputError: If the folder cannot be written.
    """
    preparation = EnginePreparation(bundle, precision, config or TensorRtConfig(), library, device)
    with preparation.device_kept_on_success():
        plan = preparation.build()
    preparation.device.close()
    return write_engine(folder, preparation.identity, plan)
