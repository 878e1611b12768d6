"""Everything that the runtime reads from outside, each as: make an input, read it, judge it.

A reading ends in a value (True), in a refusal (False), or in the one `DmnilError` of it. Whatever
else it raises is a defect, and so is a value that can do harm: `HarmError`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

from edge_runtime import command_line
from edge_runtime.camera_info import read_camera_info
from edge_runtime.commands import run as run_command
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
    fingerprint,
    load_state,
    save_state,
)
from edge_runtime.mavlink.connection import parse_connection
from edge_runtime.mavlink.framing import FrameCutter
from edge_runtime.mavlink.link import MavlinkConfig, MavlinkLink
from edge_runtime.monitor.config import MonitorConfig
from edge_runtime.monitor.http_server import EventStream, Response, parse_request
from edge_runtime.monitor.monitor import Monitor
from edge_runtime.mounting import GIMBAL, Mounting
from edge_runtime.outputs.fix_log import csv_of, geojson_of, read_fix_lines
from edge_runtime.outputs.json_udp import JsonUdpConfig, JsonUdpOutput
from edge_runtime.outputs.mavlink_config import MavlinkOutputConfig
from edge_runtime.outputs.mavlink_output import MavlinkOutput
from edge_runtime.outputs.nmea_output import NmeaConfig, NmeaOutput
from edge_runtime.outputs.output import SentMessage
from edge_runtime.sample_flight import SAMPLE_FLIGHT, SAMPLE_MAP
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.frame import Frame
from edge_runtime.sources.pipeline import pipeline_text
from edge_runtime.sources.uri import is_source_uri, parse_source_uri
from edge_runtime.telemetry.csv_log import read_csv_log
from edge_runtime.telemetry.dji_subtitle import read_dji_subtitle
from edge_runtime.telemetry.log import TelemetryLog, TelemetrySample
from edge_runtime.telemetry.mavlink_telemetry import MavlinkTelemetry, MavlinkTelemetryConfig
from edge_runtime.telemetry.truth import read_truth
from tests.hostile_inputs import VALUES, mutated, mutated_json, mutated_tree


class HarmError(Exception):
    """A value that must never leave a reader."""


@dataclass(frozen=True)
class InputReader:
    """One kind of input."""

    make: Callable[[Random], bytes]
    read: Callable[[bytes], bool]


OpenReader = Callable[[Path, ExitStack], InputReader]
"""Makes a reader that may write into a folder and is closed with the stack."""


def _finite(sample: TelemetrySample | None) -> None:
    if sample is not None and not sample.is_finite:
        raise HarmError(f"telemetry that is not finite: {sample}")


# Telemetry and truth


def _log_reader(read: Callable[[Path], TelemetryLog], path: Path) -> Callable[[bytes], bool]:
    def look(data: bytes) -> bool:
        path.write_bytes(data)
        log = read(path)
        times_s = [sample.time_s for sample in log.samples[:20]]
        for sample in log.samples:
            _finite(sample)
        for first_s, second_s in pairwise(times_s):
            for share in (0.0, 0.25, 0.5):
                _finite(log.at(first_s + share * (second_s - first_s), float("inf")))
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


# Settings

LENSES: tuple[dict[str, Any], ...] = (
    {
        "image_width": 64,
        "image_height": 48,
        "camera_name": "front",
        "camera_matrix": {"rows": 3, "cols": 3, "data": [50.0, 0, 31.5, 0, 50.0, 23.5, 0, 0, 1]},
        "distortion_model": "plumb_bob",
        "distortion_coefficients": {"rows": 1, "cols": 5, "data": [-0.2, 0.05, 1e-3, -1e-3, 0.0]},
        "mounting": {"type": "fixed", "heading_deg": 0.0, "pitch_deg": -90.0, "roll_deg": 0.0},
    },
    {
        "image_width": 64,
        "image_height": 48,
        "camera_matrix": {"data": [30.0, 0, 31.5, 0, 30.0, 23.5, 0, 0, 1]},
        "distortion_model": "equidistant",
        "distortion_coefficients": {"data": [0.01, 0.0, 0.0, 0.0]},
        "mounting": {"type": "gimbal"},
    },
    {"image_width": 64, "image_height": 48, "focal_px": 50.0},
)
_LARGEST_LENS_PX = 64 * 48
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _mutated_yaml(rng: Random, tree: Any) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 3))):
        tree = mutated_tree(rng, tree)
    try:
        text = yaml.dump(tree, Dumper=_DUMPER, width=200).encode("utf-8", "surrogatepass")
    except (RecursionError, UnicodeEncodeError):
        text = json.dumps(tree).encode()  # which mostly is YAML too
    return mutated(rng, text) if rng.random() < 0.4 else text


def camera_info(folder: Path, closing: ExitStack) -> InputReader:
    path = folder / "camera.yaml"

    def read(data: bytes) -> bool:
        path.write_bytes(data)
        info = read_camera_info(path)
        lens = info.lens
        if lens.width * lens.height > _LARGEST_LENS_PX:
            return True
        camera = info.undistorter_for(lens.width, lens.height).camera
        numbers = (camera.focal_px, camera.centre_x_px, camera.centre_y_px)
        if not np.isfinite(numbers).all() or camera.focal_px <= 0.0:
            raise HarmError(f"an impossible camera: {camera}")
        if info.mounting is not None:
            turn = info.mounting.camera_quaternion(np.array([1.0, 0.0, 0.0, 0.0]))
            if not np.isfinite(turn).all():
                raise HarmError(f"an impossible mounting: {info.mounting}")
        return True

    return InputReader(lambda rng: _mutated_yaml(rng, rng.choice(LENSES)), read)


SETTINGS: tuple[dict[str, Any], ...] = (
    {
        "encoder": "a.encoder",
        "map": "a.map",
        "prior": "47.1,8.2,500",
        "rate_hz": 10.0,
        "source": {"uri": "csi://0", "width": 1280, "height": 720, "stall_s": 3.0},
        "mavlink": {"connection": "/dev/ttyTHS1,921600", "baud": 57600, "system_id": 1},
        "autopilot": {"velocity": "none", "longest_attitude_age_s": 0.5},
        "outputs": {"mavlink": {"feed": "px4"}, "nmea": {"to": "udp:127.0.0.1:10110"}},
        "camera": {"focal_length_35mm": 24.0, "pitch_deg": -45.0},
        "log": {"min_free_mb": 500.0},
        "monitor": {"port": 8350, "address": "127.0.0.1"},
    },
    {
        "encoder": "a.encoder",
        "map": "a.map",
        "frames": "frames",
        "telemetry": "t.csv",
        "every_s": 0.5,
        "threads": 1,
        "localiser": {"frame_matches": 3},
    },
)


def settings_yaml(folder: Path, closing: ExitStack) -> InputReader:
    """edge.yaml as `edge_runtime run --config` takes it, up to the flight itself."""
    path = folder / "edge.yaml"
    parser = command_line._parser("edge_runtime", None)
    act = run_command.run(parser)
    flown: list[Any] = []
    originals = {name: getattr(run_command, name) for name in ("fly", "logging_as", "print_lines")}
    closing.callback(lambda: [setattr(run_command, *item) for item in originals.items()])
    run_command.fly = lambda config, notifier: flown.append(config)
    run_command.logging_as = lambda config: ExitStack()
    run_command.print_lines = lambda text: None
    run_command._flight_text = lambda report: ""

    def read(data: bytes) -> bool:
        path.write_bytes(data)
        flown.clear()
        options = command_line._parse(parser, ["--config", str(path)])
        command_line._refuse_empty(parser, options)
        act(options)
        return len(flown) == 1

    return InputReader(lambda rng: _mutated_yaml(rng, rng.choice(SETTINGS)), read)


URIS = (
    b"v4l2:///dev/video0",
    b"v4l2://0",
    b"csi://0",
    b"rtsp://pilot:secret@camera.local:8554/live?a=b",
    b"rtsps://[::1]:322/x",
    b"rtp://@239.0.0.1:5004",
    b"rtp://:5600",
    b"udp://:1234",
    b"file:///tmp/a%20b.mp4",
    b"dir:///tmp/frames",
    b"gst://videotestsrc is-live=true ! video/x-raw,width=320 ! videoconvert",
)
CONNECTIONS = (
    b"udpin:0.0.0.0:14550",
    b"udpout:[::1]:14550",
    b"tcp:localhost:5760",
    b"/dev/ttyTHS1,921600",
    b"serial:/dev/ttyUSB0:57600",
)
_ELEMENTS = {"avdec_h264", "avdec_h265", "jpegdec", "nvv4l2decoder", "nvarguscamerasrc"}


def source_uri(folder: Path, closing: ExitStack) -> InputReader:
    """URIs of sources, with the pipeline they become, and the autopilot's connection."""

    def read(data: bytes) -> bool:
        text = data.decode("utf-8", "surrogateescape")
        if not is_source_uri(text):
            parse_connection(text)
            return True
        source = parse_source_uri(text)
        if source.scheme == "rtsp" and text == URIS[3].decode() and "secret" in source.shown:
            raise HarmError("a password is shown")
        if source.scheme not in ("file", "dir"):
            pipeline_text(source, SourceConfig(), _ELEMENTS)
        return True

    seeds = URIS + CONNECTIONS
    return InputReader(lambda rng: mutated(rng, rng.choice(seeds), seeds), read)


# What the runtime wrote itself, and a disk or a hand has altered

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
        map_sha256=fingerprint(region_map),
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
                _finite(entry.sample)
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


# What comes over the network


def http_request(folder: Path, closing: ExitStack) -> InputReader:
    monitor = Monitor(MonitorConfig(), load_region_map(SAMPLE_MAP), {}, None)
    paths = ("/", "/events", "/about.json", "/metrics", "/healthz", "/camera.jpg", "/preview.jpg")
    seeds = tuple(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8350\r\nAccept: */*\r\nX-A: b\r\n\r\n".encode()
        for path in (*paths, "/map.jpg?12", "/../../etc/passwd")
    )

    def read(data: bytes) -> bool:
        head, end, _ = data.partition(b"\r\n\r\n")
        try:
            request = parse_request(head + end)
        except ValueError:  # answered with 400
            return False
        answer = monitor._respond(request)
        if isinstance(answer, EventStream):
            answer.next_message()
            return True
        if not isinstance(answer, Response):
            raise HarmError(f"an answer of no kind: {answer!r}")
        return answer.status is HTTPStatus.OK

    return InputReader(lambda rng: mutated(rng, rng.choice(seeds), seeds), read)


_TELEMETRY = (
    *("HEARTBEAT", "ATTITUDE", "ATTITUDE_QUATERNION", "ALTITUDE", "GLOBAL_POSITION_INT"),
    *("DISTANCE_SENSOR", "GIMBAL_DEVICE_ATTITUDE_STATUS", "LOCAL_POSITION_NED", "TIMESYNC"),
    *("COMMAND_ACK", "GPS_GLOBAL_ORIGIN", "HOME_POSITION", "SYSTEM_TIME", "STATUSTEXT"),
)
_MOST_WAITING = 300


def _field(rng: Random, kind: str) -> Any:
    if kind in ("float", "double"):
        usual = rng.gauss(0.0, rng.choice((0.5, 3.0, 100.0)))
        return rng.choice((usual, usual, usual, math.nan, math.inf, -math.inf, 3e38, 0.0, 1.0))
    bits = {"int8_t": 8, "uint8_t": 8, "int16_t": 16, "uint16_t": 16, "int32_t": 32}
    size = bits.get(kind, 32 if kind == "uint32_t" else 64)
    low, high = (0, 2**size - 1) if kind.startswith("u") else (-(2 ** (size - 1)), 2 ** (size - 1))
    high -= not kind.startswith("u")
    return rng.choice((low, high, 0, 1, min(high, 25), rng.randint(low, high), rng.randint(0, 100)))


def _message(rng: Random, dialect: Any, codec: Any) -> bytes:
    everything = dialect.mavlink_map
    name = rng.choice(_TELEMETRY)
    kinds = [kind for kind in everything.values() if kind.msgname == name]
    kind = kinds[0] if kinds and rng.random() < 0.9 else rng.choice(list(everything.values()))
    values = dict(zip(kind.fieldnames, _field_values(rng, kind), strict=True))
    return bytes(kind(**values).pack(codec))


def _field_values(rng: Random, kind: Any) -> list[Any]:
    lengths = dict(zip(kind.ordered_fieldnames, kind.array_lengths, strict=True))
    values: list[Any] = []
    for name, field in zip(kind.fieldnames, kind.fieldtypes, strict=True):
        length = lengths[name]
        if field == "char":
            values.append(rng.randbytes(max(1, length)))
        else:
            several = [_field(rng, field) for _ in range(length)]
            values.append(several if length else _field(rng, field))
    return values


def mavlink(folder: Path, closing: ExitStack) -> InputReader:
    """Bytes on the autopilot's line: framing, link, telemetry, and what the outputs hear."""
    link = MavlinkLink(MavlinkConfig("udpin:127.0.0.1:0"))
    closing.callback(link.close)
    config = MavlinkTelemetryConfig(velocity="local_position_ned")
    telemetries = [MavlinkTelemetry(link, config, Mounting(kind)) for kind in ("fixed", GIMBAL)]
    feeds = [
        MavlinkOutputConfig(feed="px4"),
        MavlinkOutputConfig(feed="ardupilot", ardupilot_message="odometry"),
    ]
    outputs = [MavlinkOutput(feed, link) for feed in feeds]
    codec = link.dialect.MAVLink(None, srcSystem=1, srcComponent=1)
    heartbeat = bytes(link.dialect.MAVLink_heartbeat_message(2, 12, 0, 0, 4, 3).pack(codec))
    cutter = FrameCutter(link._codec)
    state = {"now_s": time.monotonic()}

    def make(rng: Random) -> bytes:
        codec.srcComponent = rng.choice((1, 1, 1, 1, 154, 197))
        pieces = [_message(rng, link.dialect, codec) for _ in range(rng.randrange(1, 6))]
        pieces = [mutated(rng, piece) if rng.random() < 0.25 else piece for piece in pieces]
        if rng.random() < 0.3:
            pieces.append(heartbeat)
        return b"".join(pieces)

    def read(data: bytes) -> bool:
        faults = link.counters.listener_faults
        state["now_s"] += 0.05
        now_s = state["now_s"]
        messages = cutter.take(data)
        for message in messages:
            link._dispatch(message, now_s)
        if link.counters.listener_faults > faults:
            raise HarmError("a listener failed")
        if cutter.waiting_bytes > _MOST_WAITING or len(link._outstanding) > 20:
            raise HarmError("what waits grows without bound")
        for telemetry in telemetries:
            for past_s in (0.0, 0.03, 0.4):
                _finite(telemetry.at(now_s - past_s))
        for output in outputs:
            output.tick(now_s)
        return bool(messages)

    return InputReader(make, read)


def fix_outputs(folder: Path, closing: ExitStack) -> InputReader:
    """Fixes with impossible numbers, to NMEA, JSON and MAVLink: told as lost, or not at all."""

    class Line:
        last = b""

        def send(self, payload: bytes) -> bool:
            self.last = payload
            return True

        def close(self) -> None: ...

    lines = Line(), Line()
    clock = {"now_s": 100.0}
    now = lambda: clock["now_s"]  # noqa: E731
    outputs = [
        NmeaOutput(NmeaConfig(), lines[0], clock=now),
        JsonUdpOutput(JsonUdpConfig(), lines[1], clock=now),
    ]
    numbers = [value for value in VALUES if isinstance(value, float)] + [90.0, 181.0, -720.0]

    def make(rng: Random) -> bytes:
        number = lambda usual: rng.choice(numbers) if rng.random() < 0.2 else usual  # noqa: E731
        fix = Fix(
            rng.choice(("000001", "", "\x00\n$", "ä" * 300)),
            number(rng.uniform(-2.0, 0.5)),
            rng.choice(list(IntegrityState)),
            rng.choice(("views agree", "*\r\n$GP")),
            Position(*(number(usual) for usual in (47.1, 8.2, 4.0, 9.0, 0.3, 12.5))),
            velocity=Velocity(number(3.0), number(1.0), number(0.5)),
            heading_deg=number(12.0),
            heading_standard_deviation_deg=number(3.0),
            in_map_probability=number(0.9),
            latency_ms=number(20.0),
        )
        return json.dumps(fix.as_dict()).encode()

    def read(data: bytes) -> bool:
        values = json.loads(data)
        clock["now_s"] += 5.0
        fix = Fix(
            **{
                **values,
                "time_s": clock["now_s"] + values["time_s"],
                "state": IntegrityState(values["state"]),
                "position": Position(**values["position"]),
                "velocity": Velocity(**values["velocity"]),
                "viewed_matches": (),
            }
        )
        sent = [message for output in outputs for message in output.publish(fix)]
        for message in sent:
            if message.output == "nmea":
                _check_sentence(message.payload)
            else:
                json.loads(message.payload, parse_constant=_refuse_constant)
        return bool(sent)

    return InputReader(make, read)


def _check_sentence(payload: bytes) -> None:
    body, _, checksum = payload.removeprefix(b"$").removesuffix(b"\r\n").partition(b"*")
    total = 0
    for byte in body:
        total ^= byte
    low = body.lower()
    if len(payload) > 82 or f"{total:02X}".encode() != checksum:
        raise HarmError(f"not a sentence: {payload!r}")
    if b"nan" in low or b"inf" in low:
        raise HarmError(f"a sentence with no number: {payload!r}")


def _refuse_constant(name: str) -> None:
    raise HarmError(f"{name} in JSON")


READERS: dict[str, OpenReader] = {
    "mavlink": mavlink,
    "dji_srt": dji_subtitle,
    "csv_telemetry": csv_telemetry,
    "truth": truth,
    "camera_info": camera_info,
    "edge_yaml": settings_yaml,
    "saved_state": saved_state,
    "flight_log": flight_log,
    "fix_lines": fix_lines,
    "http": http_request,
    "uri": source_uri,
    "fix_outputs": fix_outputs,
}


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[InputReader]:
    """A reader of a kind, closed at the end."""
    with ExitStack() as closing:
        yield READERS[kind](folder, closing)
