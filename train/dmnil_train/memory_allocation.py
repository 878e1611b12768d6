"""Keeps the C library from giving memory back between one layer and the next."""

from __future__ import annotations

import ctypes
import logging
import sys

logger = logging.getLogger(__name__)

_TRIM_THRESHOLD, _LARGEST_MAPPED_COUNT = -1, -4
_NEVER_TRIM = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the process; elsewhere nothing is changed.

    By default every large tensor is a mapping of its own, and the kernel clears its pages anew each
    time: on virtual machines that was seen to cost more than the arithmetic (EfficientNet-Lite2 on
    a processor: 11 to 21 ms of system time an image beside 10 ms of computing, 0.1 to 2.5 without).
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        library = ctypes.CDLL(None)
        library.mallopt(_LARGEST_MAPPED_COUNT, 0)
        library.mallopt(_TRIM_THRESHOLD, _NEVER_TRIM)
    except (OSError, AttributeError):
        logger.debug("the C library has no mallopt: memory is allocated as ever")
