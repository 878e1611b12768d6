"""Hundreds of generated flights through the localiser: is what it publishes true?

    python tests/benchmarks/flight_campaign.py --work DIR --flights 200 --workers 2 --json out.json

Season, light, weather, height, pitch and speed vary; telemetry is wrong by as much as
`localiser.telemetry_error` states; one flight of five is over a town that its map does not show.
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
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from campaign_flights import (
    CAMERA,
    FRAMES,
    LATITUDE_DEG,
    LONGITUDE_DEG,
    MAPS,
    FlightPlan,
    RenderedFlight,
    map_of,
    plan_of,
    rendered,
)
from jsonargparse import auto_cli

import edge_runtime.localize
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.region_map import RegionMap, load_region_map
from edge_runtime.engines import Engine, open_engine
from edge_runtime.localize.camera import CameraPose
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.localiser import Localiser
from edge_runtime.localize.rectify import choose_window
from edge_runtime.progress import progress_bar
from edge_runtime.qualify.flight_record import FlightRecord, record_of
from edge_runtime.qualify.telemetry_errors import TelemetryErrors
from edge_runtime.qualify.trial_score import TrialScore, score_trial
from edge_runtime.sample_flight import SAMPLE_ENCODER
from edge_runtime.telemetry.log import TelemetrySample


@dataclass(frozen=True)
class CampaignConfig:
    """What to fly, and where its parts are kept."""

    work: Path
    """Folder for worlds' maps, frames, descriptors and results; about 2.5 MB a flight."""
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


class RememberedEngine:
    """An engine that remembers descriptors by what is in the picture, from campaign to campaign."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine, self._path = engine, path
        self._known: dict[str, np.ndarray] = {}
        self._is_new = False
        if path.is_file():
            with np.load(path) as stored:
                self._known = dict(zip(stored["keys"], stored["descriptors"], strict=True))

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Descriptors (N, D) of pictures (N, H, W, 3)."""
        keys = [hashlib.blake2b(image.tobytes(), digest_size=12).hexdigest() for image in images]
        missing = [number for number, key in enumerate(keys) if key not in self._known]
        if missing:
            self._is_new = True
            fresh = self._engine.encode(np.ascontiguousarray(images[missing]))
            self._known.update(zip([keys[number] for number in missing], fresh, strict=True))
        return np.stack([self._known[key] for key in keys])

    def save(self) -> None:
        """Keep what was computed."""
        if self._is_new:
            beside = self._path.with_suffix(".partial.npz")
            np.savez(
                beside, keys=np.array(list(self._known)), descriptors=list(self._known.values())
            )
            beside.rename(self._path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def fly_campaign(config: CampaignConfig) -> dict[str, Any]:
    """Fly what has not been flown and return all figures."""
    config.work.mkdir(parents=True, exist_ok=True)
    results = config.work / "results" / _fingerprint(config)
    results.mkdir(parents=True, exist_ok=True)
    for kind in MAPS:
        map_of(kind, config.encoder, config.work)
    started = time.perf_counter()
    tasks = [(config, number, results) for number in range(config.flights)]
    records: dict[int, FlightRecord] = {}
    with progress_bar("flight_campaign", len(tasks), "flight") as progress:
        if config.workers > 1:
            with multiprocessing.get_context("spawn").Pool(config.workers) as pool:
                for number, record in pool.imap_unordered(_flown, tasks):
                    records[number] = record
                    progress.update()
        else:
            for task in tasks:
                number, record = _flown(task)
                records[number] = record
                progress.update()
    plans = [plan_of(number, config.seed) for number in range(config.flights)]
    in_order = [records[plan.number] for plan in plans]
    return {
        "flights": config.flights,
        "seed": config.seed,
        "frames_a_flight": FRAMES,
        "wall_s": round(time.perf_counter() - started, 1),
        "settings": json.loads(json.dumps(asdict(config.localiser))),
        "all": asdict(score_trial(in_order, [plan.is_foreign for plan in plans])),
        "by_map": _grouped(plans, in_order, lambda plan: plan.map_kind),
        "by_weather": _grouped(plans, in_order, lambda plan: plan.weather),
        "by_pitch": _grouped(plans, in_order, lambda plan: f"{plan.pitch_deg:.0f}"),
        "worst": _worst(plans, in_order),
    }


def _flown(task: tuple[CampaignConfig, int, Path]) -> tuple[int, FlightRecord]:
    """Fly one flight, or read what became of it before."""
    config, number, results = task
    cv2.setNumThreads(1)
    path = results / f"{number:03d}.npz"
    if path.is_file():
        return number, FlightRecord.load(path)
    plan = plan_of(number, config.seed)
    flight = rendered(plan, config.seed, config.work)
    region_map = load_region_map(map_of(plan.map_kind, config.encoder, config.work))
    bundle = load_encoder_bundle(config.encoder)
    engine = RememberedEngine(
        open_engine(bundle, "fp32", "onnxruntime", 1),
        config.work / f"{number:03d}.{bundle.encoder_sha256[:8]}.descriptors.npz",
    )
    record = fly(plan, flight, engine, region_map, bundle.input_width, config)
    engine.save()
    record.save(path)
    return number, record


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
    rng = np.random.default_rng([config.seed, plan.number, 57])
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


def _grouped(plans: Sequence[FlightPlan], records: Sequence[FlightRecord], key: Any) -> Any:
    groups: dict[str, list[int]] = {}
    for number, plan in enumerate(plans):
        groups.setdefault(key(plan), []).append(number)
    return {
        name: asdict(
            score_trial(
                [records[number] for number in numbers],
                [plans[number].is_foreign for number in numbers],
            )
        )
        for name, numbers in sorted(groups.items())
    }


def _worst(plans: Sequence[FlightPlan], records: Sequence[FlightRecord]) -> list[dict[str, Any]]:
    """The flights to look at: with false fixes, or badly contained."""
    worst = []
    for plan, record in zip(plans, records, strict=True):
        score = score_trial([record], [plan.is_foreign])
        contained = 1.0 if score.containment is None else score.containment
        if score.false_fixes or score.wrong_while_coasting or contained < 0.7:
            worst.append(
                {
                    **asdict(plan),
                    "false_fixes": score.false_fixes,
                    "wrong_while_coasting": score.wrong_while_coasting,
                    "contained": score.containment,
                    "largest_error_m": score.largest_error_m,
                }
            )
    return worst


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| flights | out of map | positions | false / coasting wrong | bound per fix / per flight "
        "| contained | median radius, m | available: distinctive / all | first fix, s: median / "
        "90 % | error, m: median / 95 % / largest | out of map said: truly / wrongly |",
        "| --- " * 11 + "|",
    ]
    groups = [("all", figures["all"])]
    for grouping in ("by_map", "by_weather", "by_pitch"):
        groups += list(figures[grouping].items())
    lines += [_row(name, TrialScore(**score)) for name, score in groups]
    return "\n".join(lines)


def _row(name: str, score: TrialScore) -> str:
    def text(value: float | None, digits: int = 2) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return (
        f"| {name}: {score.flights} | {score.foreign_flights} | {score.published} "
        f"| {score.false_fixes} / {score.wrong_while_coasting} "
        f"| {score.false_fix_bound:.1e} / {text(score.false_flight_bound, 3)} "
        f"| {text(score.containment, 3)} | {text(score.median_radius95_m, 0)} "
        f"| {text(score.distinctive_availability)} / {text(score.availability)} "
        f"| {text(score.median_s_to_first_fix, 0)} / {text(score.p90_s_to_first_fix, 0)} "
        f"| {text(score.median_error_m, 1)} / {text(score.p95_error_m, 0)} / "
        f"{text(score.largest_error_m, 0)} "
        f"| {text(score.foreign_flights_called_out_of_map)} / "
        f"{text(score.out_of_map_frames_over_the_map, 3)} |"
    )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    chosen: CampaignConfig = auto_cli(CampaignConfig, as_positional=False)
    measured = fly_campaign(chosen)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(measured, indent=2) + "\n")
    sys.stdout.write(table(measured) + "\n")
    for flight in measured["worst"]:
        sys.stdout.write(json.dumps(flight) + "\n")
