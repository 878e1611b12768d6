"""The GPU and its driver."""

from __future__ import annotations

from edge_runtime.doctor.child import probe
from edge_runtime.doctor.finding import Finding, fail, ok, skipped
from edge_runtime.doctor.machine import Machine


def check_cuda(machine: Machine) -> Finding:
    """The CUDA driver answers and has a device."""
    name = "cuda"
    result = probe(machine, name)
    if result.found is not None:
        found = result.found
        return ok(
            name,
            f"{found['device']}, compute capability {found['compute_capability']}, "
            f"CUDA {found['cuda']}",
        )
    if not machine.is_jetson:
        return skipped(name, f"no GPU to use ({result.reason}); the onnxruntime engine needs none")
    return fail(
        name,
        f"the driver does not answer: {result.reason}",
        "power-cycle the board; the user must be in groups video and render; "
        "in a container: docker run --runtime nvidia",
    )
