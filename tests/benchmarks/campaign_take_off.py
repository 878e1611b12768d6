"""The path of a flight from the ground on: climb, hovers, turns in place, cruise, and descents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from campaign_plans import TakeOffPlan

from dmnil_maps.sample_world.camera_view import CameraPose
from dmnil_maps.sample_world.flight import TimedPose
from dmnil_maps.sample_world.world import World

FloatArray = npt.NDArray[np.float64]

FIRST_HEIGHT_M, LOW_HEIGHT_M = 2.0, 50.0
CLIMB_INTERVAL_S, CRUISE_INTERVAL_S = 0.5, 1.25
"""Between frames: the many alike views of a slow climb are what may mislead."""
CRUISE_S, HOVER_S = 40.0, 20.0
"""Of each half of the cruise, and of the hover between them."""
_STEP_S = 0.05
_TURN_DEG_S, _FASTER_M_S2 = 16.0, 2.0
_SWAY_S = 3.0
_SWAY = np.array([0.6, 0.6, 0.5, 1.6, 0.4, 0.5])
"""Of east, north and height in metres, heading, pitch and roll in degrees: gusts on a drone that
holds its place."""
_CLEAR_M = 8.0


@dataclass
class _Drone:
    """Where the simulated drone is and how fast it flies."""

    place: FloatArray
    height_m: float
    course_deg: float
    speed_m_s: float = 0.0


def take_off_path(world: World, plan: TakeOffPlan, rng: np.random.Generator) -> list[TimedPose]:
    """The flight's frames: twice a second in climbs, hovers and descents, slower in the cruise."""
    room_m = room_of(world, plan)
    mounting_deg = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.0))
    drone = _Drone(
        take_off_spot(world, plan.spot, room_m, rng), FIRST_HEIGHT_M, rng.uniform(0, 360)
    )
    poses: list[TimedPose] = []
    sway, next_s = np.zeros(6), 0.0
    keep = np.exp(-_STEP_S / _SWAY_S)
    for step, interval_s in enumerate(_flown(drone, plan, room_m, rng)):
        sway = keep * sway + np.sqrt(1.0 - keep**2) * rng.standard_normal(6)
        if step * _STEP_S < next_s - 1e-9:
            continue
        next_s = step * _STEP_S + interval_s
        east, north, up, heading, pitch, roll = sway * _SWAY
        near_ground = min(1.0, drone.height_m / 20.0)
        pose = CameraPose(
            drone.place[0] + near_ground * east,
            drone.place[1] + near_ground * north,
            max(1.8, drone.height_m + near_ground * up),
            (drone.course_deg + heading) % 360.0,
            plan.pitch_deg + mounting_deg + pitch,
            roll,
        )
        poses.append(TimedPose(step * _STEP_S, pose, plan.pitch_deg))
    return poses


def climb_s(plan: TakeOffPlan) -> float:
    """Time from take-off to the cruise."""
    hovers_s = sum(seconds for _, seconds in plan.hovers)
    return (plan.height_m - FIRST_HEIGHT_M) / plan.climb_m_s + hovers_s


def room_of(world: World, plan: TakeOffPlan) -> float:
    """How far from the world's middle to east or north a flight goes: its views stay inside."""
    return world.size_m / 2 - plan.height_m * 1.6


def take_off_spot(world: World, spot: str, room_m: float, rng: np.random.Generator) -> FloatArray:
    """A clear place of a kind, or any clear one where the world has none of it."""
    options = rng.uniform(-room_m, room_m, (600, 2))
    options = options[_clear_of(world, options)]
    wanted = np.ones(len(options), bool)
    if spot == "field":
        wanted = _within(world, options, "farmland")
    elif spot == "wood's edge":
        angles = np.arange(8) * np.pi / 4
        ring = 30.0 * np.stack([np.sin(angles), np.cos(angles)], axis=1)
        around = (options[:, None] + ring).reshape(-1, 2)
        near = _within(world, around, "wood").reshape(len(options), -1).any(axis=1)
        wanted = near & ~_within(world, options, "wood")
    place: FloatArray = options[int(np.argmax(wanted))]
    return place


def _flown(
    drone: _Drone, plan: TakeOffPlan, room_m: float, rng: np.random.Generator
) -> Iterator[float]:
    """Fly step by step; yields the interval between frames that suits each."""
    for stop_m, seconds in plan.hovers:
        yield from _to_height(drone, stop_m, plan.climb_m_s)
        yield from _hovered(drone, seconds, plan.turn_deg_s)
    yield from _to_height(drone, plan.height_m, plan.climb_m_s)
    yield from _cruised(drone, plan.speed_m_s, room_m, rng)
    if plan.episode == "descent":
        yield from _to_height(drone, LOW_HEIGHT_M, plan.climb_m_s)
        yield from _to_height(drone, plan.height_m, plan.climb_m_s)
    elif plan.episode == "hover":
        yield from _hovered(drone, HOVER_S, 0.0)
    yield from _cruised(drone, plan.speed_m_s, room_m, rng)


def _to_height(drone: _Drone, height_m: float, speed_m_s: float) -> Iterator[float]:
    for _ in range(round(abs(height_m - drone.height_m) / speed_m_s / _STEP_S)):
        drone.height_m += float(np.sign(height_m - drone.height_m)) * speed_m_s * _STEP_S
        yield CLIMB_INTERVAL_S
    drone.height_m = height_m


def _hovered(drone: _Drone, seconds: float, turn_deg_s: float) -> Iterator[float]:
    for _ in range(round(seconds / _STEP_S)):
        drone.course_deg += turn_deg_s * _STEP_S
        yield CLIMB_INTERVAL_S


def _cruised(
    drone: _Drone, speed_m_s: float, room_m: float, rng: np.random.Generator
) -> Iterator[float]:
    """From waypoint to waypoint, slower in turns, and to a stop in the end."""
    target = rng.uniform(-room_m, room_m, 2)
    steps = round(CRUISE_S / _STEP_S)
    for step in range(steps):
        to_target = target - drone.place
        if np.hypot(*to_target) < max(25.0, 2.5 * speed_m_s):
            target = rng.uniform(-room_m, room_m, 2)
        wanted = np.degrees(np.arctan2(*to_target))
        error = (wanted - drone.course_deg + 180.0) % 360.0 - 180.0
        drone.course_deg += float(np.clip(0.6 * error, -_TURN_DEG_S, _TURN_DEG_S)) * _STEP_S
        left_s = (steps - step) * _STEP_S
        aim_m_s = min(speed_m_s * (1.0 - 0.45 * min(1.0, abs(error) / 90.0)), _FASTER_M_S2 * left_s)
        change = float(np.clip(aim_m_s - drone.speed_m_s, -_FASTER_M_S2, _FASTER_M_S2))
        drone.speed_m_s += change * _STEP_S
        course = np.radians(drone.course_deg)
        ahead = np.array([np.sin(course), np.cos(course)])
        drone.place = drone.place + drone.speed_m_s * _STEP_S * ahead
        yield CRUISE_INTERVAL_S
    drone.speed_m_s = 0.0


def _clear_of(world: World, places: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether neither a wall nor a tree stands near each place (N, 2)."""
    walls = np.array([[part.east, part.north] for part in world.parts]).reshape(-1, 2)
    reach = np.array([np.hypot(part.length_m, part.width_m) / 2 for part in world.parts])
    trees = np.stack([world.trees["east"], world.trees["north"]], axis=1)
    things = np.concatenate([walls, trees])
    radii = np.concatenate([reach, np.asarray(world.trees["radius_m"], np.float64)])
    clear = [bool((np.hypot(*(things - at).T) - radii > _CLEAR_M).all()) for at in places]
    return np.array(clear, bool)


def _within(world: World, places: FloatArray, use: str) -> npt.NDArray[np.bool_]:
    """Whether each place (N, 2) lies in a district of this use."""
    inside = np.zeros(len(places), bool)
    for district in world.districts:
        if district.use == use:
            inside |= district.inside(places)
    return inside
