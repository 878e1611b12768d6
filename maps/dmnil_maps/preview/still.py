"""The still of a map's preview: its picture, its best layer, and the best places on it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dmnil_maps.preview.layers import Layer, LevelLayers, colours
from dmnil_maps.preview.page import Expected
from dmnil_maps.preview.view_search import ViewSearch
from dmnil_maps.preview.view_verdict import verdict_of
from edge_runtime.contract.artefact import write_whole
from edge_runtime.contract.errors import OutputError
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.outputs.track_picture import read_preview

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
_LONGEST_SIDE_PX = 1600
_LAYER_STRENGTH = 0.7
_FONT = cv2.FONT_HERSHEY_DUPLEX
_INK: Colour = (245, 240, 232)  # blue, green, red
_BEST: Colour = (255, 200, 92)
_EXPECTED: Colour = (209, 90, 255)
_HOLE: Colour = (62, 62, 255)
_PANEL: Colour = (31, 25, 20)


def write_preview_png(
    path: Path,
    region_map: RegionMap,
    levels: list[LevelLayers],
    search: ViewSearch | None = None,
    expected: Expected | None = None,
) -> Path:
    """Write a PNG: similarity where a picture was looked for, else distinctiveness or coverage.

    Raises:
        MapError: If the map's preview cannot be read.
        OutputError: If the picture cannot be written.
    """
    layers = levels[0 if search is None else search.best.level]
    canvas, to_pixels, metres_per_pixel = _ground(region_map)
    layer = layers.similarity or layers.distinctiveness
    _draw_layer(canvas, layers, layer, to_pixels, metres_per_pixel)
    if search is not None:
        _draw_places(canvas, region_map, search, to_pixels, metres_per_pixel)
    if expected is not None:
        offset_m = (0.0, 0.0) if search is None else search.best.offset_m
        east, north = region_map.frame.to_local(expected.latitude_deg, expected.longitude_deg)
        _draw_expected(canvas, to_pixels @ [east + offset_m[0], north + offset_m[1], 1.0])
    _draw_panel(canvas, region_map, layers, layer, search)
    _draw_scale_bar(canvas, metres_per_pixel)
    attribution = str(region_map.manifest.get("imagery", {}).get("attribution", ""))
    _text(canvas, attribution, (20, canvas.shape[0] - 22), 0.5, _INK)
    encoded, content = cv2.imencode(".png", canvas)
    if not encoded:
        raise OutputError(f"{path} cannot be encoded")
    return write_whole(path, content.tobytes(), parents=True)


def _ground(region_map: RegionMap) -> tuple[Picture, npt.NDArray[np.float64], float]:
    """The picture, the affine map (2, 3) from frame metres to its pixels, and its scale."""
    preview = read_preview(region_map)
    scale = _LONGEST_SIDE_PX / max(preview.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
    canvas = cv2.resize(preview, None, fx=scale, fy=scale, interpolation=interpolation)
    metres_per_pixel = region_map.preview.metres_per_pixel / scale
    west, north = region_map.preview.west_m, region_map.preview.north_m
    to_pixels = np.array([[1.0, 0.0, -west], [0.0, -1.0, north]]) / metres_per_pixel
    return np.asarray(canvas, np.uint8), to_pixels, metres_per_pixel


def _draw_layer(
    canvas: Picture,
    layers: LevelLayers,
    layer: Layer | None,
    to_pixels: npt.NDArray[np.float64],
    metres_per_pixel: float,
) -> None:
    shown = layer or layers.present
    level, cell_m = layers.level, layers.level.stride_m * shown.step
    corner = [level.first_east_m - level.stride_m / 2, level.first_north_m + level.stride_m / 2]
    x, y = to_pixels @ [*corner, 1.0]
    cell_px = cell_m / metres_per_pixel
    height, width = canvas.shape[:2]
    to_cells = np.array([[1.0, 0.0, 0.5 - x], [0.0, 1.0, 0.5 - y]]) / cell_px
    to_cells[:, 2] -= 0.5
    warped = cv2.warpAffine(
        shown.cells,
        to_cells,
        (width, height),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderValue=0,
    )
    inside = cv2.warpAffine(
        np.full(shown.cells.shape, 1, np.uint8),
        to_cells,
        (width, height),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderValue=0,
    )
    holes = (inside > 0) & (warped == 0)
    canvas[holes] = (canvas[holes] * 0.45 + np.array(_HOLE) * 0.55).astype(np.uint8)
    if layer is not None:
        seen = warped > 0
        ramp = colours(layer)[:, ::-1][warped[seen]]
        # The ground shines through where there is nothing to see.
        share = warped[seen][:, None] / 255.0
        striking = share if layer.title == "similarity" else 1.0 - share
        strength = _LAYER_STRENGTH * (0.25 + 0.75 * striking)
        canvas[seen] = (canvas[seen] * (1.0 - strength) + ramp * strength).astype(np.uint8)


def _draw_places(
    canvas: Picture,
    region_map: RegionMap,
    search: ViewSearch,
    to_pixels: npt.NDArray[np.float64],
    metres_per_pixel: float,
) -> None:
    view = search.best
    level = region_map.levels[view.level]
    half = level.footprint_m / 2 / metres_per_pixel
    for number, place in reversed(list(enumerate(view.places))):
        east, north = level.centre(place.lattice_row, place.lattice_column)
        x, y = to_pixels @ [east, north, 1.0]
        colour, thickness = (_BEST, 3) if number == 0 else (_INK, 1)
        corners = (round(x - half), round(y - half)), (round(x + half), round(y + half))
        cv2.rectangle(canvas, *corners, (0, 0, 0), thickness + 2, cv2.LINE_AA)
        cv2.rectangle(canvas, *corners, colour, thickness, cv2.LINE_AA)
        _text(canvas, str(number + 1), (round(x - half) + 6, round(y - half) + 22), 0.6, colour)


def _draw_expected(canvas: Picture, place: npt.NDArray[np.float64]) -> None:
    centre = (round(float(place[0])), round(float(place[1])))
    for colour, thickness in (((0, 0, 0), 6), (_EXPECTED, 3)):
        cv2.circle(canvas, centre, 14, colour, thickness, cv2.LINE_AA)
        cv2.drawMarker(canvas, centre, colour, cv2.MARKER_CROSS, 42, thickness, cv2.LINE_AA)
    _text(canvas, "expected", (centre[0] + 24, centre[1] + 6), 0.6, _EXPECTED)


def _draw_panel(
    canvas: Picture,
    region_map: RegionMap,
    layers: LevelLayers,
    layer: Layer | None,
    search: ViewSearch | None,
) -> None:
    level = layers.level
    lines = [
        region_map.folder.resolve().name,
        f"{level.footprint_m:g} m every {level.stride_m:g} m: {layers.tiles:,} tiles, "
        f"{layers.missing:,} places without",
    ]
    if search is not None:
        verdict = verdict_of(region_map, search.best)
        best = search.best.places[0].score
        lines.append(f"{search.name}: {verdict.headline.lower()} (best {best:.1f})")
    width = 28 + max(
        cv2.getTextSize(line, _FONT, 0.72 if not number else 0.56, 1)[0][0]
        for number, line in enumerate(lines)
    )
    width = min(canvas.shape[1] - 28, max(width, 380))
    height = 24 + 28 * len(lines) + (52 if layer is not None else 0)
    panel = canvas[14 : 14 + height, 14 : 14 + width]
    panel[:] = np.asarray(panel * 0.18 + np.array(_PANEL) * 0.82, np.uint8)
    for number, line in enumerate(lines):
        size = 0.72 if not number else 0.56
        _text(canvas, line, (28, 44 + 28 * number), size, _INK)
    if layer is None:
        return
    top = 14 + height - 52
    ramp = colours(layer)[1:, ::-1]
    bar = cv2.resize(ramp[None], (width - 28, 12), interpolation=cv2.INTER_LINEAR)
    canvas[top : top + 12, 28:width] = bar
    ends = (
        ("like many others", "stands out")
        if layer.title == "distinctiveness"
        else ("similarity: chance", f"{layer.high:g} deviations above")
    )
    _text(canvas, ends[0], (28, top + 34), 0.5, _INK)
    across = cv2.getTextSize(ends[1], _FONT, 0.5, 1)[0][0]
    _text(canvas, ends[1], (width - across, top + 34), 0.5, _INK)


def _draw_scale_bar(canvas: Picture, metres_per_pixel: float) -> None:
    target_m = canvas.shape[1] * metres_per_pixel / 6
    magnitude = 10.0 ** np.floor(np.log10(target_m))
    length_m = float(max(step * magnitude for step in (1, 2, 5) if step * magnitude <= target_m))
    right, bottom = canvas.shape[1] - 26, canvas.shape[0] - 26
    left = round(right - length_m / metres_per_pixel)
    for colour, thickness in (((0, 0, 0), 6), (_INK, 3)):
        cv2.line(canvas, (left, bottom), (right, bottom), colour, thickness, cv2.LINE_AA)
    label = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    _text(canvas, label, (left, bottom - 12), 0.6, _INK)


def _text(canvas: Picture, text: str, origin: tuple[int, int], size: float, ink: Colour) -> None:
    # The outline has the ink's own weight: OpenCV 5 sets heavier letters wider apart.
    for right, down in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        place = (origin[0] + right, origin[1] + down)
        cv2.putText(canvas, text, place, _FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.putText(canvas, text, origin, _FONT, size, ink, 1, cv2.LINE_AA)
