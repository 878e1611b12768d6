"""Finding out how a camera is really mounted, from a recorded flight over a mapped region.

Views rectified with the wrong angles show the wrong ground, turned and sheared: the angles at
which a whole flight's views agree best with the map under them are the camera's. Those that are
not the telemetry's are the mounting's.
"""

from __future__ import annotations

from edge_runtime.contract.errors import SourceError, TelemetryError
from edge_runtime.engines import open_engine
from edge_runtime.mount_calibration.agreement import MapAgreement
from edge_runtime.mount_calibration.config import FEWEST_VIEWS, MountCalibrationConfig
from edge_runtime.mount_calibration.recording import Recording
from edge_runtime.mount_calibration.result import MountCalibration
from edge_runtime.mount_calibration.search import MountSearch, tries_of
from edge_runtime.opening import open_encoder_and_map
from edge_runtime.progress import progress_bar

_LEAST_AGREEMENT = 1.5
_QUIET_S = 1.0
_SLACK_OF_FOOTPRINT = 1.0


def calibrate(config: MountCalibrationConfig) -> MountCalibration:
    """Estimate the camera's mounting from a recorded flight.

    Raises:
        DmnilError: If an input cannot be used, or the flight does not show the map.
    """
    opened = open_encoder_and_map(config.encoder, config.map)
    region_map = opened.region_map
    engine = open_engine(opened.bundle, "fp32", "onnxruntime", config.threads)
    recording = Recording(config)
    slack_m = 0.0
    if config.positions is None:
        slack_m = _SLACK_OF_FOOTPRINT * max(level.footprint_m for level in region_map.levels)
    agreement = MapAgreement(engine, region_map, opened.input_size, slack_m)
    views, levels = [], []
    for view in recording.spread_views(region_map):
        level = agreement.level_for(view, lambda quaternion: quaternion)
        if level is not None:
            views.append(view)
            levels.append(level)
    if len(views) < FEWEST_VIEWS:
        raise SourceError(
            f"{config.frames}: only {len(views)} frames have telemetry, a position and a view of "
            f"a map footprint; a calibration needs {FEWEST_VIEWS} at least"
        )
    tries = tries_of(config.heading_range_deg, config.pitch_range_deg, config.rounds)
    with progress_bar("calibrate-mount", tries, "try", _QUIET_S) as progress:
        search = MountSearch(agreement, views, levels, recording.mounting, progress.update)
        before = search.agreement((0.0, 0.0, 0.0))
        best = search.coarse(config.heading_range_deg, config.pitch_range_deg)
        for step_deg in search.steps_deg(config.rounds, is_slack=slack_m > 0.0):
            best = search.refine(best, step_deg)
        after = search.agreement(best)
    if after < _LEAST_AGREEMENT:
        raise TelemetryError(
            f"the flight's views agree with the map at no angle ({after:.1f} standard deviations "
            "above chance): do its positions, its heights and this map belong together?"
        )
    return search.result(best, before, after, recording.camera, config.positions is not None)
