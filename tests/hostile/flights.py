"""What the runtime wrote itself, and a disk or a hand has altered."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

from edge_runtime.contract.fix import Fix, IntegrityState, MatchedPlace, Position, Velocity
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.flight_log.channels import HEADER_METADATA, LOG_PROFILE
from edge_runtime.flight_log.config import FlightLogConfig
from edge_runtime.flight_log.header import FlightHeader
from edge_runtime.flight_log.reader import LoggedFrame, open_flight_log
from edge_runtime.flight_log.recorder import FlightRecorder
from edge_runtime.localize.camera import PinholeCamera
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.saved_state import (
    LocaliserState,
    SavedPlace,
    boot_id,
    load_state,
    save_state,
)
from edge_runtime.outputs.fix_log import csv_of, geojson_of, read_fix_lines
from edge_runtime.outputs.output import SentMessage
from edge_runtime.sample_flight import SAMPLE_MAP
from edge_runtime.sources.frame import Frame
from edge_runtime.telemetry.log import TelemetrySample
from tests.hostile.mutation import mutated, mutated_json, mutated_tree
from tests.hostile.reader import HarmError, InputReader, require_finite

FIX = Fix(
    "000001",
    12.25,
    IntegrityState.TRACKING,
    "recent views agree",
    Position(47.1, 8.2, 4.0, 9.0, 0.3, 12.5),
    velocity=Velocity(3.0, -1.0, 0.5),
    heading_deg=12.5,
    viewed_matches=(MatchedPlace(47.1, 8.2, 0.5),),
    stage_ms={"encode": 1.5},
    latency_ms=25.125,
)


def fix_lines(folder: Path, closing: ExitStack) -> InputReader:
    path = folder / "fixes.jsonl"
    lost = Fix("", 13.0, IntegrityState.LOST, "no view agrees", None)
    lines = [json.loads(json.dumps(fix.as_dict())) for fix in (FIX, lost)]

    def make(rng: Random) -> bytes:
        text = b"\n".join(mutated_json(rng, line) for line in lines[: rng.randrange(1, 3)]) + b"\n"
        return mutated(rng, text) if rng.random() < 0.2 else text

    def read(data: bytes) -> bool:
        path.write_bytes(data)
        fixes = read_fix_lines(path, is_cut_off=len(data) % 2 == 0)
        csv_of(fixes)
        geojson_of(fixes)
        return True

    return InputReader(make, read)


def saved_state(folder: Path, closing: ExitStack) -> InputReader:
    path = folder / "localiser.state"
    region_map = load_region_map(SAMPLE_MAP)
    levels, size = region_map.descriptor_mean.shape
    place = SavedPlace(
        *(10.0, -20.0, 25.0, 30.0, 1.0, 0.9, (0.5, 0.5), (1.0,), 12.0),
        heading_is_given=True,
        height_is_given=True,
    )
    state = LocaliserState(
        map_sha256=region_map.manifest_sha256,
        encoder_sha256=region_map.encoder_sha256,
        wall_time_s=time.time(),
        monotonic_s=time.monotonic(),
        boot_id=boot_id(),
        view_sums=tuple(tuple(0.25 for _ in range(size)) for _ in range(levels)),
        view_weights=(3.0,) * levels,
        reset_counter=2,
        has_published=True,
        place=place,
    )
    save_state(path, state)
    whole = json.loads(path.read_text())
    # Most of the file is the mean view: alterations shall mostly meet the rest.
    body = {**whole, "view_sums": []}

    def make(rng: Random) -> bytes:
        tree = mutated_tree(rng, body) if rng.random() < 0.8 else body
        if isinstance(tree, dict) and tree.get("view_sums") == []:
            tree["view_sums"] = whole["view_sums"]
        if rng.random() < 0.2:
            tree = mutated_tree(rng, tree)
        text = json.dumps(tree).encode()
        return mutated(rng, text) if rng.random() < 0.2 else text

    def read(data: bytes) -> bool:
        path.write_bytes(data)
        loaded = load_state(path, region_map)
        if loaded is None:
            return False
        sums, weights = np.array(loaded.view_sums), np.array(loaded.view_weights)
        if not (np.isfinite(sums).all() and np.isfinite(weights).all()):
            raise HarmError("a mean view that is not finite")
        if loaded.place is not None:
            known = asdict(loaded.place)
            numbers = [value for value in known.values() if isinstance(value, float)]
            if not np.isfinite(numbers).all():
                raise HarmError("a place that is not finite")
        return True

    return InputReader(make, read)


def flight_log(folder: Path, closing: ExitStack) -> InputReader:
    """Log files with altered bytes, and well-formed ones whose messages are altered."""
    flown = folder / "seed.flight"
    flown.mkdir()
    header = FlightHeader(
        is_live=False,
        encoder=Path("a.encoder"),
        encoder_sha256="e" * 64,
        map=Path("a.map"),
        map_manifest_sha256="f" * 64,
        precision="fp32",
        engine="onnxruntime",
        threads=1,
        localiser=LocaliserConfig(),
        prior=(47.0, 8.0, 500.0),
    )
    recorder = FlightRecorder(flown, FlightLogConfig(min_free_mb=0.0), header)
    recorder.camera(PinholeCamera(32, 24, 30.0))
    still = TelemetrySample(0.5, 100.0, 12.0, -90.0, 0.1, 3.0, None)
    picture = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    for number in range(2):
        frame = recorder.as_logged(Frame(f"{number:06d}", picture, number, number * 0.5))
        recorder.frame(frame, still)
        recorder.fix(FIX)
    recorder.decision(FIX, {"top_tiles": [{"score": 4.5}]})
    recorder.sent([SentMessage("mavlink", "ODOMETRY", bytes(20), 12.5)])
    recorder.event("the camera is gone", "warning")
    recorder.counters_now({"captured": 5})
    recorder.close()
    (file,) = flown.glob("*.mcap")
    seed = file.read_bytes()
    entries = _log_entries(seed)
    metadata = json.loads(_log_header(seed))
    path = folder / "log-0001.mcap"

    def make(rng: Random) -> bytes:
        if rng.random() < 0.4:
            return mutated(rng, seed)
        data = _rebuilt(rng, entries, metadata)
        return mutated(rng, data) if rng.random() < 0.1 else data

    def read(data: bytes) -> bool:
        path.write_bytes(data)
        log = open_flight_log(path)
        for entry in log.entries():
            if isinstance(entry, LoggedFrame):
                require_finite(entry.sample)
        return not log.damage

    return InputReader(make, read)


def _log_entries(data: bytes) -> list[tuple[str, bytes]]:
    found = make_reader(BytesIO(data)).iter_messages(log_time_order=False)
    return [(channel.topic, message.data) for _, channel, message in found]


def _log_header(data: bytes) -> str:
    (metadata,) = make_reader(BytesIO(data)).iter_metadata()
    return str(metadata.metadata["json"])


def _rebuilt(rng: Random, entries: list[tuple[str, bytes]], header: Any) -> bytes:
    """A whole log with good checksums, one of whose messages says something else."""
    stream = BytesIO()
    chunked = rng.random() < 0.5
    writer = Writer(stream, use_chunking=chunked, compression=CompressionType.NONE)
    writer.start(profile=LOG_PROFILE)
    if rng.random() < 0.15:
        header = mutated_tree(rng, header)
    try:
        writer.add_metadata(HEADER_METADATA, {"json": json.dumps(header)})
    except UnicodeEncodeError:
        writer.add_metadata(HEADER_METADATA, {"json": "{}"})
    channels: dict[str, int] = {}
    altered = rng.randrange(len(entries))
    for number, (topic, content) in enumerate(entries):
        if topic not in channels:
            schema = writer.register_schema(topic, "", b"")
            channels[topic] = writer.register_channel(topic, "json", schema)
        if number == altered:
            try:
                content = mutated_json(rng, json.loads(content))
            except ValueError:
                content = mutated(rng, content)
        writer.add_message(channels[topic], number, content, number, number // 2)
    writer.finish()
    return stream.getvalue()
