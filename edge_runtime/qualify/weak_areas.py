"""Where on a map simulated flights went without a position, as a picture over its preview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.fix import IntegrityState
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.outputs.track_picture import read_preview
from edge_runtime.qualify.flight_record import FlightRecord

CELL_M = 120.0
FEWEST_FRAMES = 3
WEAK_SHARE = 0.5
_SHORTEST_SIDE_PX = 1000
_BRIGHTNESS = 0.62
_GOOD, _BAD, _FALSE, _INK = (70, 200, 60), (40, 60, 235), (255, 0, 255), (245, 245, 245)
_FONT = cv2.FONT_HERSHEY_DUPLEX


@dataclass(frozen=True)
class AreaCells:
    """A coarse grid of the map's ground, (rows, columns) each, row 0 northernmost."""

    west_m: float
    north_m: float
    frames: npt.NDArray[np.int64]
    """Frames that viewed each cell, after their flight's first fix."""
    served: npt.NDArray[np.int64]
    """Of them those that the runtime was tracking in."""

    @property
    def is_known(self) -> npt.NDArray[np.bool_]:
        """Cells that enough frames viewed."""
        return np.asarray(self.frames >= FEWEST_FRAMES, np.bool_)

    @property
    def share(self) -> npt.NDArray[np.float64]:
        """Share of tracked frames."""
        return np.asarray(self.served / np.maximum(self.frames, 1), np.float64)

    @property
    def weak_share(self) -> float | None:
        """Share of the cells known in which the runtime tracks less than half of the time."""
        known = self.is_known
        return float((self.share[known] < WEAK_SHARE).mean()) if known.any() else None


def area_cells(
    region_map: RegionMap, records: Sequence[FlightRecord], is_foreign: Sequence[bool]
) -> AreaCells:
    """Count frames over the map, after each flight's first fix, by the ground they viewed."""
    level = region_map.levels[0]
    west, north = level.first_east_m - CELL_M / 2, level.first_north_m + CELL_M / 2
    rows = int(np.ceil(((level.rows - 1) * level.stride_m + CELL_M) / CELL_M))
    columns = int(np.ceil(((level.columns - 1) * level.stride_m + CELL_M) / CELL_M))
    frames, served = np.zeros((rows, columns), np.int64), np.zeros((rows, columns), np.int64)
    for record, away in zip(records, is_foreign, strict=True):
        published = np.flatnonzero(~np.isnan(record.error_m))
        if away or not published.size:
            continue
        after = np.arange(len(record.state)) >= published[0]
        row = np.floor((north - record.viewed_north_m) / CELL_M).astype(int)
        column = np.floor((record.viewed_east_m - west) / CELL_M).astype(int)
        on = after & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        np.add.at(frames, (row[on], column[on]), 1)
        on &= record.state == IntegrityState.TRACKING.value
        np.add.at(served, (row[on], column[on]), 1)
    return AreaCells(west, north, frames, served)


def draw_weak_areas(
    region_map: RegionMap,
    cells: AreaCells,
    records: Sequence[FlightRecord],
    is_foreign: Sequence[bool],
    title: str,
) -> npt.NDArray[np.uint8]:
    """The map's preview (H, W, 3) BGR under cells from green (tracked) to red (not).

    Frames with a position further from the truth than its stated radius are dots.
    """
    preview = read_preview(region_map)
    scale = max(1.0, _SHORTEST_SIDE_PX / min(preview.shape[:2]))
    base = cv2.resize(preview, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    canvas = np.asarray(base * _BRIGHTNESS, np.uint8)
    per_m = scale / region_map.preview.metres_per_pixel

    def pixel(east_m: float, north_m: float) -> tuple[int, int]:
        return (
            round((east_m - region_map.preview.west_m) * per_m),
            round((region_map.preview.north_m - north_m) * per_m),
        )

    overlay = canvas.copy()
    for row, column in np.argwhere(cells.is_known):
        share = float(cells.share[row, column])
        colour = tuple(
            share * good + (1.0 - share) * bad for good, bad in zip(_GOOD, _BAD, strict=True)
        )
        east, north = cells.west_m + column * CELL_M, cells.north_m - row * CELL_M
        corner, opposite = pixel(east, north), pixel(east + CELL_M, north - CELL_M)
        cv2.rectangle(overlay, corner, opposite, colour, cv2.FILLED)
    canvas = np.asarray(cv2.addWeighted(overlay, 0.42, canvas, 0.58, 0.0), np.uint8)
    for record, away in zip(records, is_foreign, strict=True):
        if away:
            continue
        with np.errstate(invalid="ignore"):
            outside = record.error_m > record.radius95_m
        for number in np.flatnonzero(outside):
            at = pixel(float(record.viewed_east_m[number]), float(record.viewed_north_m[number]))
            cv2.circle(canvas, at, 4, _FALSE, cv2.FILLED, cv2.LINE_AA)
    _legend(canvas, title, cells)
    return canvas


def _legend(canvas: npt.NDArray[np.uint8], title: str, cells: AreaCells) -> None:
    weak = cells.weak_share
    entries = [
        (title, None),
        ("tracked in all frames", _GOOD),
        ("tracked in none", _BAD),
        ("position outside its stated radius", _FALSE),
        ("no colour: viewed by too few frames to tell", None),
        (
            "" if weak is None else f"weak: {100 * weak:.0f} % of the {CELL_M:.0f} m cells known",
            None,
        ),
    ]
    height = 20 + 24 * len(entries)
    panel = canvas[12 : 12 + height, 12:432]
    panel[:] = np.asarray(panel * 0.22 + 24, np.uint8)
    for number, (text, colour) in enumerate(entries):
        y = 36 + 24 * number
        if colour is not None:
            cv2.rectangle(canvas, (24, y - 12), (44, y), colour, cv2.FILLED)
        cv2.putText(canvas, text, (54 if colour else 24, y), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
