"""The views of one frame under hypotheses of heading and height, and which are worth encoding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.filter import PoseFilter
from edge_runtime.localize.hypotheses import Hypothesis
from edge_runtime.localize.reference_pose import ReferencePose
from edge_runtime.localize.view import ViewedGround, ViewMaker

_SAME_PICTURE_DEG = 3.0
_HEADING_KNOWN_DEG = 30.0


class HypothesisViews:
    """Makes views as hypotheses have them, counted from the reference pose."""

    def __init__(self, maker: ViewMaker, reference: ReferencePose, config: LocaliserConfig) -> None:
        self._maker = maker
        self._reference = reference
        self._config = config

    def ground(self, pose_filter: PoseFilter, hypothesis: Hypothesis) -> ViewedGround:
        """The ground that the camera sees if a hypothesis is true."""
        offset_deg = pose_filter.headings.offset_deg(hypothesis.heading)
        height_m = self._reference.height_m * pose_filter.heights.multiple(hypothesis.height)
        return self._maker.ground(self._reference.attitude(offset_deg), height_m)

    def likeliest_ground(self, pose_filter: PoseFilter) -> tuple[Hypothesis, ViewedGround]:
        """What the likeliest hypothesis sees, or the likeliest that sees enough of a footprint."""
        least = self._config.quality.smallest_coverage
        first: tuple[Hypothesis, ViewedGround] | None = None
        for hypothesis in pose_filter.likeliest(self._config.hypotheses.encodings_cold, 0.0):
            ground = self.ground(pose_filter, hypothesis)
            if first is None:
                first = hypothesis, ground
            if ground.coverage >= least:
                return hypothesis, ground
        if first is None:
            raise RuntimeError("the filter has no hypothesis")
        return first

    def picture(self, image: npt.NDArray[np.uint8], ground: ViewedGround) -> npt.NDArray[np.uint8]:
        """The ground from straight above, (size, size, 3) RGB, of an (H, W, 3) RGB picture."""
        return self._maker.picture(image, ground)

    def worth_encoding(
        self,
        pose_filter: PoseFilter,
        image: npt.NDArray[np.uint8],
        ground: ViewedGround,
        view: npt.NDArray[np.uint8],
        is_evidence: bool,
    ) -> tuple[dict[Hypothesis, ViewedGround], list[npt.NDArray[np.uint8]]]:
        """The views worth encoding, each with its ground; at least one.

        Args:
            image: (H, W, 3) RGB.
            ground: What odometry saw; `view`, its picture, serves wherever it fits.
            is_evidence: Whether the filter will hear of them, and so lets its headings and heights
                drift.
        """
        config = self._config
        limits = config.hypotheses
        _, deviation_deg = pose_filter.heading_offset_deg()
        is_warm = pose_filter.is_local and deviation_deg <= _HEADING_KNOWN_DEG
        most = limits.encodings_warm if is_warm else limits.encodings_cold
        if is_evidence:
            motion = config.motion
            keys = pose_filter.look(
                motion.heading_drift_deg, motion.height_drift, most, limits.least_share
            )
        else:
            keys = pose_filter.likeliest(most, limits.least_share)
        least = config.quality.smallest_coverage
        seen = {key: self.ground(pose_filter, key) for key in keys}
        enough = {key: seen[key] for key in keys if seen[key].coverage >= least}
        if not enough:
            # None of them sees enough: what one of the less likely sees speaks for that one alone.
            enough = dict([self.likeliest_ground(pose_filter)])
        grounds: dict[Hypothesis, ViewedGround] = {}
        pictures: list[npt.NDArray[np.uint8]] = []
        for key, own in enough.items():
            is_same = _shows_the_same(own, ground)
            grounds[key] = ground if is_same else own
            pictures.append(view if is_same else self.picture(image, own))
        return grounds, pictures


def _shows_the_same(one: ViewedGround, other: ViewedGround) -> bool:
    """Whether pictures of both are nearly the same picture."""
    turn_deg = one.attitude.heading_deg - other.attitude.heading_deg
    turn_deg = abs((turn_deg + 180.0) % 360.0 - 180.0)
    return turn_deg <= _SAME_PICTURE_DEG and abs(one.height_m / other.height_m - 1.0) < 0.01
