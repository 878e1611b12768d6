"""One self-contained page that shows a map: open it in any browser, offline."""

from __future__ import annotations

import base64
import html
import json
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dmnil_maps.preview.facts import facts_of, subtitle_of
from dmnil_maps.preview.layers import Layer, LevelLayers, colours
from dmnil_maps.preview.view_search import LevelView, ViewSearch
from dmnil_maps.preview.view_verdict import expected_place, notes_on, verdict_of
from edge_runtime.contract.artefact import write_whole
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.region_map import PREVIEW_FILE, RegionMap
from edge_runtime.outputs.track_picture import read_preview

_TEMPLATE = "page.html"
_HISTOGRAM_BINS = 60
_IMAGE_WIDTH_PX = 760
_JPEG_QUALITY = 86


@dataclass(frozen=True)
class Expected:
    """Where the drone is known to have been, in degrees."""

    latitude_deg: float
    longitude_deg: float


def write_page(
    path: Path,
    region_map: RegionMap,
    levels: list[LevelLayers],
    search: ViewSearch | None,
    expected: Expected | None,
) -> Path:
    """Write the page; nothing in it is loaded from elsewhere.

    Args:
        search: What was found for a picture, if one was looked for.
    Raises:
        MapError: If the map's preview picture cannot be read.
        OutputError: If the page cannot be written.
    """
    title = region_map.folder.resolve().name
    if search is not None:
        title = f"{search.name} on {title}"
    # No text of a map may end the script element that carries it.
    data = json.dumps(_page_data(region_map, levels, search, expected), allow_nan=False)
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    template = (resources.files("dmnil_maps.preview") / _TEMPLATE).read_text(encoding="utf-8")
    before, after = template.split("__DATA__")
    page = before.replace("__TITLE__", html.escape(title)) + data + after
    return write_whole(path, page, parents=True)


def _page_data(
    region_map: RegionMap,
    levels: list[LevelLayers],
    search: ViewSearch | None,
    expected: Expected | None,
) -> dict[str, Any]:
    manifest = region_map.manifest
    picture = read_preview(region_map)
    height, width = picture.shape[:2]
    drone_m = None
    if expected is not None:
        drone_m = region_map.frame.to_local(expected.latitude_deg, expected.longitude_deg)
    first = 0 if search is None else search.best.level
    offset_m = (0.0, 0.0) if search is None else search.best.offset_m
    return {
        "title": region_map.folder.resolve().name,
        "subtitle": subtitle_of(region_map),
        "attribution": str(manifest.get("imagery", {}).get("attribution", "")),
        "facts": facts_of(region_map, levels),
        "origin": [region_map.frame.latitude_deg, region_map.frame.longitude_deg],
        "picture": {
            "source": _data_url(_read_bytes(region_map.folder / PREVIEW_FILE)),
            "west": region_map.preview.west_m,
            "north": region_map.preview.north_m,
            "scale": region_map.preview.metres_per_pixel,
            "width": width,
            "height": height,
        },
        "first": first,
        "levels": [
            _level_data(region_map, layers, search, _viewed(drone_m, layers.view))
            for layers in levels
        ],
        "view": None if search is None else _view_data(search),
        "expected": (
            None
            if drone_m is None
            else {"east": drone_m[0] + offset_m[0], "north": drone_m[1] + offset_m[1]}
        ),
    }


def _viewed(
    drone_m: npt.NDArray[np.float64] | None, view: LevelView | None
) -> tuple[float, float] | None:
    """Where a level's view should lie, if the drone's place is known."""
    if drone_m is None or view is None:
        return None
    return float(drone_m[0]) + view.offset_m[0], float(drone_m[1]) + view.offset_m[1]


def _level_data(
    region_map: RegionMap,
    layers: LevelLayers,
    search: ViewSearch | None,
    viewed_m: tuple[float, float] | None,
) -> dict[str, Any]:
    level = layers.level
    found = None
    if layers.view is not None and search is not None:
        found = _found_data(region_map, layers.view, search, viewed_m)
    given = {
        "coverage": layers.present,
        "distinctiveness": layers.distinctiveness,
        "similarity": layers.similarity,
    }
    return {
        "number": layers.number,
        "footprint": level.footprint_m,
        "stride": level.stride_m,
        "rows": level.rows,
        "columns": level.columns,
        "east": level.first_east_m,
        "north": level.first_north_m,
        "tiles": layers.tiles,
        "missing": layers.missing,
        "layers": {
            name: _layer_data(layer, name != "coverage")
            for name, layer in given.items()
            if layer is not None
        },
        "found": found,
    }


def _layer_data(layer: Layer, coloured: bool) -> dict[str, Any]:
    counts, edges = np.histogram(layer.values, bins=_HISTOGRAM_BINS)
    return {
        "cells": _base64(zlib.compress(layer.cells.tobytes(), 9)),
        "rows": layer.cells.shape[0],
        "columns": layer.cells.shape[1],
        "step": layer.step,
        "low": layer.low,
        "high": layer.high,
        "ramp": _base64(colours(layer).tobytes()) if coloured else None,
        "histogram": {
            "counts": counts.tolist(),
            "low": float(edges[0]),
            "high": float(edges[-1]),
        },
    }


def _found_data(
    region_map: RegionMap,
    view: LevelView,
    search: ViewSearch,
    viewed_m: tuple[float, float] | None,
) -> dict[str, Any]:
    geometry = region_map.levels[view.level]
    expected = None if viewed_m is None else expected_place(region_map, view, viewed_m)
    verdict = verdict_of(region_map, view)
    places = []
    for number, place in enumerate(view.places):
        east, north = geometry.centre(place.lattice_row, place.lattice_column)
        places.append(
            {
                "rank": number + 1,
                "row": place.lattice_row,
                "column": place.lattice_column,
                "east": float(east),
                "north": float(north),
                "latitude": place.latitude_deg,
                "longitude": place.longitude_deg,
                "score": place.score,
            }
        )
    return {
        "verdict": {
            "grade": verdict.grade,
            "headline": verdict.headline,
            "text": verdict.text,
        },
        "notes": [
            {"text": note.text, "warns": note.warns}
            for note in notes_on(region_map, view, expected, viewed_m is not None)
        ],
        "source": _jpeg_url(view.view),
        "caption": (
            f"What the encoder saw: north up, {geometry.footprint_m:g} m"
            + ("" if view.heading_deg == 0.0 else f", heading {view.heading_deg:.0f}\u00b0")
        ),
        "places": places,
        "expected": (
            None
            if expected is None
            else {
                "row": expected.lattice_row,
                "column": expected.lattice_column,
                "score": expected.score,
                "rank": expected.rank,
            }
        ),
    }


def _view_data(search: ViewSearch) -> dict[str, Any]:
    caption = search.name
    if search.sample is not None:
        sample = search.sample
        caption += (
            f": {sample.height_m:.0f} m high, heading {sample.heading_deg:.0f}\u00b0, pitch "
            f"{sample.pitch_deg:.0f}\u00b0"
        )
    shrink = min(1.0, _IMAGE_WIDTH_PX / search.image.shape[1])
    small = cv2.resize(search.image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return {
        "name": search.name,
        "caption": caption,
        "source": _jpeg_url(np.asarray(small, np.uint8)),
    }


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MapError(f"{path} cannot be read: {error.strerror or error}") from error


def _jpeg_url(rgb: npt.NDArray[np.uint8]) -> str:
    _, content = cv2.imencode(
        ".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    return _data_url(content.tobytes())


def _data_url(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{_base64(jpeg)}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
