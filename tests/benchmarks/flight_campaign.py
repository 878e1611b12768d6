"""Hundreds of generated flights through the localiser: is what it publishes true?

    python tests/benchmarks/flight_campaign.py --work DIR --flights 200 --workers 2 --json out.json

Season, light, weather, height, pitch and speed vary; telemetry is wrong by as much as
`localiser.telemetry_error` states; one flight of five is over a town that its map does not show.
Flights of `--kind cruise`, the standard ones, begin already high; those of `--kind take_off` climb
from the ground, hover, turn in place, and some descend again.
Worlds, maps, frames and descriptors are made once in the work folder. A campaign that was stopped
goes on where it was: flights done with these settings and this code are not flown again.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from campaign_engine import RememberedEngine
from campaign_figures import figures_of, table
from campaign_flights import (
    CAMERA,
    LATITUDE_DEG,
    LONGITUDE_DEG,
    RenderedFlight,
    map_of,
    rendered,
)
from campaign_plans import MAPS, FlightPlan, plans_of
from jsonargparse import auto_cli

import edge_runtime.localize
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.region_map import RegionMap, load_region_map
from edge_runtime.engines import open_engine
from edge_runtime.localize.camera import CameraPose
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.localiser import Localiser
from edge_runtime.localize.rectify import choose_window
from edge_runtime.progress import progress_bar
from edge_runtime.qualify.flight_record import FlightRecord, record_of
from edge_runtime.qualify.telemetry_errors import TelemetryErrors
from edge_runtime.sample_flight import SAMPLE_ENCODER
from edge_runtime.telemetry.log import TelemetrySample

_TELEMETRY = 57


@dataclass(frozen=True)
class CampaignConfig:
    """What to fly, and where its parts are kept."""

    work: Path
    """Folder for worlds' maps, frames, descriptors and results; 2 to 20 MB a flight."""
    kind: Literal["cruise", "take_off", "all"] = "cruise"
    """Flights that begin already high, flights from the ground, or so many of each."""
    flights: int = 200
    """Flights to fly, from the first."""
    seed: int = 1
    """Of all that is drawn."""
    workers: int = 1
    """Processes."""
    encoder: Path = SAMPLE_ENCODER
    """Encoder bundle."""
    json: Path | None = None
    """Where to write the figures."""
    withhold_heading: bool = False
    """Fly without a heading."""
    localiser: LocaliserConfig = field(default_factory=LocaliserConfig)


def fly_campaign(config: CampaignConfig) -> dict[str, Any]:
    """Fly what has not been flown and return all figures."""
    config.work.mkdir(parents=True, exist_ok=True)
    results = config.work / "results" / _fingerprint(config)
    results.mkdir(parents=True, exist_ok=True)
    for kind in MAPS:
        map_of(kind, config.encoder, config.work)
    started = time.perf_counter()
    plans = plans_of(config.kind, config.flights, config.seed)
    tasks = [(config, plan, results) for plan in plans]
    records: dict[str, FlightRecord] = {}
    with progress_bar("flight_campaign", len(tasks), "flight") as progress:
        if config.workers > 1:
            with multiprocessing.get_context("spawn").Pool(config.workers) as pool:
                for name, record in pool.imap_unordered(_flown, tasks):
                    records[name] = record
                    progress.update()
        else:
            for task in tasks:
                name, record = _flown(task)
                records[name] = record
                progress.update()
    return {
        "kind": config.kind,
        "flights": len(plans),
        "seed": config.seed,
        "wall_s": round(time.perf_counter() - started, 1),
        "settings": json.loads(json.dumps(asdict(config.localiser))),
        **figures_of(plans, [records[plan.name] for plan in plans]),
    }


def _flown(task: tuple[CampaignConfig, FlightPlan, Path]) -> tuple[str, FlightRecord]:
    """Fly one flight, or read what became of it before."""
    config, plan, results = task
    cv2.setNumThreads(1)
    path = results / f"{plan.name}.npz"
    if path.is_file():
        return plan.name, FlightRecord.load(path)
    flight = rendered(plan, config.seed, config.work)
    region_map = load_region_map(map_of(plan.map_kind, config.encoder, config.work))
    bundle = load_encoder_bundle(config.encoder)
    engine = RememberedEngine(
        open_engine(bundle, "fp32", "onnxruntime", 1),
        config.work / f"{plan.name}.{bundle.encoder_sha256[:8]}.descriptors.npz",
    )
    record = fly(plan, flight, engine, region_map, bundle.input_width, config)
    engine.save()
    record.save(path)
    return plan.name, record


def fly(
    plan: FlightPlan,
    flight: RenderedFlight,
    engine: Any,
    region_map: RegionMap,
    input_size: int,
    config: CampaignConfig,
) -> FlightRecord:
    """One flight through the localiser that flies."""
    localiser = Localiser(engine, region_map, input_size, CAMERA, config.localiser)
    rng = plan.drawing(config.seed, _TELEMETRY)
    errors = TelemetryErrors(config.localiser.telemetry_error, flight.time_s, rng)
    to_map = region_map.frame.to_local(
        *LocalFrame(LATITUDE_DEG, LONGITUDE_DEG).to_geodetic(flight.poses[:, :2])
    )
    fixes, viewed = [], []
    for frame, (time_s, pose) in enumerate(zip(flight.time_s, flight.poses, strict=True)):
        true = CameraPose(*pose[2:])
        reported = errors.reported(true, frame)
        sample = TelemetrySample(
            time_s=float(time_s),
            height_m=reported.height_m,
            heading_deg=None if config.withhold_heading else reported.heading_deg,
            pitch_deg=reported.pitch_deg,
            roll_deg=reported.roll_deg,
        )
        fixes.append(localiser.process(f"{frame:06d}", flight.picture(frame), sample))
        footprint_m = region_map.levels[0].footprint_m
        window, _ = choose_window(CAMERA, true.attitude, true.height_m, footprint_m)
        viewed.append(to_map[frame] + window.offset_m)
    return record_of(fixes, to_map, np.array(viewed), region_map, is_foreign=plan.is_foreign)


def _fingerprint(config: CampaignConfig) -> str:
    """Names settings and code: results of others are not mixed in."""
    digest = hashlib.blake2b(digest_size=8)
    told = [config.seed, str(config.encoder), config.withhold_heading, asdict(config.localiser)]
    digest.update(json.dumps(told, default=str).encode())
    for path in sorted(Path(edge_runtime.localize.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    chosen: CampaignConfig = auto_cli(CampaignConfig, as_positional=False)
    measured = fly_campaign(chosen)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(measured, indent=2) + "\n")
    sys.stdout.write(table(measured) + "\n")
    if measured["after_climb"] is not None:
        sys.stdout.write(f"from the end of the climb on: {json.dumps(measured['after_climb'])}\n")
    for flight in measured["worst"]:
        sys.stdout.write(json.dumps(flight) + "\n")
