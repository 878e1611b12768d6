"""What one frame came to, as far as it got through the stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_runtime.localize.hypothesis_evidence import ScoredView
from edge_runtime.localize.integrity import ViewEvidence
from edge_runtime.localize.view import ViewedGround
from edge_runtime.localize.viewed_matches import NO_MATCHES, ViewedMatches


@dataclass
class FrameRecord:
    """A frame's way to its fix; what it did not come to stays as it is here."""

    name: str
    time_s: float
    ground: ViewedGround | None = None
    """What the likeliest hypothesis sees."""
    view: npt.NDArray[np.uint8] | None = None
    """The picture of it from straight above, (size, size, 3) RGB."""
    matches: ViewedMatches = NO_MATCHES
    """The whole map's best tiles, where they are asked for."""
    best_view: ScoredView | None = None
    """The view whose best place scores highest."""
    evidence: ViewEvidence | None = None
    """What integrity hears of the frame; None if it is no evidence."""
    spent_ms: dict[str, float] = field(default_factory=dict)
    """Time spent by stage; stages that did not run are absent."""

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count what runs inside towards a stage, though it fail."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent_ms = (time.perf_counter() - start) * 1e3
            self.spent_ms[stage] = self.spent_ms.get(stage, 0.0) + spent_ms
