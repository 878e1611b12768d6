"""Which rows stand for all where there are too many to look at each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def evenly_spread(count: int, most: int) -> npt.NDArray[np.intp]:
    """Rows from first to last, all or an even spread of at most so many."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.intp))
