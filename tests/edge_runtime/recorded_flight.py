"""Flies a folder of pictures as a live flight would be flown, recorder and all, for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edge_runtime.contract.artefact import MANIFEST_NAME, sha256_of_file
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.fix import Fix
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.engines import open_engine
from edge_runtime.flight_camera import CameraConfig, open_flight_camera
from edge_runtime.flight_log.config import FlightLogConfig
from edge_runtime.flight_log.header import FlightHeader
from edge_runtime.flight_log.recorder import FlightRecorder
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.localiser import Localiser
from edge_runtime.localize.saved_state import LocaliserState, state_as_text
from edge_runtime.outputs.fix_log import FixLog
from edge_runtime.sources.folder import FolderSource


def record_flight(
    folder: Path,
    encoder: Path,
    map_folder: Path,
    frames: Path,
    telemetry: Path,
    *,
    log: FlightLogConfig | None = None,
    first_frame: int = 0,
    most_frames: int = 10**9,
    silent_after: int = -1,
    with_bytes: bool = True,
    state: LocaliserState | None = None,
) -> tuple[list[Fix], LocaliserState]:
    """Write log files and fixes to a folder, without a manifest; the fixes, and what is known then.

    Args:
        silent_after: After this frame the localiser hears three times that no frame came.
        with_bytes: Whether frames bring the bytes that they were decoded from.
    """
    folder.mkdir(parents=True)
    bundle, region_map = load_encoder_bundle(encoder), load_region_map(map_folder)
    flight_camera = open_flight_camera(telemetry, CameraConfig())
    settings = LocaliserConfig()
    header = FlightHeader(
        is_live=False,
        encoder=encoder,
        encoder_sha256=bundle.encoder_sha256,
        map=map_folder,
        map_manifest_sha256=sha256_of_file(map_folder / MANIFEST_NAME),
        precision="fp32",
        engine="onnxruntime",
        threads=1,
        localiser=settings,
        saved_state=None if state is None else state_as_text(state),
    )
    recorder = FlightRecorder(folder, log or FlightLogConfig(min_free_mb=0.0), header)
    fix_log = FixLog(folder)
    engine = open_engine(bundle, "fp32", "onnxruntime", 1)
    localiser: Localiser | None = None
    fixes: list[Fix] = []
    for count, frame in enumerate(FolderSource(frames)):
        if count < first_frame:
            continue
        if count == first_frame + most_frames:
            break
        if with_bytes:
            frame = replace(frame, encoded=(frames / frame.name).read_bytes())
        else:
            frame = replace(frame, encoded=None)
        sample = flight_camera.sample_of(frame)
        frame = recorder.as_logged(frame)
        recorder.frame(frame, sample)
        if frame.image is None or sample is None:
            continue
        if localiser is None:
            camera = flight_camera.camera_for(frame.image.shape[1], frame.image.shape[0])
            recorder.camera(camera)
            localiser = Localiser(
                engine, region_map, bundle.input_width, camera, settings, state=state
            )
        new = [localiser.process(frame.name, frame.image, sample)]
        if count == silent_after:
            new += [
                localiser.without_view("", sample.time_s + n + 1.0, f"no frame for {n + 1} s")
                for n in range(3)
            ]
        for fix in new:
            recorder.fix(replace(fix, latency_ms=1.0))
            fix_log.write(fix)
            fixes.append(fix)
    recorder.close()
    fix_log.close()
    if localiser is None:
        raise ValueError("nothing was flown")
    return fixes, localiser.saved_state()
