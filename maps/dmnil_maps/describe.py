"""What a region map holds, for people and for programs; and whether it is intact."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Any

import cv2
import numpy as np

from dmnil_maps.distinctiveness import LOW_DISTINCTIVENESS
from edge_runtime.contract.artefact import MANIFEST_NAME, field_of
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.map_imagery import IMAGERY_FILE
from edge_runtime.contract.map_lattice import map_order
from edge_runtime.contract.region_map import RegionMap, load_region_map
from edge_runtime.contract.terrain_grid import STEP_M, VOID

_POSITION_TOLERANCE_M = 0.01
_LONGEST_SOURCE = 100


def summary_of(region_map: RegionMap) -> dict[str, Any]:
    """A map's facts: encoder, levels, area, bounds, size on disk, imagery.

    Raises:
        MapError: If the manifest lacks one of them.
    """
    manifest = region_map.manifest
    encoder, bounds, imagery = (
        field_of(manifest, name, dict, region_map.folder, MapError)
        for name in ("encoder", "bounds", "imagery")
    )
    crs = field_of(manifest, "coordinate_reference_system", str, region_map.folder, MapError)
    size = sum(int(entry["bytes"]) for entry in manifest["files"].values())
    return {
        "map": str(region_map.folder),
        "encoder": {**encoder, "sha256": region_map.encoder_sha256},
        "descriptor_size": region_map.descriptor_size,
        "storage": manifest["storage"],
        "tiles": len(region_map.tiles),
        "indistinct_share": round(_indistinct_share(region_map), 4),
        "levels": manifest["levels"],
        "area_km2": round(covered_area_km2(region_map), 3),
        "bounds": bounds,
        "coordinate_reference_system": crs,
        "imagery": imagery,
        "picture": _picture_of(region_map),
        "terrain": _terrain_of(region_map),
        "bytes_on_disk": size + (region_map.folder / MANIFEST_NAME).stat().st_size,
    }


def _picture_of(region_map: RegionMap) -> dict[str, float] | None:
    """What the map carries of the imagery itself."""
    if region_map.imagery is None:
        return None
    return {
        "metres_per_pixel": region_map.imagery.grid.metres_per_pixel,
        "bytes": int(region_map.manifest["files"][IMAGERY_FILE]["bytes"]),
    }


def _terrain_of(region_map: RegionMap) -> dict[str, float] | None:
    """What the map carries of elevations."""
    terrain = region_map.terrain
    if terrain is None:
        return None
    known = terrain.steps[terrain.steps != VOID]
    lowest, highest = (
        terrain.geometry.base_m + STEP_M * int(end(known)) for end in (np.min, np.max)
    )
    return {
        "spacing_m": terrain.geometry.spacing_m,
        "lowest_m": round(lowest, 1),
        "highest_m": round(highest, 1),
    }


def _indistinct_share(region_map: RegionMap) -> float:
    """Share of tiles that hardly tell where they are."""
    return float(np.mean(region_map.tiles["distinctiveness"] < LOW_DISTINCTIVENESS))


def covered_area_km2(region_map: RegionMap) -> float:
    """Ground that the tiles of the widest-reaching level cover together."""
    areas = []
    for number, level in enumerate(region_map.levels):
        lattice = region_map.rows_at(number)
        cells_per_tile = max(1, round(level.footprint_m / level.stride_m))
        cell_m = level.footprint_m / cells_per_tile
        margin = cells_per_tile - 1
        present = np.pad((lattice >= 0).astype(np.uint8), ((0, margin), (0, margin)))
        # Every tile covers its own cell and the next ones to the south and east of it.
        kernel = np.ones((cells_per_tile, cells_per_tile), np.uint8)
        covered = cv2.dilate(present, kernel, anchor=(margin, margin), borderValue=0)
        areas.append(int(np.count_nonzero(covered)) * cell_m**2)
    return max(areas) / 1e6


def table_of(summary: dict[str, Any]) -> str:
    """The summary as aligned lines of text."""
    encoder, bounds, imagery = summary["encoder"], summary["bounds"], summary["imagery"]
    rows = [
        ("map", summary["map"]),
        ("encoder", f"{encoder['name']} ({encoder['sha256'][:12]}), {encoder['precision']}"),
        ("", f"{encoder['backbone']}, {encoder['head']}"),
        ("descriptors", f"{summary['descriptor_size']} values, {summary['storage']}"),
        ("tiles", f"{summary['tiles']:,}"),
        ("", f"{summary['indistinct_share']:.1%} look like many others (sea, fields, forest)"),
    ]
    for number, level in enumerate(summary["levels"]):
        rows.append(
            (
                f"level {number}",
                f"{level['footprint_m']:g} m every {level['stride_m']:g} m, "
                f"{level['rows']} x {level['columns']}, {level['tiles']:,} tiles",
            )
        )
    rows += [
        ("area", f"{summary['area_km2']:.2f} km2"),
        ("latitude", f"{bounds['south_deg']:.6f} to {bounds['north_deg']:.6f}"),
        ("longitude", f"{bounds['west_deg']:.6f} to {bounds['east_deg']:.6f}"),
        ("source", shorten(summary["coordinate_reference_system"], _LONGEST_SOURCE)),
        ("", f"{imagery['ground_sample_distance_m']:.2f} m a pixel on the ground"),
        ("", _picture_line(summary["picture"])),
        ("terrain", _terrain_line(summary["terrain"])),
        ("imagery date", imagery["date"] or "not given"),
        ("attribution", imagery["attribution"] or "not given"),
        ("on disk", f"{summary['bytes_on_disk'] / 1e6:.1f} MB"),
    ]
    return "\n".join(f"{name:<13} {value}".rstrip() for name, value in rows)


def _terrain_line(terrain: dict[str, float] | None) -> str:
    if terrain is None:
        return "none: the ground is taken as flat"
    return (
        f"{terrain['lowest_m']:.0f} to {terrain['highest_m']:.0f} m, every "
        f"{terrain['spacing_m']:g} m"
    )


def _picture_line(picture: dict[str, float] | None) -> str:
    if picture is None:
        return "not in the map itself"
    return (
        f"in the map at {picture['metres_per_pixel']:.2f} m a pixel ({IMAGERY_FILE}, "
        f"{picture['bytes'] / 1e6:.1f} MB)"
    )


def verify_map(folder: Path, encoder: Path | None = None) -> RegionMap:
    """Check every file's hash, every tile's place, and that the encoder is the map's own.

    Raises:
        MapError: Naming the first thing that is wrong.
        BundleError: If the encoder bundle is unusable.
    """
    region_map = load_region_map(folder)
    region_map.verify()
    tiles = region_map.tiles
    for number, level in enumerate(region_map.levels):
        rows = region_map.rows_of_level(number)
        chosen = tiles[rows]
        lattice = region_map.rows_at(number)
        row, column = chosen["lattice_row"], chosen["lattice_column"]
        if (chosen["level"] != number).any():
            raise MapError(f"{folder}: tiles of level {number} do not stand together")
        if row.max() >= level.rows or column.max() >= level.columns:
            raise MapError(f"{folder}: tiles of level {number} stand outside its lattice")
        at = lattice[row, column]
        if not np.array_equal(at, np.arange(rows.start, rows.stop)) or (
            np.count_nonzero(lattice >= 0) != len(chosen)
        ):
            raise MapError(f"{folder}: the lattice of level {number} does not name its tiles")
        expected = level.centre(row, column)
        found = region_map.frame.to_local(chosen["latitude_deg"], chosen["longitude_deg"])
        if np.abs(found - expected).max() > _POSITION_TOLERANCE_M:
            raise MapError(f"{folder}: tiles of level {number} are not where its lattice is")
    order = map_order(tiles["level"], tiles["lattice_row"], tiles["lattice_column"])
    if (np.diff(order) != 1).any():
        raise MapError(f"{folder}: tiles are not in the map's order: build it again")
    if encoder is not None:
        region_map.require_encoder(load_encoder_bundle(encoder))
    return region_map
