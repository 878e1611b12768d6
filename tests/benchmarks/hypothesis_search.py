"""A frame's hypotheses searched together against one after another, cold and warm, in pairs.

    python tests/benchmarks/hypothesis_search.py --json hypothesis_search.json

Cold, every hypothesis of heading and height looks at the whole map, each with a window and a
query of its own; warm, one to three look at the posterior's neighbourhood. Both ways run in turns
in one process, so that what else the machine does falls on both; ratios are of processor time.
The maps are map_search.py's: synthetic, their spectrum that of the real flight's map. `tiles`
alone is the search, `cells` what a frame needs: scores interpolated on every hypothesis' grid.
The peak of resident memory is that of a process of its own for either way.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from map_search import (
    STRIDE_M,
    in_own_process,
    synthetic_descriptors,
    synthetic_queries,
    table,
    write_map,
)

from edge_runtime.contract.map_lattice import map_order
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.localize.grid_scores import SearchedView, scores_on_grids
from edge_runtime.localize.position_grid import Bounds, PositionGrid
from edge_runtime.localize.rectify import GroundWindow
from edge_runtime.localize.search import TileSearch

CELL_M = 10.0
FOOTPRINT_M = 120.0
MARGIN_M = 300.0
LOCAL_RADIUS_M = 300.0
COLD = 24
WARM = (1, 2, 3)


def searched_views(side: int, queries: np.ndarray, *, is_cold: bool) -> list[SearchedView]:
    """Views at headings around the compass, their windows 60 to 180 m ahead of the drone."""
    half = (side - 1) * STRIDE_M / 2
    reach = half + MARGIN_M if is_cold else LOCAL_RADIUS_M
    views = []
    for number, query in enumerate(queries):
        heading, ahead_m = 2.0 * np.pi * number / len(queries), 60.0 + 60.0 * (number % 3)
        window = GroundWindow(ahead_m * np.sin(heading), ahead_m * np.cos(heading), FOOTPRINT_M)
        bounds = Bounds.around(np.array([7.0 * number, -5.0 * number]), reach)
        views.append(SearchedView(0, query, window, PositionGrid.uniform(bounds, CELL_M, 1.0)))
    return views


def measure_pairs(folder: Path, side: int, queries: np.ndarray, pairs: int) -> dict[str, Any]:
    """Medians over pairs of both ways, and of their ratio."""
    region_map = load_region_map(folder)
    search = TileSearch(region_map)
    results: dict[str, Any] = {}
    everywhere = region_map.rows_at(0).ravel()
    results[f"tiles, cold, {COLD} hypotheses"] = in_turns(
        lambda: [search.scores_where_likely(query, 0, everywhere) for query in queries],
        lambda: search.scores_where_likely(queries, 0, everywhere),
        pairs,
    )
    for count in (COLD, *WARM):
        views = searched_views(side, queries[:count], is_cold=count == COLD)
        several = "hypothesis" if count == 1 else "hypotheses"
        results[f"cells, {'cold' if count == COLD else 'warm'}, {count} {several}"] = in_turns(
            lambda views=views: [scores_on_grids(search, region_map, [view]) for view in views],
            lambda views=views: scores_on_grids(search, region_map, views),
            pairs if count == COLD else 50 * pairs,
        )
    return results


def in_turns(
    one_by_one: Callable[[], object], together: Callable[[], object], pairs: int
) -> dict[str, float]:
    """Milliseconds of processor and wall time either way, and by how much the second is less."""
    spent = np.empty((pairs, 2, 2))
    one_by_one()
    together()
    for number in range(pairs):
        order = ((0, one_by_one), (1, together))
        for way, work in order if number % 2 else order[::-1]:
            processor, wall = time.process_time(), time.perf_counter()
            work()
            spent[number, way] = time.process_time() - processor, time.perf_counter() - wall
    ratios = spent[:, 0] / spent[:, 1]
    of_way = np.median(spent, axis=0) * 1e3
    return {
        "one by one, processor ms": round(float(of_way[0, 0]), 2),
        "together, processor ms": round(float(of_way[1, 0]), 2),
        "ratio": round(float(np.median(ratios[:, 0])), 2),
        "one by one, wall ms": round(float(of_way[0, 1]), 2),
        "together, wall ms": round(float(of_way[1, 1]), 2),
        "ratio of wall times": round(float(np.median(ratios[:, 1])), 2),
    }


def peak_mb(folder: Path, side: int, queries: np.ndarray, is_together: bool) -> dict[str, Any]:
    """Most memory ever resident, less that of the grids and their scores, which both hold."""
    region_map = load_region_map(folder)
    search, views = TileSearch(region_map), searched_views(side, queries, is_cold=True)
    for _ in range(3):
        if is_together:
            scores = scores_on_grids(search, region_map, views)
        else:
            scores = [scores_on_grids(search, region_map, [view])[0] for view in views]
    held = sum(view.grid.mass.nbytes for view in views) + 2 * sum(part.nbytes for part in scores)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"mb": round((peak - held) / 1e6)}


def main() -> None:
    """Write the maps, search them either way, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", type=int, nargs="+", default=[142, 448], help="tiles along it")
    parser.add_argument("--pairs", type=int, default=7, help="turns of the cold searches")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    results: dict[str, Any] = {"processors": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="hypothesis_search-") as name:
        folder = Path(name)
        for side in options.side:
            rows, columns = np.divmod(np.arange(side * side), side)
            order = map_order(np.zeros_like(rows), rows, columns)
            descriptors = synthetic_descriptors(side, order, folder / "vectors.npy")
            queries = synthetic_queries(descriptors, 0.3, COLD)
            for storage in ("float16", "int8"):
                write_map(folder / "m.map", side, descriptors, storage)
                sys.stderr.write(f"{storage}, {side * side:,} tiles\n")
                given = folder / "m.map", side, queries
                measured = in_own_process(measure_pairs, *given, options.pairs)
                for name, is_together in (("one by one", False), ("together", True)):
                    peak = in_own_process(peak_mb, *given, is_together)
                    measured[f"peak memory beside grids, {name}, MB"] = peak["mb"]
                results[f"{storage}, {side * side:,} tiles"] = measured
    sys.stdout.write("\n".join(table(results)) + "\n")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
