"""A live flight at 10 frames a second, and the memory of a long one.

    python tests/benchmarks/live_flight.py rate      # the newest frame wins: latency, drops
    python tests/benchmarks/live_flight.py growth    # two hours of frames, as fast as they fly

A flight over the sample's town is generated at 10 frames a second (four minutes of rendering), or
taken from --world. `rate` sends it through RTP and MAVLink to `edge_runtime run` in a process of
its own; `growth` flies it to and fro from a folder, live page and flight log included.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "maps")]

from edge_runtime.outputs.fix_log import read_fixes  # noqa: E402
from edge_runtime.sample_flight import SAMPLE_ENCODER, SAMPLE_MAP  # noqa: E402
from tests.live_flight import LiveFlight, free_port, scored_fixes  # noqa: E402
from tests.simulated_aircraft import SimulatedAircraft  # noqa: E402

PERCENTILES = (50, 95, 99)
FLOWN_OPTIONS = [f"--encoder={SAMPLE_ENCODER}", f"--map={SAMPLE_MAP}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("rate", "growth"))
    parser.add_argument("--world", type=Path, help="generated world of the sample's town, 10 Hz")
    parser.add_argument("--hours", type=float, default=2.0, help="length of the long flight")
    parser.add_argument("--rate-hz", type=float, default=2.0, help="frame rate of the long flight")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="live-flight-") as folder:
        world = options.world or generate_world(Path(folder) / "town.world")
        if options.what == "rate":
            figures = fly_at_rate(world / "flight", Path(folder))
        else:
            figures = fly_long(world / "flight", Path(folder), options.hours, options.rate_hz)
    text = json.dumps(figures, indent=2)
    print(text)  # noqa: T201
    if options.json is not None:
        options.json.write_text(text + "\n")


def generate_world(path: Path) -> Path:
    settings = (
        "--flight-seed=7 --duration-s=120 --rate-hz=10 --speed-m-s=14 --image-width=800 "
        "--jpeg-quality=75"
    )
    command = [sys.executable, "-m", "dmnil_maps.cli", "sample", "-o", str(path), *settings.split()]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/maps"})
    return path


def fly_at_rate(recording: Path, folder: Path) -> dict[str, Any]:
    """Frames by RTP, telemetry by MAVLink, in real time."""
    options = ["--camera.focal_length_35mm=24", "--camera.pitch_deg=-45"]
    flight = LiveFlight(folder, [*FLOWN_OPTIONS, *options])
    aircraft = SimulatedAircraft(recording, flight.rtp_port, flight.mavlink_port, 1.0)
    flight.start()
    aircraft.take_off()
    aircraft.wait(aircraft.plan.length_s + 5.0)
    metrics = flight.metrics() or {}
    flight.stop()
    aircraft.land()
    scored = scored_fixes(flight.output, aircraft.camera.shots, recording / "truth.csv")
    of_views = [one.fix for one in scored if one.fix.latency_ms is not None and one.fix.stage_ms]
    encoding = np.array([fix.stage_ms.get("encode", 0.0) for fix in of_views])
    stages = np.array([sum(fix.stage_ms.values()) for fix in of_views])
    latency = np.array([fix.latency_ms for fix in of_views])
    errors = [one.error_m for one in scored if one.error_m is not None]
    return {
        "frames sent": len(aircraft.camera.shots),
        "frames captured": metrics.get("dmnil_frames_captured_total"),
        "frames flown": len(of_views),
        "frames dropped for a newer one": metrics.get("dmnil_frames_dropped_total"),
        "frames encoded": int((encoding > 0.0).sum()),
        "ms from exposure to leaving": percentiles(latency),
        "ms of the encoder, where it ran": percentiles(encoding[encoding > 0.0]),
        "ms of the localiser beside it": percentiles(stages - encoding),
        "ms of everything beside the encoder": percentiles(latency - encoding),
        "states": {
            state: sum(one.fix.state.value == state for one in scored)
            for state in sorted({one.fix.state.value for one in scored})
        },
        "error, m": percentiles(np.array(errors)) if errors else None,
    }


def fly_long(recording: Path, folder: Path, hours: float, rate_hz: float) -> dict[str, Any]:
    """The recording to and fro as a live folder, no frame dropped; memory each second."""
    count = round(hours * 3600 * rate_hz)
    to_and_fro(recording, folder / "long", count, rate_hz)
    port = free_port()
    command = [sys.executable, "-m", "edge_runtime", "run", *FLOWN_OPTIONS]
    command += [f"--source=dir://{folder / 'long' / 'frames'}", "--source.pacing=fast"]
    command += [f"--source.rate_hz={rate_hz}", f"--telemetry={folder / 'long' / 'frames.csv'}"]
    command += [f"--monitor.port={port}", f"--output={folder / 'long.flight'}"]
    command += ["--log.max_file_mb=64", "--log.pictures_per_s=0.2"]
    started = time.monotonic()
    resident: list[tuple[float, float, float]] = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, env=environment
        )
        while process.poll() is None:
            time.sleep(1.0)
            memory = resident_and_own_mb(process.pid)
            if memory is not None:
                resident.append((time.monotonic() - started, *memory))
    if process.returncode:
        raise SystemExit((folder / "errors").read_text())
    fixes = read_fixes(folder / "long.flight")
    own = np.array([megabytes for _, _, megabytes in resident[:-3]])
    warm = len(own) // 10
    return {
        "frames": count,
        "fixes": len(fixes),
        "simulated hours": hours,
        "minutes it took": round((time.monotonic() - started) / 60, 1),
        "own memory after a tenth of it, MB": round(float(own[warm]), 1),
        "own memory at its end, MB": round(float(own[-1]), 1),
        "largest after that tenth, MB": round(float(own[warm:].max()), 1),
        "growth, MB": round(float(own[-10:].mean() - own[warm : warm + 10].mean()), 1),
        "resident with mapped files, MB": round(resident[-4][1], 1),
        "published": sum(fix.position is not None for fix in fixes),
    }


def to_and_fro(recording: Path, folder: Path, count: int, rate_hz: float) -> None:
    """A folder of links to a recording's frames, forward and backward until there are enough."""
    with (recording / "frames.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if float(row["time_s"]) > 25.0]
    cycle = rows + rows[-2:0:-1]
    (folder / "frames").mkdir(parents=True)
    (folder / "camera.yaml").write_text((recording / "camera.yaml").read_text())
    with (folder / "frames.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        for number in range(count):
            row = cycle[number % len(cycle)]
            name = f"{number + 1:07d}.jpg"
            (folder / "frames" / name).symlink_to(recording.resolve() / "frames" / row["frame"])
            writer.writerow({**row, "frame": name, "time_s": f"{number / rate_hz:.3f}"})


def resident_and_own_mb(process: int) -> tuple[float, float] | None:
    """Resident memory of a process, and the part of it that is no mapped file."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    if "VmRSS" not in values:
        return None
    return tuple(int(values[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))


def percentiles(values: np.ndarray) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(values, p)), 1) for p in PERCENTILES}


if __name__ == "__main__":
    main()
