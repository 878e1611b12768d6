"""What a search for one picture says in words: found, perhaps, or not, and what is in the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmnil_maps.preview.view_search import LevelView
from edge_runtime.contract.region_map import RegionMap

FULL_COVERAGE = 0.98
_CLEARLY_ABOVE = 1.0
_LOW_DISTINCTIVENESS = 0.2


@dataclass(frozen=True)
class Verdict:
    """In one line, and in two; grade is good, fair or poor."""

    grade: str
    headline: str
    text: str


@dataclass(frozen=True)
class ExpectedPlace:
    """The tile where the picture should have been found; rank 1 is the level's best tile."""

    lattice_row: int
    lattice_column: int
    score: float
    rank: int


@dataclass(frozen=True)
class Note:
    """A remark on a result; some speak against it."""

    text: str
    warns: bool


def verdict_of(region_map: RegionMap, view: LevelView) -> Verdict:
    """Compare the best place with the next ones elsewhere, and with what chance alone gives."""
    count = len(view.scores)
    best = view.places[0].score
    # The largest of N independent values of a normal distribution is near this.
    chance = float(np.sqrt(2.0 * np.log(max(2, count))))
    elsewhere = view.places[1].score if len(view.places) > 1 else 0.0
    figures = (
        f"Best {best:.1f} \u03c3, next elsewhere {elsewhere:.1f} \u03c3; the best of {count:,} "
        f"tiles reaches about {chance:.1f} \u03c3 by chance."
    )
    if best > chance and best - elsewhere >= _CLEARLY_ABOVE:
        return Verdict("good", "One place stands out", figures)
    if best > chance:
        return Verdict(
            "fair",
            "Several places fit about as well",
            f"{figures} A flight would have to tell them apart by moving on.",
        )
    return Verdict(
        "poor",
        "No better than chance",
        f"{figures} Check height, heading and lens, the level's footprint, and whether the map "
        "covers the place.",
    )


def notes_on(
    region_map: RegionMap, view: LevelView, expected: ExpectedPlace | None, wanted: bool
) -> list[Note]:
    """What speaks against the result, or explains it.

    Args:
        wanted: Whether an expected place was named at all.
    """
    notes = []
    if view.fault:
        notes.append(Note(f"A flight would not use this view: {view.fault}.", True))
    if view.coverage < FULL_COVERAGE:
        seen = f"The camera sees {view.coverage:.0%} of the footprint"
        notes.append(Note(f"{seen}; the rest is filled with its mean colour.", True))
    rows = region_map.rows_of_level(view.level)
    best = rows.start + int(np.argmax(view.scores))
    distinct = float(region_map.tiles["distinctiveness"][best])
    if distinct < _LOW_DISTINCTIVENESS:
        likes = f"The best tile looks like many others: distinctiveness {distinct:.2f}."
        notes.append(Note(likes, True))
    if wanted and expected is None:
        notes.append(Note("The map has no tile at the expected place.", True))
    if expected is not None:
        rank = f"number {expected.rank:,} of {len(view.scores):,} tiles"
        words = f"At the expected place: {expected.score:.1f} \u03c3, {rank}."
        notes.append(Note(words, not expected_found(region_map, view, expected)))
    return notes


def expected_found(region_map: RegionMap, view: LevelView, expected: ExpectedPlace) -> bool:
    """Whether the best place lies within a footprint of the expected one."""
    level, best = region_map.levels[view.level], view.places[0]
    steps = max(
        abs(best.lattice_row - expected.lattice_row),
        abs(best.lattice_column - expected.lattice_column),
    )
    return steps * level.stride_m < level.footprint_m


def expected_place(
    region_map: RegionMap, view: LevelView, viewed_m: tuple[float, float]
) -> ExpectedPlace | None:
    """The tile nearest to a place in the map's frame, or None where there is no tile."""
    level = region_map.levels[view.level]
    row = round((level.first_north_m - viewed_m[1]) / level.stride_m)
    column = round((viewed_m[0] - level.first_east_m) / level.stride_m)
    if not (0 <= row < level.rows and 0 <= column < level.columns):
        return None
    tile = int(region_map.rows_at(view.level, slice(row, row + 1), slice(column, column + 1))[0, 0])
    if tile < 0:
        return None
    score = float(view.scores[tile - region_map.rows_of_level(view.level).start])
    return ExpectedPlace(row, column, score, 1 + int(np.count_nonzero(view.scores > score)))
