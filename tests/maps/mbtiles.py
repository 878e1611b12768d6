"""A folder of XYZ tiles as MBTiles, by the specification: SQLite, rows counted from the south."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def write_mbtiles(path: Path, folder: Path, zoom: int, **metadata: str) -> Path:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE metadata (name text, value text)")
        database.execute(
            "CREATE TABLE tiles (zoom_level integer, tile_column integer, tile_row integer, "
            "tile_data blob)"
        )
        database.execute("CREATE UNIQUE INDEX at ON tiles (zoom_level, tile_column, tile_row)")
        database.executemany("INSERT INTO metadata VALUES (?, ?)", metadata.items())
        for tile in sorted(folder.glob(f"{zoom}/*/*")):
            row = 2**zoom - 1 - int(tile.stem)
            place = zoom, int(tile.parent.name), row
            database.execute("INSERT INTO tiles VALUES (?, ?, ?, ?)", (*place, tile.read_bytes()))
    database.close()
    return path
