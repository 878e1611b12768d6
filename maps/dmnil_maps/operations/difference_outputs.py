"""What is different between two maps, to look at: GeoJSON for a GIS, and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dmnil_maps.operations.difference import ADDED, CHANGED, REMOVED, MapDifference, marked_tiles
from edge_runtime.contract.artefact import write_whole
from edge_runtime.contract.errors import OutputError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.outputs.track_picture import read_preview

_COLOURS = {ADDED: (110, 220, 80), REMOVED: (70, 70, 255), CHANGED: (30, 190, 255)}  # BGR
_GROUND_BRIGHTNESS = 0.6
_LONGEST_SIDE_PX = 1600
_TILES_PER_CHUNK = 4096
_FONT = cv2.FONT_HERSHEY_DUPLEX


def write_geojson(path: Path, difference: MapDifference) -> Path:
    """Write every tile that was added, removed or changed as a polygon of its footprint.

    Raises:
        OutputError: If it cannot be written.
    """
    parts = ['{"type": "FeatureCollection", "features": [']
    separator = "\n"
    for what, region_map, rows, cosines in marked_tiles(difference):
        for start in range(0, len(rows), _TILES_PER_CHUNK):
            chunk = slice(start, start + _TILES_PER_CHUNK)
            features = _features(what, region_map, rows[chunk], cosines[chunk])
            parts.append(separator + ",\n".join(features))
            separator = ",\n"
    return write_whole(path, "".join([*parts, "\n]}\n"]), parents=True)


def _features(
    what: str,
    region_map: RegionMap,
    rows: npt.NDArray[np.intp],
    cosines: npt.NDArray[np.float32],
) -> list[str]:
    tiles = np.asarray(region_map.tiles[rows])
    rings = _footprints(region_map.frame, tiles).tolist()
    features = []
    for size, ring, cosine in zip(tiles["footprint_m"].tolist(), rings, cosines, strict=True):
        properties: dict[str, Any] = {"change": what, "footprint_m": size}
        if np.isfinite(cosine):
            properties["cosine"] = round(float(cosine), 4)
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append(
            json.dumps({"type": "Feature", "properties": properties, "geometry": geometry})
        )
    return features


def write_picture(path: Path, difference: MapDifference) -> Path:
    """Write a PNG of the second map's picture with the cells of what is different.

    Raises:
        MapError: If the map's preview cannot be read.
        OutputError: If the picture cannot be written.
    """
    second = difference.second
    preview = read_preview(second)
    scale = _LONGEST_SIDE_PX / max(preview.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    enlarged = cv2.resize(preview, None, fx=scale, fy=scale, interpolation=interpolation)
    canvas: npt.NDArray[np.uint8] = np.asarray(enlarged * _GROUND_BRIGHTNESS, np.uint8)
    pixel_m = second.preview.metres_per_pixel / scale
    marks = canvas.copy()
    for what, region_map, rows, _ in marked_tiles(difference):
        tiles = np.asarray(region_map.tiles[rows])
        centres = second.frame.to_local(tiles["latitude_deg"], tiles["longitude_deg"])
        stride_m = np.array([level.stride_m for level in region_map.levels])[tiles["level"]]
        corner = np.array([second.preview.west_m, second.preview.north_m])
        middle = (centres - corner) * [1.0, -1.0] / pixel_m
        half = stride_m[:, None] / 2 / pixel_m
        low, high = np.rint(middle - half).astype(int), np.rint(middle + half).astype(int)
        for (left, top), (right, bottom) in zip(low.tolist(), high.tolist(), strict=True):
            cv2.rectangle(marks, (left, top), (right, bottom), _COLOURS[what], cv2.FILLED)
    cv2.addWeighted(marks, 0.6, canvas, 0.4, 0.0, dst=canvas)
    _draw_legend(canvas, difference)
    encoded, content = cv2.imencode(".png", canvas)
    if not encoded:
        raise OutputError(f"{path} cannot be encoded")
    return write_whole(path, content.tobytes(), parents=True)


def _footprints(frame: LocalFrame, tiles: npt.NDArray[np.void]) -> npt.NDArray[np.float64]:
    """Rings (n, 5, 2) of longitude and latitude around the tiles, counter-clockwise."""
    centres = frame.to_local(tiles["latitude_deg"], tiles["longitude_deg"])
    half = tiles["footprint_m"].astype(np.float64)[:, None, None] / 2
    around = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
    latitude, longitude = frame.to_geodetic(centres[:, None] + half * around)
    return np.asarray(np.round(np.stack([longitude, latitude], axis=-1), 7), np.float64)


def _draw_legend(canvas: npt.NDArray[np.uint8], difference: MapDifference) -> None:
    counts = {
        what: sum(level.counts[what] for level in difference.levels)
        for what in (ADDED, REMOVED, CHANGED)
    }
    panel = canvas[14:124, 14:330]
    panel[:] = np.asarray(panel * 0.18 + np.array([31, 25, 20]) * 0.82, np.uint8)
    for number, (what, count) in enumerate(counts.items()):
        y = 46 + 30 * number
        cv2.rectangle(canvas, (28, y - 14), (44, y + 2), _COLOURS[what], cv2.FILLED)
        cv2.putText(
            canvas, f"{count:,} {what}", (56, y), _FONT, 0.62, (245, 240, 232), 1, cv2.LINE_AA
        )
