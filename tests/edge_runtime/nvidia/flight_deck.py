"""A bundle, a double of TensorRT and a pretend GPU, put together as the runtime does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.engines.device_memory import Gpu
from edge_runtime.engines.tensorrt import TensorRtEngine
from edge_runtime.engines.tensorrt_config import TensorRtConfig
from edge_runtime.engines.tensorrt_library import TensorRt
from tests.edge_runtime.nvidia.host_gpu import ORIN, HostDevice, HostGpu
from tests.edge_runtime.nvidia.signatures import Recorder
from tests.edge_runtime.nvidia.tensorrt_double import Behaviour, tensorrt_double


@dataclass
class FlightDeck:
    """One machine: TensorRT of a version, a GPU, a cache folder. Each start is a new process."""

    cache: Path
    version: str = "10.3.0"
    gpu: Gpu = ORIN
    graphs: bool = True
    host: HostGpu = field(default_factory=HostGpu)
    behaviour: Behaviour = field(init=False)
    recorder: Recorder = field(init=False)
    library: TensorRt = field(init=False)
    device: HostDevice = field(init=False)

    def __post_init__(self) -> None:
        self.start_process()

    def start_process(self) -> None:
        module, self.recorder, self.behaviour = tensorrt_double(self.version, self.host)
        self.library = TensorRt(module)
        self.device = HostDevice(self.host, self.gpu, self.graphs)

    def open(self, bundle: EncoderBundle, precision: str = "fp32", **config: Any) -> TensorRtEngine:
        config = {"cache_folder": self.cache, "max_batch": 6, **config}
        return TensorRtEngine(
            bundle, precision, TensorRtConfig(**config), self.library, self.device
        )

    def engine_folders(self) -> list[Path]:
        return sorted(self.cache.glob("*.engine"))
