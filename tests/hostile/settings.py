"""Settings that people write: a camera's file, edge.yaml, URIs and connections."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml

from edge_runtime import command_line
from edge_runtime.camera_info import read_camera_info
from edge_runtime.commands import run as run_command
from edge_runtime.mavlink.connection import parse_connection
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.pipeline import pipeline_text
from edge_runtime.sources.uri import is_source_uri, parse_source_uri
from tests.hostile.mutation import mutated, mutated_tree
from tests.hostile.reader import HarmError, InputReader

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
    originals = {
        name: getattr(run_command, name)
        for name in ("fly", "logging_as", "print_lines", "_flight_text")
    }
    closing.callback(lambda: [setattr(run_command, *item) for item in originals.items()])
    run_command.fly = lambda config, notifier: flown.append(config)
    run_command.logging_as = lambda config: ExitStack()
    run_command.print_lines = lambda text: None
    run_command._flight_text = lambda report: ""

    def read(data: bytes) -> bool:
        path.write_bytes(data)
        flown.clear()
        options = command_line._parse(parser, ["--config", str(path)])
        command_line._refuse_unusable(parser, options)
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
