"""An ONNX graph into a serialized TensorRT engine.

The precision lies in the graph: the network is strongly typed, and no builder flag lowers it
(TensorRT 11 has none left). Float32 convolutions may run as TF32, which is TensorRT's default.
Everything runs on the GPU: the deep learning accelerators (DLA) of some Jetsons are out of scope.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_runtime.contract.errors import EngineError
from edge_runtime.engines.tensorrt_library import TensorRt
from edge_runtime.engines.tensorrt_progress import progress_monitor
from edge_runtime.progress import progress_bar

INPUT_NAME = "images"
_NAMED_NODES = 5
_ALWAYS_STRONGLY_TYPED = 11


@dataclass(frozen=True)
class BuildRequest:
    """What to build, and within which limits."""

    source: str
    """The graph's path, for messages."""
    onnx: bytes
    picture_shape: tuple[int, int, int]
    """Height, width and 3."""
    usual_batch: int
    """The number of pictures to be fastest at."""
    max_batch: int
    workspace_bytes: int
    """GPU memory that one layer may use for scratch."""


@dataclass(frozen=True)
class BuiltEngine:
    """A serialized engine, and what was timed for it."""

    plan: bytes
    timing_cache: bytes | None


def build_engine(
    library: TensorRt, request: BuildRequest, timing_cache: bytes | None = b""
) -> BuiltEngine:
    """Build an engine; takes seconds to many minutes and shows its progress.

    Args:
        timing_cache: What an earlier build on the same GPU and version left; empty starts one,
            None does without.
    Raises:
        EngineError: If TensorRT cannot run the graph, or the GPU has too little memory.
        KeyboardInterrupt: If Ctrl-C ended it.
    """
    trt = library.module
    library.forget_errors()
    try:
        builder = trt.Builder(library.logger)
        network = builder.create_network(_network_flags(library))
        config = builder.create_builder_config()
    except (TypeError, RuntimeError) as error:  # how the bindings say that they got nothing
        raise EngineError(
            f"{library.title} cannot start a build: {library.first_error()}"
        ) from error
    # The parser owns the network's weights: it must outlive the build.
    parser = _parse(library, network, request)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    config.add_optimization_profile(_profile(builder, network, request))
    cache = None if timing_cache is None else _attach_timing_cache(config, timing_cache)
    with progress_bar(f"{library.product} engine", 0, "step") as bar:
        monitor = progress_monitor(trt, bar)
        if monitor is not None:
            config.progress_monitor = monitor
        library.forget_errors()
        memory = builder.build_serialized_network(network, config)
    del parser
    if monitor is not None and monitor.interrupted:
        raise KeyboardInterrupt
    if memory is None:
        raise EngineError(f"{library.title} cannot build {request.source}: {library.first_error()}")
    return BuiltEngine(bytes(memory), None if cache is None else bytes(cache.serialize()))


def _network_flags(library: TensorRt) -> int:
    """The flag's number differs between releases: 1 in 10.x, 0 in 11.x, which ignores it."""
    flag = getattr(library.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    if flag is not None:
        return 1 << int(flag)
    if int(library.version.split(".")[0]) < _ALWAYS_STRONGLY_TYPED:
        raise EngineError(f"{library.title} has no strongly typed networks")
    return 0


def _parse(library: TensorRt, network: Any, request: BuildRequest) -> Any:
    parser = library.module.OnnxParser(network, library.logger)
    if not parser.parse(request.onnx):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        raise EngineError(_refusal(library, request.source, errors))
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    found = {tensor.name: tuple(tensor.shape) for tensor in inputs}
    shape = found.get(INPUT_NAME, ())
    if len(found) != 1 or shape[1:] != request.picture_shape:
        raise EngineError(
            f"{request.source} takes {found}, its bundle says one input '{INPUT_NAME}' of "
            f"(N, {', '.join(map(str, request.picture_shape))})"
        )
    if shape[0] != -1:
        raise EngineError(
            f"{request.source} takes batches of {shape[0]} only: export it again with dmnil-export"
        )
    return parser


def _refusal(library: TensorRt, source: str, errors: list[Any]) -> str:
    """Names the nodes that the parser blames; what is no graph at all has none."""
    nodes = [
        f"{error.node_operator()} '{error.node_name()}'"
        for error in errors
        if error.node_operator()
    ]
    nodes = list(dict.fromkeys(nodes))
    reason = " ".join(errors[0].desc().split()) if errors else library.first_error()
    if not nodes:
        return f"{library.title} cannot read {source}: {reason}"
    named = ", ".join(nodes[:_NAMED_NODES])
    more = f" and {len(nodes) - _NAMED_NODES} more" if len(nodes) > _NAMED_NODES else ""
    return (
        f"{library.title} cannot run {named}{more} of {source} ({reason}): "
        "fly with the engine onnxruntime, or export another encoder"
    )


def _profile(builder: Any, network: Any, request: BuildRequest) -> Any:
    profile = builder.create_optimization_profile()
    batches = (1, request.usual_batch, request.max_batch)
    profile.set_shape(INPUT_NAME, *((count, *request.picture_shape) for count in batches))
    return profile


def _attach_timing_cache(config: Any, content: bytes) -> Any:
    """Use an earlier build's timings; where they do not fit, start afresh."""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache
