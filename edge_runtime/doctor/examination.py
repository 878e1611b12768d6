"""All checks, in the order in which a machine is set up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.doctor.artefacts import check_bundle, check_map, check_source
from edge_runtime.doctor.finding import Finding
from edge_runtime.doctor.gpu import check_cuda
from edge_runtime.doctor.jetpack import check_jetpack
from edge_runtime.doctor.machine import Machine
from edge_runtime.doctor.peripherals import check_cameras, check_serial_ports
from edge_runtime.doctor.power import (
    check_clocks,
    check_power_mode,
    check_power_supply,
    check_temperatures,
)
from edge_runtime.doctor.resources import check_disk, check_memory, check_wall_clock
from edge_runtime.doctor.software import (
    check_cv2,
    check_device_buffers,
    check_onnxruntime,
    check_python,
    check_tensorrt,
)

MACHINE_CHECKS: tuple[Callable[[Machine], Finding], ...] = (
    check_python,
    check_jetpack,
    check_cuda,
    check_tensorrt,
    check_device_buffers,
    check_onnxruntime,
    check_cv2,
    check_power_mode,
    check_power_supply,
    check_clocks,
    check_temperatures,
    check_memory,
    check_disk,
    check_wall_clock,
    check_cameras,
    check_serial_ports,
)


@dataclass(frozen=True)
class DoctorConfig:
    """What the flight is to use; what is left out is not checked."""

    bundle: Path | None = None
    """Encoder bundle, NAME.encoder: hashed, and run on its golden pictures."""
    map: Path | None = None
    """Region map, NAME.map: hashed, and compared with the bundle's encoder."""
    source: str | None = None
    """Folder of pictures, video, or URI of a camera or stream, whose first frame is decoded."""


def examine(machine: Machine, config: DoctorConfig) -> list[Finding]:
    """One finding a check."""
    return [
        *(check(machine) for check in MACHINE_CHECKS),
        check_bundle(config.bundle),
        check_map(config.map, config.bundle),
        check_source(config.source),
    ]
