"""Which flights the campaign flies: each drawn from the seed and its number alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from campaign_weather import WEATHER

MAPS = {"town": 101, "doubles": 102, "part": 103}
"""Kinds of maps and the seed of their world: all of a town; a town whose western quarter is there
twice, which is what look-alike streets are at their worst; and the eastern 70 % of a town that is
flown over whole."""
FOREIGN_EVERY = 5
PITCHES_DEG = (-90.0, -60.0, -45.0)
SPOTS = {"field": 0.5, "wood's edge": 0.25, "anywhere": 0.25}
"""Where flights take off, by share: where much looks alike more often than chance would have it."""
EPISODES = {"none": 0.5, "descent": 0.25, "hover": 0.25}
"""What interrupts a cruise, by share."""
_PLAN, _TAKE_OFF = 51, 71


@dataclass(frozen=True)
class FlightPlan:
    """A flight that begins already high."""

    number: int
    map_kind: str
    world_seed: int
    weather: str
    weather_strength: float
    height_m: float
    pitch_deg: float
    speed_m_s: float

    @property
    def kind(self) -> str:
        """Which flights it is one of."""
        return "cruise"

    @property
    def name(self) -> str:
        """Names its files."""
        return f"{self.number:03d}"

    @property
    def is_foreign(self) -> bool:
        """Whether it is flown over another world than its map's."""
        return self.world_seed != MAPS[self.map_kind]

    def drawing(self, seed: int, purpose: int) -> np.random.Generator:
        """A generator of its own for each purpose."""
        return np.random.default_rng([seed, self.number, purpose])


@dataclass(frozen=True)
class TakeOffPlan(FlightPlan):
    """A flight from the ground on: a slow climb with hovers, then a cruise."""

    spot: str
    climb_m_s: float
    hovers: tuple[tuple[float, float], ...]
    """Height in metres and seconds of each stop of the climb, upwards."""
    turn_deg_s: float
    """Turning in place during the climb's hovers; 0 for none."""
    episode: str

    @property
    def kind(self) -> str:
        return "take_off"

    @property
    def name(self) -> str:
        return f"take_off.{self.number:03d}"

    def drawing(self, seed: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([seed, self.number, purpose, _TAKE_OFF])


def plan_of(number: int, seed: int) -> FlightPlan:
    """Draw a flight: every fifth is over a world that its map does not show."""
    rng = np.random.default_rng([seed, number, _PLAN])
    map_kind, world_seed = _map_and_world(number, rng)
    return FlightPlan(
        number=number,
        map_kind=map_kind,
        world_seed=world_seed,
        weather=WEATHER[(number // 2) % len(WEATHER)],
        weather_strength=float(rng.uniform()),
        height_m=float(rng.uniform(80.0, 160.0)),
        pitch_deg=float(rng.choice(PITCHES_DEG)),
        speed_m_s=float(rng.uniform(8.0, 15.0)),
    )


def take_off_plan_of(number: int, seed: int) -> TakeOffPlan:
    """Draw a flight from the ground; as many are elsewhere as of the others."""
    rng = np.random.default_rng([seed, number, _PLAN, _TAKE_OFF])
    map_kind, world_seed = _map_and_world(number, rng)
    height_m = float(rng.uniform(80.0, 160.0))
    stops_m = np.sort(rng.uniform(0.2, 1.0, int(rng.integers(1, 4)))) * height_m
    turns = rng.uniform() < 0.4
    return TakeOffPlan(
        number=number,
        map_kind=map_kind,
        world_seed=world_seed,
        weather=str(rng.choice(WEATHER)),
        weather_strength=float(rng.uniform()),
        height_m=height_m,
        pitch_deg=float(rng.choice(PITCHES_DEG)),
        speed_m_s=float(rng.uniform(8.0, 15.0)),
        spot=str(rng.choice(list(SPOTS), p=list(SPOTS.values()))),
        climb_m_s=float(rng.uniform(1.5, 4.0)),
        hovers=tuple((float(stop_m), float(rng.uniform(4.0, 15.0))) for stop_m in stops_m),
        turn_deg_s=float(rng.choice([-1.0, 1.0]) * rng.uniform(8.0, 30.0)) if turns else 0.0,
        episode=str(rng.choice(list(EPISODES), p=list(EPISODES.values()))),
    )


def plans_of(kind: str, flights: int, seed: int) -> list[FlightPlan]:
    """So many flights of a kind, `cruise` or `take_off`; of each with `all`."""
    plans: list[FlightPlan] = []
    if kind != "take_off":
        plans += [plan_of(number, seed) for number in range(flights)]
    if kind != "cruise":
        plans += [take_off_plan_of(number, seed) for number in range(flights)]
    return plans


def _map_and_world(number: int, rng: np.random.Generator) -> tuple[str, int]:
    """A map's kind in turns, and the seed of the world that is flown over."""
    kinds = list(MAPS)
    map_kind = kinds[number % len(kinds)]
    if number % FOREIGN_EVERY == FOREIGN_EVERY - 1:
        return map_kind, MAPS[kinds[(number + 1 + int(rng.integers(2))) % len(kinds)]]
    return map_kind, MAPS[map_kind]
