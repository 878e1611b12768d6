"""How GDAL is asked for MBTiles: by the tiles that are there, on either side of 180 degrees."""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from pathlib import Path

import morecantile

from dmnil_maps.sources.reading_errors import one_line
from edge_runtime.contract.errors import MapError

Options = dict[str, str | float]
_WEB_MERCATOR = morecantile.tms.get("WebMercatorQuad")
_LAST_ZOOM = 24


def opening_options(path: Path, zoom: int | None) -> list[Options]:
    """GDAL's open options for each raster that the file is read as; two across 180 degrees.

    The bounds that the file states are left aside: they are often the whole world's, and GDAL
    rounds them to pixels where it reads but not where it says that it reads.

    Args:
        zoom: The zoom to read; the highest present when None.

    Raises:
        MapError: If the file has no such zoom.
    """
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            zooms = [n for (n,) in database.execute("SELECT DISTINCT zoom_level FROM tiles")]
            level = max(zooms) if zoom is None else zoom
            if level not in zooms or not 0 <= level <= _LAST_ZOOM:
                raise MapError(f"{path} holds no zoom {level}, only {', '.join(map(str, zooms))}")
            columns = sorted(
                n
                for (n,) in database.execute(
                    "SELECT DISTINCT tile_column FROM tiles WHERE zoom_level = ?", (level,)
                )
            )
        finally:
            database.close()
    except sqlite3.Error as error:
        raise MapError(f"{path} cannot be read: {one_line(error)}") from error
    options: Options = {"BAND_COUNT": "4", "USE_BOUNDS": "NO", "ZOOM_LEVEL": str(level)}
    if columns[0] > 0 or columns[-1] < _WEB_MERCATOR.matrix(level).matrixWidth - 1:
        return [options]
    gap, (last_east, first_west) = max(
        (b - a, (a, b)) for a, b in pairwise([*columns, columns[-1]])
    )
    if gap <= 1:
        return [options]
    east_end = _WEB_MERCATOR.xy_bounds(morecantile.Tile(last_east, 0, level)).right
    west_start = _WEB_MERCATOR.xy_bounds(morecantile.Tile(first_west, 0, level)).left
    return [options | {"MINX": west_start}, options | {"MAXX": east_end}]
