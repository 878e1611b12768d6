"""Telemetry logs and true places, as hostile inputs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import numpy as np

from edge_runtime.sample_flight import SAMPLE_FLIGHT
from edge_runtime.telemetry.csv_log import read_csv_log
from edge_runtime.telemetry.dji_subtitle import read_dji_subtitle
from edge_runtime.telemetry.log import TelemetryLog
from edge_runtime.telemetry.truth import read_truth
from tests.hostile.mutation import mutated
from tests.hostile.reader import HarmError, InputReader, require_finite


def _log_reader(read: Callable[[Path], TelemetryLog], path: Path) -> Callable[[bytes], bool]:
    def look(data: bytes) -> bool:
        path.write_bytes(data)
        log = read(path)
        times_s = [sample.time_s for sample in log.samples[:20]]
        for sample in log.samples:
            require_finite(sample)
        for first_s, second_s in pairwise(times_s):
            for share in (0.0, 0.25, 0.5):
                require_finite(log.at(first_s + share * (second_s - first_s), float("inf")))
        return True

    return look


CSV = (
    b"frame,time_s,height_above_takeoff_m,heading_deg,camera_pitch_deg,camera_roll_deg,"
    b"velocity_east_m_s,velocity_north_m_s\n"
    b"000001.jpg,0.0,100.5,359.0,-45.0,0.1,3.0,-1.5\n000002.jpg,0.5,101.0,1.0,-45.0,0.0,3.1,-1.4\n"
    b"000003.jpg,1.0,101.5,3.0,-46.0,-0.2,,\n"
)


def csv_telemetry(folder: Path, closing: ExitStack) -> InputReader:
    sample = b"".join((SAMPLE_FLIGHT / "frames.csv").read_bytes().splitlines(keepends=True)[:12])
    seeds = (CSV, sample)
    return InputReader(
        lambda rng: mutated(rng, rng.choice(seeds), seeds),
        _log_reader(lambda path: read_csv_log(path, -45.0), folder / "telemetry.csv"),
    )


def _subtitle(gimbal: bool) -> bytes:
    entries = []
    for number in range(1, 6):
        angles = f"[gb_yaw: {number * 9.5} gb_pitch: -60.0 gb_roll: 0.0] " if gimbal else ""
        entries.append(
            f"{number}\n00:00:0{number - 1},000 --> 00:00:0{number},000\n"
            f'<font size="28">FrameCnt: {number}, DiffTime: 33ms\n'
            f"2024-05-01 10:00:0{number}.500\n[iso: 100] [shutter: 1/500.0] [fnum: 2.8] "
            f"[focal_len: 24.00] [latitude: {47.1 + number * 1e-4}] [longitude: 8.2] "
            f"[rel_alt: {100.0 + number} abs_alt: 520.1] {angles}</font>\n"
        )
    return "\n".join(entries).encode()


def dji_subtitle(folder: Path, closing: ExitStack) -> InputReader:
    seeds = (_subtitle(gimbal=True), _subtitle(gimbal=False))
    return InputReader(
        lambda rng: mutated(rng, rng.choice(seeds), seeds),
        _log_reader(lambda path: read_dji_subtitle(path, -60.0), folder / "flight.srt"),
    )


def truth(folder: Path, closing: ExitStack) -> InputReader:
    path = folder / "truth.csv"
    seed = b"".join((SAMPLE_FLIGHT / "truth.csv").read_bytes().splitlines(keepends=True)[:8])

    def read(data: bytes) -> bool:
        path.write_bytes(data)
        for place in read_truth(path).values():
            if not np.isfinite(list(vars(place).values())).all():
                raise HarmError("a true place that is not finite")
        return True

    return InputReader(lambda rng: mutated(rng, seed), read)
