"""Flights over the world: a plausible path, its frames, noisy telemetry and exact truth."""

import csv
import datetime
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dmnil_maps.sample_world.appearance import Appearance
from dmnil_maps.sample_world.camera_view import CameraPose, DroneRenderer, viewed_ground_point
from dmnil_maps.sample_world.scene import FloatArray
from dmnil_maps.sample_world.world import World
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.localize.camera import PinholeCamera

STEP_S = 0.05
FIRST_HEIGHT_M, CLIMB_M_S, HOVER_S = 2.0, 4.0, 3.0
TURN_DEG_S, BANK_SHARE = 16.0, 0.06  # a gimbal leaves this share of the bank
HEADING_SIGMA_DEG, HEADING_BIAS_DEG = 2.0, 1.0
HEIGHT_SIGMA_M, HEIGHT_SCALE = 0.25, 0.01
MOUNTING_ERROR_DEG = (0.5, 1.0)
SEASON_DATE = {
    "spring": datetime.datetime(2026, 4, 9, 10, 30),
    "summer": datetime.datetime(2026, 7, 14, 10, 30),
    "autumn": datetime.datetime(2026, 10, 20, 13, 30),
    "winter": datetime.datetime(2026, 1, 22, 11, 30),
}
TELEMETRY_COLUMNS = (
    "frame",
    "timestamp_local",
    "time_s",
    "height_above_takeoff_m",
    "heading_deg",
    "camera_pitch_deg",
)
TRUTH_COLUMNS = (
    "frame",
    "drone_latitude_deg",
    "drone_longitude_deg",
    "viewed_ground_latitude_deg",
    "viewed_ground_longitude_deg",
)


@dataclass(frozen=True)
class TimedPose:
    """The true pose at a time, and the camera pitch that was commanded."""

    time_s: float
    pose: CameraPose
    nominal_pitch_deg: float


def plan_flight(
    world: World,
    seed: int,
    duration_s: float,
    rate_hz: float,
    height_m: float,
    speed_m_s: float,
    pitch_deg: float = -45.0,
) -> list[TimedPose]:
    """Take off, climb, hover, then fly from waypoint to waypoint inside the world.

    Raises:
        ValueError: If the world is too small for the views to stay inside.
    """
    rng = np.random.default_rng([world.seed, seed, 31])
    room = world.size_m / 2 - height_m * 1.6
    if room < 20:
        raise ValueError(f"a world of {world.size_m} m is too small to fly at {height_m} m")
    steps = int(duration_s / STEP_S) + 1
    track = _track(rng, steps, _clearing(rng, world, room), room, height_m, speed_m_s)
    sway = {name: _sway(rng, steps, tau) for name, tau in _SWAY_TIME_S.items()}
    mounting = rng.choice([-1.0, 1.0]) * rng.uniform(*MOUNTING_ERROR_DEG)
    poses = []
    for frame in range(int(duration_s * rate_hz) + 1):
        at = min(round(frame / rate_hz / STEP_S), steps - 1)
        east, north, height, course, bank = (float(value) for value in track[at])
        pose = CameraPose(
            east,
            north,
            max(1.8, height + 0.9 * float(sway["height"][at]) * min(1.0, height / 20)),
            (course + 1.6 * float(sway["heading"][at])) % 360,
            pitch_deg + mounting + 0.35 * float(sway["pitch"][at]),
            BANK_SHARE * bank + 0.4 * float(sway["roll"][at]),
        )
        poses.append(TimedPose(frame / rate_hz, pose, pitch_deg))
    return poses


_SWAY_TIME_S = {"height": 6.0, "heading": 2.5, "pitch": 0.8, "roll": 1.0}


def _track(
    rng: np.random.Generator,
    steps: int,
    start: FloatArray,
    room: float,
    height_m: float,
    speed_m_s: float,
) -> FloatArray:
    """(steps, 5) east, north, height, course (deg, unwrapped), bank (deg) without jitter."""
    position = start
    target = _next_target(rng, position, room)
    course = np.rad2deg(np.arctan2(*(target - position)))
    height, speed, wait_s = FIRST_HEIGHT_M, 0.0, HOVER_S
    track = np.zeros((steps, 5))
    for step in range(steps):
        turn = 0.0
        if height < height_m - 0.05:
            height += min(CLIMB_M_S, 0.4 + 0.6 * (height_m - height)) * STEP_S
        elif wait_s > 0:
            wait_s -= STEP_S
        else:
            to_target = target - position
            if np.hypot(*to_target) < max(25.0, 2.5 * speed_m_s):
                target = _next_target(rng, position, room)
            wanted = np.rad2deg(np.arctan2(*to_target))
            error = (wanted - course + 180) % 360 - 180
            turn = float(np.clip(0.6 * error, -TURN_DEG_S, TURN_DEG_S))
            course += turn * STEP_S
            cruise = speed_m_s * (1 - 0.45 * min(1.0, abs(error) / 90))
            speed += float(np.clip(cruise - speed, -2.0, 2.0)) * STEP_S
            heading = np.deg2rad(course)
            position = position + speed * STEP_S * np.array([np.sin(heading), np.cos(heading)])
        track[step] = *position, height, course, turn
    return track


def _clearing(rng: np.random.Generator, world: World, room: float) -> FloatArray:
    """A place to take off from: of some, the one farthest from trees and walls."""
    things = [[part.east, part.north] for part in world.parts]
    trees = np.stack([world.trees["east"], world.trees["north"]], 1)
    obstacles = np.concatenate([np.array(things).reshape(-1, 2), trees])
    options = rng.uniform(-0.6, 0.6, (60, 2)) * room
    clear = [np.hypot(*(obstacles - option).T).min(initial=np.inf) for option in options]
    best: FloatArray = options[int(np.argmax(clear))]
    return best


def _next_target(rng: np.random.Generator, position: FloatArray, room: float) -> FloatArray:
    """A waypoint that is neither close nor outside."""
    options = rng.uniform(-room, room, (12, 2))
    distances = np.hypot(*(options - position).T)
    wanted = rng.uniform(0.5, 1.0) * room
    best: FloatArray = options[int(np.argmin(np.abs(distances - wanted)))]
    return best


def _sway(rng: np.random.Generator, steps: int, time_constant_s: float) -> FloatArray:
    """(steps,) smooth unit-variance wandering (Ornstein-Uhlenbeck, then smoothed)."""
    keep = np.exp(-STEP_S / time_constant_s)
    kicks = rng.standard_normal(steps) * np.sqrt(1 - keep**2)
    sway = np.zeros(steps)
    for step in range(1, steps):
        sway[step] = keep * sway[step - 1] + kicks[step]
    return sway


def write_flight(
    folder: Path,
    world: World,
    appearance: Appearance,
    poses: Sequence[TimedPose],
    camera: PinholeCamera,
    origin_latitude_deg: float,
    origin_longitude_deg: float,
    seed: int,
) -> Path:
    """Render a flight and write frames, telemetry with its errors, truth and camera; the folder.

    The folder appears whole or not at all; one that is there is replaced.
    """
    beside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    (beside / "frames").mkdir(parents=True)
    renderer = DroneRenderer(world, appearance)
    for number, timed in enumerate(poses, start=1):
        picture = renderer.render(timed.pose, camera)
        written = cv2.imwrite(
            str(beside / "frames" / f"{number:06d}.jpg"),
            cv2.cvtColor(picture, cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, appearance.jpeg_quality],
        )
        if not written:
            raise OSError(f"could not write frame {number} under {beside}")
    start = SEASON_DATE[appearance.season]
    _write_table(beside / "frames.csv", TELEMETRY_COLUMNS, _telemetry(poses, seed, start))
    truth = _truth(poses, origin_latitude_deg, origin_longitude_deg)
    _write_table(beside / "truth.csv", TRUTH_COLUMNS, truth)
    (beside / "camera.yaml").write_text(
        f"image_width: {camera.width}\nimage_height: {camera.height}\nfocal_px: {camera.focal_px}\n"
    )
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
    return folder


def _telemetry(
    poses: Sequence[TimedPose], seed: int, start: datetime.datetime
) -> list[tuple[str, ...]]:
    """What the drone reports: heading with bias and noise, height with scale error and noise."""
    rng = np.random.default_rng([seed, 37])
    bias_deg = HEADING_BIAS_DEG * rng.choice([-1.0, 1.0]) * rng.uniform(0.7, 1.3)
    scale = 1 + HEIGHT_SCALE * rng.choice([-1.0, 1.0])
    rows: list[tuple[str, ...]] = []
    for number, timed in enumerate(poses, start=1):
        heading = timed.pose.heading_deg + bias_deg + rng.normal(0, HEADING_SIGMA_DEG)
        height = timed.pose.height_m * scale + rng.normal(0, HEIGHT_SIGMA_M)
        clock = start + datetime.timedelta(seconds=timed.time_s)
        rows.append(
            (
                f"{number:06d}.jpg",
                clock.isoformat(sep=" ", timespec="milliseconds"),
                f"{timed.time_s:.3f}",
                f"{height:.1f}",
                f"{heading % 360:.2f}",
                f"{timed.nominal_pitch_deg:g}",
            )
        )
    return rows


def _truth(
    poses: Sequence[TimedPose], latitude_deg: float, longitude_deg: float
) -> list[tuple[str, ...]]:
    frame = LocalFrame(latitude_deg, longitude_deg)
    rows: list[tuple[str, ...]] = []
    for number, timed in enumerate(poses, start=1):
        drone = frame.to_geodetic((timed.pose.east_m, timed.pose.north_m))
        viewed = frame.to_geodetic(viewed_ground_point(timed.pose))
        rows.append((f"{number:06d}.jpg", *(f"{degrees:.9f}" for degrees in (*drone, *viewed))))
    return rows


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
