"""TensorRT's build progress as a bar; Ctrl-C ends the build at its next step."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


def progress_monitor(module: Any, bar: tqdm[Any]) -> Any | None:
    """An IProgressMonitor that draws into a bar; None where the module has no such interface.

    Phases are nested and announced one by one, so that the bar's total grows during the build.
    Its attribute `interrupted` tells whether Ctrl-C ended the build.
    """
    if not hasattr(module, "IProgressMonitor"):
        return None

    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        """No exception may leave its methods: their caller is C++."""

        def __init__(self) -> None:
            super().__init__()
            self.interrupted = False
            self._left: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            """A phase of so many steps begins within its parent."""
            try:
                self._left[phase_name] = num_steps
                bar.total = (bar.total or 0) + num_steps
                bar.set_postfix_str(phase_name)
            except KeyboardInterrupt:
                self.interrupted = True

        def step_complete(self, phase_name: str, step: int) -> bool:
            """One step is done; False asks TensorRT to stop."""
            try:
                if self._left.get(phase_name, 0) > 0:
                    self._left[phase_name] -= 1
                    bar.update()
            except KeyboardInterrupt:
                self.interrupted = True
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            """A phase ends, perhaps without having taken all of its steps."""
            try:
                bar.update(self._left.pop(phase_name, 0))
            except KeyboardInterrupt:
                self.interrupted = True

    return Monitor()
