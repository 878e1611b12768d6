"""The tensorrt module: found, new enough, and its log kept for error messages."""

from __future__ import annotations

import importlib
import logging
import re
from collections import deque
from typing import Any

from edge_runtime.contract.errors import EngineError

_LOG = logging.getLogger(__name__)
_OLDEST = (10, 0)
_KEPT_ERRORS = 8
_LONGEST_ERROR = 300


class TensorRt:
    """The module, its version, and the one logger that all of its objects share.

    Args:
        product: What to call it: TensorRT-RTX is another product with the same interface.
    """

    def __init__(self, module: Any, product: str = "TensorRT") -> None:
        self.module = module
        self.product = product
        self.version = str(module.__version__)
        self._errors: deque[str] = deque(maxlen=_KEPT_ERRORS)
        self._runtime: Any = None
        self.logger = self._make_logger()

    @property
    def title(self) -> str:
        """Product and version, for messages."""
        return f"{self.product} {self.version}"

    def load(self, plan: bytes) -> Any | None:
        """An engine of a serialized one, inside the GPU's context; None if TensorRT refuses.

        Raises:
            EngineError: If TensorRT cannot start at all.
        """
        self.forget_errors()
        if self._runtime is None:  # kept here, since it must outlive its engines
            try:
                self._runtime = self.module.Runtime(self.logger)
            except (TypeError, RuntimeError) as error:  # how the bindings say they got nothing
                raise EngineError(f"{self.title} cannot start: {self.first_error()}") from error
        return self._runtime.deserialize_cuda_engine(plan)

    def forget_errors(self) -> None:
        """Begin a step whose errors alone shall be reported."""
        self._errors.clear()

    def first_error(self) -> str:
        """What TensorRT said first about the step that failed, in one line."""
        if not self._errors:
            return "it gave no reason"
        text = " ".join(self._errors[0].split())
        return text if len(text) <= _LONGEST_ERROR else text[:_LONGEST_ERROR] + "..."

    def _make_logger(self) -> Any:
        severities = self.module.ILogger.Severity
        failures = (severities.INTERNAL_ERROR, severities.ERROR)
        errors = self._errors

        class Logger(self.module.ILogger):  # type: ignore[name-defined,misc]
            """Keeps errors for the exception to come; everything goes to the log, quietly."""

            def __init__(self) -> None:
                super().__init__()

            def log(self, severity: Any, msg: str) -> None:
                """Called by TensorRT, from any of its threads."""
                if severity in failures:
                    errors.append(msg)
                _LOG.log(logging.INFO if severity in failures else logging.DEBUG, "%s", msg)

        return Logger()


def load_tensorrt() -> TensorRt:
    """Import TensorRT; nothing of it is constructed, since that needs a driver.

    Raises:
        EngineError: If it is not installed, or older than 10.0.
    """
    try:
        module = importlib.import_module("tensorrt")
    except ImportError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EngineError(
            f"TensorRT cannot be imported ({reason}): on a Jetson JetPack 6.1 or later brings it, "
            "and a virtual environment needs --system-site-packages to see it; else fly with the "
            "engine onnxruntime"
        ) from error
    version = str(getattr(module, "__version__", ""))
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        raise EngineError(f"the module tensorrt has no version ({version!r}): install it again")
    if (int(numbers[1]), int(numbers[2])) < _OLDEST:
        raise EngineError(
            f"TensorRT {version} is too old, 10.0 is the oldest that works: JetPack 5 carries 8.5, "
            "JetPack 6.0 carries 8.6, so install JetPack 6.1 or later, or fly with the engine "
            "onnxruntime"
        )
    return TensorRt(module)
