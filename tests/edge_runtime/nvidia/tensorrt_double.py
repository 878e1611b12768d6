"""A double of the module tensorrt: its interface by the recorded table, its sums by ONNX Runtime.

It checks what the runtime calls against a version's real signatures and moves real pictures and
descriptors through the addresses that it is given. It is no TensorRT: what that does with a graph,
it cannot tell.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError

from tests.edge_runtime.nvidia.host_gpu import HostGpu
from tests.edge_runtime.nvidia.signatures import TABLE, Recorder, bound_class, enumeration

MARK = b"PLAN"


class Behaviour:
    """What a test wants to go wrong, or to know."""

    def __init__(self) -> None:
        self.build_fails = ""
        self.load_fails = ""
        self.context_fails = ""
        self.execution_fails = ""
        self.refuses_capture = False
        self.refuses_timings = False
        self.wrong_by = 0.0
        self.builds = 0
        self.weakly_typed = False
        self.stopped_at_step: int | None = None


def tensorrt_double(version: str, host: HostGpu) -> tuple[Any, Recorder, Behaviour]:
    """The module, what was called on it, and what shall go wrong."""
    table = TABLE["tensorrt"][version]
    recorder = Recorder("TensorRT", table)
    behaviour = Behaviour()
    enums = {name: enumeration(name, members) for name, members in table["enums"].items()}
    severity = enums.pop("ILogger.Severity")
    major = int(version.split(".")[0])

    def need_driver() -> None:
        if not host.started:
            raise AssertionError("TensorRT was constructed before CUDA was started")
        host.require_context()

    def complain(logger: Any, text: str) -> None:
        logger._require_base()
        logger.log(severity.ERROR, text)

    class ILogger(bound_class(recorder, "ILogger")):  # type: ignore[misc]
        Severity = severity

        def __init__(self) -> None:
            self._constructed = True

        def __getattribute__(self, name: str) -> Any:
            return object.__getattribute__(self, name)

        def _require_base(self) -> None:
            if not getattr(self, "_constructed", False):
                raise TypeError("ILogger.__init__() must be called when overriding __init__")

    class IProgressMonitor(bound_class(recorder, "IProgressMonitor")):  # type: ignore[misc]
        def __init__(self) -> None:
            self._constructed = True

        __getattribute__ = object.__getattribute__  # type: ignore[assignment]
        __setattr__ = object.__setattr__  # type: ignore[assignment]

    class ITensor(bound_class(recorder, "ITensor")):  # type: ignore[misc]
        def __init__(self, value: onnx.ValueInfoProto) -> None:
            dimensions = value.type.tensor_type.shape.dim
            object.__setattr__(self, "name", value.name)
            shape = tuple(each.dim_value or -1 for each in dimensions)
            object.__setattr__(self, "shape", shape)

    class INetworkDefinition(bound_class(recorder, "INetworkDefinition")):  # type: ignore[misc]
        def __init__(self) -> None:
            self._model: onnx.ModelProto | None = None

        @property
        def num_inputs(self) -> int:
            return 0 if self._model is None else len(self._model.graph.input)

        def get_input(self, index: int) -> Any:
            return ITensor(self._model.graph.input[index])

    class ParserError(bound_class(recorder, "ParserError")):  # type: ignore[misc]
        def __init__(self, desc: str, name: str, operator: str) -> None:
            self._texts = desc, name, operator

        def desc(self) -> str:
            return self._texts[0]

        def node_name(self) -> str:
            return self._texts[1]

        def node_operator(self) -> str:
            return self._texts[2]

    class OnnxParser(bound_class(recorder, "OnnxParser")):  # type: ignore[misc]
        def __init__(self, network: Any, logger: Any) -> None:
            self._network = network
            self._errors: list[Any] = []

        def parse(self, model: bytes, path: str | None = None) -> bool:
            try:
                proto = onnx.load_model_from_string(model)
            except DecodeError:
                self._errors = [ParserError("Failed to parse the ONNX model.", "", "")]
                return False
            strange = [node for node in proto.graph.node if node.op_type == "Det"]
            self._errors = [ParserError("no importer", n.name, n.op_type) for n in strange]
            self._network._model = proto
            return not strange

        @property
        def num_errors(self) -> int:
            return len(self._errors)

        def get_error(self, index: int) -> Any:
            return self._errors[index]

    class IOptimizationProfile(bound_class(recorder, "IOptimizationProfile")):  # type: ignore[misc]
        def __init__(self) -> None:
            self._shapes: tuple[Any, ...] = ()

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
            self._shapes = tuple(map(list, (min, opt, max)))

    class ITimingCache(bound_class(recorder, "ITimingCache")):  # type: ignore[misc]
        def __init__(self, content: bytes) -> None:
            self._content = content

        def serialize(self) -> memoryview:
            return memoryview(self._content + b"timed")

    class IBuilderConfig(bound_class(recorder, "IBuilderConfig")):  # type: ignore[misc]
        def __init__(self) -> None:
            self._profile: Any = None
            self._limits: dict[Any, int] = {}

        def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            self._limits[enums["MemoryPoolType"](pool)] = pool_size

        def add_optimization_profile(self, profile: Any) -> int:
            self._profile = profile
            return 0

        def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
            return ITimingCache(serialized_timing_cache)

        def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
            return not (behaviour.refuses_timings and cache._content)

    class Builder(bound_class(recorder, "Builder")):  # type: ignore[misc]
        def __init__(self, logger: Any) -> None:
            need_driver()
            self._logger = logger

        def create_network(self, flags: int = 0) -> Any:
            strong = 1 << enums["NetworkDefinitionCreationFlag"].STRONGLY_TYPED
            behaviour.weakly_typed = major < 11 and not flags & strong
            if flags & ~strong:
                raise AssertionError(f"flags {flags:b} are more than strong types")
            return INetworkDefinition()

        def create_builder_config(self) -> Any:
            return IBuilderConfig()

        def create_optimization_profile(self) -> Any:
            return IOptimizationProfile()

        def build_serialized_network(self, network: Any, config: Any) -> Any:
            need_driver()
            behaviour.builds += 1
            monitor = config.__dict__.get("progress_monitor")
            if monitor is not None and not _report(monitor, behaviour):
                return None
            if behaviour.build_fails:
                complain(self._logger, behaviour.build_fails)
                return None
            header = {"version": version, "shapes": config._profile._shapes}
            body = network._model.SerializeToString()
            return memoryview(MARK + json.dumps(header).encode() + b"\n" + body)

    class Runtime(bound_class(recorder, "Runtime")):  # type: ignore[misc]
        def __init__(self, logger: Any) -> None:
            need_driver()
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
            header, _, body = serialized_engine.partition(b"\n")
            if behaviour.load_fails or not header.startswith(MARK):
                complain(self._logger, behaviour.load_fails or "Magic tag does not match")
                return None
            return ICudaEngine(json.loads(header[len(MARK) :]), body, self._logger)

    class ICudaEngine(bound_class(recorder, "ICudaEngine")):  # type: ignore[misc]
        def __init__(self, header: dict[str, Any], body: bytes, logger: Any) -> None:
            self._shapes = header["shapes"]
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self._session = onnxruntime.InferenceSession(
                body, options, providers=["CPUExecutionProvider"]
            )
            self._inputs = self._session.get_inputs()
            self._tensors = [*self._inputs, *self._session.get_outputs()]
            self._logger = logger

        @property
        def num_io_tensors(self) -> int:
            return len(self._tensors)

        def get_tensor_name(self, index: int) -> str:
            return str(self._tensors[index].name)

        def get_tensor_mode(self, name: str) -> Any:
            inputs = [tensor.name for tensor in self._inputs]
            return enums["TensorIOMode"].INPUT if name in inputs else enums["TensorIOMode"].OUTPUT

        def get_tensor_dtype(self, name: str) -> Any:
            kinds = {"tensor(uint8)": "UINT8", "tensor(float)": "FLOAT"}
            return enums["DataType"][kinds[self._tensor(name).type]]

        def get_tensor_shape(self, name: str) -> Any:
            return [size if isinstance(size, int) else -1 for size in self._tensor(name).shape]

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> Any:
            return self._shapes

        def create_execution_context(self) -> Any:
            need_driver()
            if behaviour.context_fails:
                complain(self._logger, behaviour.context_fails)
                return None
            return IExecutionContext(self)

        def _tensor(self, name: str) -> Any:
            return next(tensor for tensor in self._tensors if tensor.name == name)

    class IExecutionContext(bound_class(recorder, "IExecutionContext")):  # type: ignore[misc]
        def __init__(self, engine: Any) -> None:
            self._engine = engine
            self._shape: tuple[int, ...] = ()
            self._addresses: dict[str, int] = {}

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            least, _, most = self._engine._shapes
            self._shape = tuple(shape)
            return all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True))

        def set_tensor_address(self, name: str, memory: int) -> bool:
            host.at(memory, 1)
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            capturing = host._capture is not None
            if behaviour.execution_fails or (capturing and behaviour.refuses_capture):
                complain(self._engine._logger, behaviour.execution_fails or "not permitted")
                return False
            shape, addresses = self._shape, dict(self._addresses)
            (source, target) = (addresses[tensor.name] for tensor in self._engine._tensors)
            session = self._engine._session

            def work() -> None:
                pictures = host.at(source, int(np.prod(shape))).reshape(shape)
                (found,) = session.run(None, {"images": pictures})
                found = found + np.float32(behaviour.wrong_by) * np.float32(found == found.max())
                host.at(target, found.nbytes)[:] = found.reshape(-1).view(np.uint8)

            host.enqueue(work)
            return True

    module = SimpleNamespace(__version__=version, **enums)
    for kind in (ILogger, IProgressMonitor, OnnxParser, Builder, Runtime):
        setattr(module, kind.__name__, kind)
    return module, recorder, behaviour


def _report(monitor: Any, behaviour: Behaviour) -> bool:
    """Announce phases as TensorRT does: nested, by position, some of them cut short."""
    if not monitor._constructed:
        raise TypeError("IProgressMonitor.__init__() must be called when overriding __init__")
    monitor.phase_start("Building engine", None, 2)
    monitor.phase_start("Timing tactics", "Building engine", 5)
    for step in range(3):
        if behaviour.stopped_at_step == step:
            monitor.interrupted = True
        if not monitor.step_complete("Timing tactics", step):
            return False
    monitor.phase_finish("Timing tactics")
    going_on = monitor.step_complete("Building engine", 0)
    monitor.phase_finish("Building engine")
    return bool(going_on)
