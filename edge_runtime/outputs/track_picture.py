"""A picture of the flown track over the map's preview."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.artefact import write_whole
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.fix import Fix, IntegrityState, Position
from edge_runtime.contract.region_map import PREVIEW_FILE, RegionMap
from edge_runtime.telemetry.truth import TruePlace

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

_STATE_COLOURS: dict[IntegrityState, Colour] = {  # blue, green, red
    IntegrityState.TRACKING: (90, 230, 60),
    IntegrityState.COASTING: (40, 170, 255),
}
_TRUTH_COLOUR: Colour = (255, 255, 255)
_RADIUS_COLOUR: Colour = (235, 200, 90)
_INK: Colour = (245, 245, 245)
_PANEL: Colour = (30, 26, 22)
_PREVIEW_BRIGHTNESS = 0.72
_SHORTEST_SIDE_PX = 1000
_RADII_DRAWN = 24
_FONT = cv2.FONT_HERSHEY_DUPLEX
_SUBPIXEL_BITS = 4


def draw_track(
    path: Path,
    region_map: RegionMap,
    fixes: Sequence[Fix],
    truth: Mapping[str, TruePlace] | None = None,
    title: str = "",
) -> None:
    """Write a PNG: positions coloured by state, their 95 % circles, the truth where given.

    Raises:
        MapError: If the map's preview cannot be read.
        OutputError: If the picture cannot be written.
    """
    preview = read_preview(region_map)
    scale = max(1.0, _SHORTEST_SIDE_PX / min(preview.shape[:2]))
    enlarged = cv2.resize(preview, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    canvas: Picture = np.asarray(enlarged * _PREVIEW_BRIGHTNESS, np.uint8)
    metres_per_pixel = region_map.preview.metres_per_pixel / scale

    def pixels(
        latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike
    ) -> npt.NDArray[np.float64]:
        local = region_map.frame.to_local(latitude_deg, longitude_deg)
        corner = np.array([region_map.preview.west_m, region_map.preview.north_m])
        return np.asarray((local - corner) * [1.0, -1.0] / metres_per_pixel, np.float64)

    if truth:
        places = [truth[fix.frame] for fix in fixes if fix.frame in truth]
        if places:
            line = pixels(
                [place.drone_latitude_deg for place in places],
                [place.drone_longitude_deg for place in places],
            )
            _polyline(canvas, line, _TRUTH_COLOUR, 2)
    published = [(fix, fix.position) for fix in fixes if fix.position is not None]
    if published:
        centres = pixels(
            [position.latitude_deg for _, position in published],
            [position.longitude_deg for _, position in published],
        )
        _draw_radii(canvas, centres, [position for _, position in published], metres_per_pixel)
        _draw_positions(canvas, centres, [fix for fix, _ in published])
    _draw_scale_bar(canvas, metres_per_pixel)
    _draw_legend(canvas, fixes, bool(truth), title)
    _draw_attribution(canvas, str(region_map.manifest.get("imagery", {}).get("attribution", "")))
    # OpenCV's own imwrite does not tell why it could not.
    write_whole(path, cv2.imencode(".png", canvas)[1].tobytes())


def read_preview(region_map: RegionMap) -> Picture:
    """A map's preview, BGR.

    Raises:
        MapError: If it is not a picture.
    """
    path = region_map.folder / PREVIEW_FILE
    preview = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if preview is None:
        raise MapError(f"{path} is not a picture: copy or build the map again")
    return np.asarray(preview, np.uint8)


def _draw_radii(
    canvas: Picture,
    centres: npt.NDArray[np.float64],
    positions: Sequence[Position],
    metres_per_pixel: float,
) -> None:
    overlay = canvas.copy()
    for number in range(0, len(positions), max(1, len(positions) // _RADII_DRAWN)):
        radius = positions[number].radius95_m / metres_per_pixel
        cv2.circle(
            overlay,
            _fixed_point(centres[number]),
            int(radius * (1 << _SUBPIXEL_BITS)),
            _RADIUS_COLOUR,
            1,
            cv2.LINE_AA,
            _SUBPIXEL_BITS,
        )
    cv2.addWeighted(overlay, 0.6, canvas, 0.4, 0.0, dst=canvas)


def _draw_positions(
    canvas: Picture, centres: npt.NDArray[np.float64], fixes: Sequence[Fix]
) -> None:
    for number in range(1, len(fixes)):
        if fixes[number].reset_counter == fixes[number - 1].reset_counter:
            _polyline(canvas, centres[number - 1 : number + 1], _colour(fixes[number]), 2)
    for centre, fix in zip(centres, fixes, strict=True):
        cv2.circle(
            canvas,
            _fixed_point(centre),
            3 << _SUBPIXEL_BITS,
            _colour(fix),
            cv2.FILLED,
            cv2.LINE_AA,
            _SUBPIXEL_BITS,
        )
    x, y = (int(value) for value in centres[0])
    cv2.drawMarker(canvas, (x, y), _INK, cv2.MARKER_DIAMOND, 18, 2, cv2.LINE_AA)
    _text(canvas, "first fix", (x + 14, y - 10), 0.5)


def _draw_legend(canvas: Picture, fixes: Sequence[Fix], has_truth: bool, title: str) -> None:
    entries = [
        (f"{state.value.lower()} ({sum(fix.state is state for fix in fixes)} fixes)", colour)
        for state, colour in _STATE_COLOURS.items()
    ]
    silent = sum(fix.position is None for fix in fixes)
    entries.append((f"95 % radius; no position in {silent} frames", _RADIUS_COLOUR))
    if has_truth:
        entries.append(("true track", _TRUTH_COLOUR))
    if not any(fix.position is not None for fix in fixes):
        last = fixes[-1] if fixes else None
        entries.append((f"no position published; ended {last.state.value if last else ''}", _INK))
    height, width = 16 + 24 * (len(entries) + bool(title)), 330
    panel = canvas[12 : 12 + height, 12 : 12 + width]
    panel[:] = np.asarray(panel * 0.25 + np.array(_PANEL) * 0.75, np.uint8)
    y = 34
    if title:
        _text(canvas, title, (24, y), 0.55)
        y += 24
    for label, colour in entries:
        cv2.line(canvas, (24, y - 5), (48, y - 5), colour, 3, cv2.LINE_AA)
        _text(canvas, label, (58, y), 0.48)
        y += 24


def _draw_scale_bar(canvas: Picture, metres_per_pixel: float) -> None:
    target_m = canvas.shape[1] * metres_per_pixel / 6
    magnitude = 10.0 ** np.floor(np.log10(target_m))
    length_m = float(max(step * magnitude for step in (1, 2, 5) if step * magnitude <= target_m))
    right, bottom = canvas.shape[1] - 24, canvas.shape[0] - 24
    left = int(right - length_m / metres_per_pixel)
    label = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    cv2.line(canvas, (left, bottom), (right, bottom), _INK, 3, cv2.LINE_AA)
    _text(canvas, label, (left, bottom - 10), 0.5)


def _draw_attribution(canvas: Picture, attribution: str) -> None:
    if attribution:
        _text(canvas, attribution, (14, canvas.shape[0] - 14), 0.42)


def _text(canvas: Picture, text: str, origin: tuple[int, int], size: float) -> None:
    # The outline has the ink's own weight: OpenCV 5 sets heavier letters wider apart.
    for right, down in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        place = (origin[0] + right, origin[1] + down)
        cv2.putText(canvas, text, place, _FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.putText(canvas, text, origin, _FONT, size, _INK, 1, cv2.LINE_AA)


def _polyline(
    canvas: Picture, points: npt.NDArray[np.float64], colour: Colour, thickness: int
) -> None:
    fixed = np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.polylines(canvas, [fixed], False, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _fixed_point(point: npt.NDArray[np.float64]) -> tuple[int, int]:
    x, y = np.round(point * (1 << _SUBPIXEL_BITS)).astype(int)
    return int(x), int(y)


def _colour(fix: Fix) -> Colour:
    return _STATE_COLOURS.get(fix.state, _INK)
