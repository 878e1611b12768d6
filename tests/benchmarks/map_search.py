"""Searching a map of a million tiles: the runtime's own search against faiss and usearch.

    python tests/benchmarks/map_search.py --side 1000 --json map_search.json

The vectors are SYNTHETIC, but not white noise. One Gaussian random field per value of the
descriptor, with the spectrum that the real flight's map has after its half whitening (deviations
from 0.129 down to 0.031 over 512 values, kurtosis 3), and with its tiles' likeness to their
neighbours: 0.33 at one stride of 30 m, 0.11 at two, 0.09 at four, 0.01 at sixteen, which is the
overlap of footprints (0.9 of the variance, 3 x 3 kernel) on land of kilometre-wide kinds (0.1).
Queries are tiles plus noise of the same spectrum, at a cosine of 0.3 (as the real flight's views
have to their tiles) and of 0.6.

Every search runs in a process of its own, so that resident memory is its own. As in the runtime,
BLAS has one thread; faiss has all.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from edge_runtime.contract.artefact import staged_directory
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.map_lattice import map_order
from edge_runtime.contract.region_map import (
    MAP_KIND,
    PREVIEW_FILE,
    MapLevel,
    PreviewPicture,
    load_region_map,
)
from edge_runtime.contract.region_map_writer import (
    MapContents,
    tiles_on_lattice,
    write_region_map,
)
from edge_runtime.localize.search import TileSearch

SIZE = 512
STRIDE_M = 30.0
WINDOW_TILES = 34
"""Along a side: 1 km, and one to spare."""
COSINES = (0.3, 0.6)
NEIGHBOURS = 10
PROBES = (16, 64, 256)
HNSW_BREADTHS = (64, 256, 1024)
CHUNK = 32_768


def spectrum() -> np.ndarray:
    """Deviations of the values of a half-whitened descriptor, as the real flight's map has them."""
    at = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    deviations = [0.1288, 0.1141, 0.0985, 0.0825, 0.0726, 0.0614, 0.0533, 0.0461, 0.0393, 0.031]
    return np.interp(np.log2(np.arange(1, SIZE + 1)), np.log2(at), deviations)


def synthetic_descriptors(side: int, order: np.ndarray, path: Path) -> np.ndarray:
    """Unit descriptors (side * side, SIZE) as float16, in the map's order, in a file."""
    random = np.random.default_rng(0)
    kernel = np.array([0.135, 1.0, 0.135], np.float32)
    kernel /= np.linalg.norm(kernel)
    stored = np.lib.format.open_memmap(path, "w+", np.float16, (side * side, SIZE))
    block = np.empty((side * side, 32), np.float32)
    for first in range(0, SIZE, block.shape[1]):
        for value in range(block.shape[1]):
            white = random.standard_normal((side, side), dtype=np.float32)
            near = cv2.sepFilter2D(white, -1, kernel, kernel)
            coarse = random.standard_normal((side // 4 + 8,) * 2, dtype=np.float32)
            coarse = cv2.GaussianBlur(coarse, (0, 0), 1.25)
            far = cv2.resize(coarse, (side + 32,) * 2, interpolation=cv2.INTER_CUBIC)[
                16:-16, 16:-16
            ]
            field = np.sqrt(0.9) * near + np.sqrt(0.1) / far.std() * far
            block[:, value] = (spectrum()[first + value] * field).ravel()
        stored[:, first : first + block.shape[1]] = block[order]
    for start in range(0, len(stored), CHUNK):
        part = stored[start : start + CHUNK].astype(np.float32)
        stored[start : start + CHUNK] = unit(part)
    stored.flush()
    return stored


def synthetic_queries(descriptors: np.ndarray, cosine: float, count: int) -> np.ndarray:
    """Views (count, SIZE) of random tiles: at a cosine to them, the rest noise like the tiles."""
    random = np.random.default_rng(round(cosine * 100))
    tiles = descriptors[np.sort(random.integers(0, len(descriptors), count))].astype(np.float32)
    noise = unit(random.standard_normal((count, SIZE)) * spectrum())
    return unit(cosine * tiles + np.sqrt(1.0 - cosine**2) * noise).astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write_map(folder: Path, side: int, descriptors: np.ndarray, storage: str) -> None:
    """The vectors as a region map."""
    half = (side - 1) * STRIDE_M / 2
    level, frame = MapLevel(120.0, STRIDE_M, side, side, -half, half), LocalFrame(50.0, 8.0)
    rows, columns = np.divmod(np.arange(side * side), side)
    order = map_order(np.zeros_like(rows), rows, columns)
    zeros = np.zeros(len(order), np.int64)
    contents = MapContents(
        encoder_sha256="0" * 64,
        frame=frame,
        levels=(level,),
        tiles=tiles_on_lattice(frame, (level,), zeros, rows[order], columns[order]),
        descriptor_mean=np.zeros((1, SIZE), np.float32),
        projection=np.eye(SIZE, dtype=np.float32),
        preview=PreviewPicture(-half, half, 2 * half / 64),
    )
    with staged_directory(folder, MAP_KIND) as staging:
        cv2.imwrite(str(staging / PREVIEW_FILE), np.full((64, 64, 3), 128, np.uint8))
        write_region_map(staging, contents, chunks_of(descriptors), {}, storage=storage)


def chunks_of(descriptors: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(descriptors), CHUNK):
        yield descriptors[start : start + CHUNK].astype(np.float32)


def exact_neighbours(descriptors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Rows (Q, 10) of the nearest, by float32 products with all."""
    scores = np.full((len(queries), NEIGHBOURS), -2.0, np.float32)
    rows = np.zeros((len(queries), NEIGHBOURS), np.int64)
    for number, chunk in enumerate(chunks_of(descriptors)):
        products = queries @ chunk.T
        best = np.argpartition(-products, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        scores = np.concatenate([scores, np.take_along_axis(products, best, 1)], axis=1)
        rows = np.concatenate([rows, best + number * CHUNK], axis=1)
        order = np.argsort(-scores, axis=1)[:, :NEIGHBOURS]
        scores, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
    return rows


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def percentiles(times_s: list[float]) -> dict[str, float]:
    at_ms = np.percentile(np.array(times_s) * 1e3, [50, 99])
    return {"p50_ms": round(float(at_ms[0]), 3), "p99_ms": round(float(at_ms[1]), 3)}


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Share of the exact ten that were found."""
    return float(
        np.mean([len(set(f) & set(e)) / NEIGHBOURS for f, e in zip(found, exact, strict=True)])
    )


def timed_searches(
    search: Callable[[np.ndarray], np.ndarray], given: dict[float, tuple[np.ndarray, np.ndarray]]
) -> dict[str, Any]:
    """One query at a time: times over all, recall@10 of the exact neighbours per cosine."""
    times: list[float] = []
    recalls = {}
    search(next(iter(given.values()))[0][:1])
    for cosine, (queries, exact) in given.items():
        found = []
        for query in queries:
            started = time.perf_counter()
            found.append(search(query[None]).ravel()[:NEIGHBOURS])
            times.append(time.perf_counter() - started)
        recalls[f"recall@10, cosine {cosine}"] = round(recall(np.array(found), exact), 4)
    return {**percentiles(times), **recalls}


def measure_ours(folder: Path, given: dict[float, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Opening, a thousand windows, memory after them, cold starts, batches of headings."""
    before_mb, started = resident_mb(), time.perf_counter()
    region_map = load_region_map(folder)
    loaded = time.perf_counter()
    search = TileSearch(region_map)
    results: dict[str, Any] = {
        "open_map_ms": round((loaded - started) * 1e3, 2),
        "open_map_and_search_ms": round((time.perf_counter() - started) * 1e3, 2),
    }
    level = region_map.levels[0]
    queries = np.concatenate([queries for queries, _ in given.values()])
    random = np.random.default_rng(3)
    times: dict[int, list[float]] = {1: [], 12: []}
    computing: list[float] = []
    for headings, count in ((1, 1000), (12, 200)):
        for number in range(count):
            row, column = random.integers(0, (level.rows - 34, level.columns - 34))
            several = np.take(queries, range(number, number + headings), axis=0, mode="wrap")
            started, computed = time.perf_counter(), time.thread_time()
            window = slice(row, row + WINDOW_TILES), slice(column, column + WINDOW_TILES)
            scores = search.scores(several, 0, region_map.rows_at(0, *window).ravel())
            times[headings].append(time.perf_counter() - started)
            if headings == 1:
                computing.append(time.thread_time() - computed)
            assert scores.shape == (headings, WINDOW_TILES**2)
        if headings == 1:
            results["resident_after_1000_windows_mb"] = round(resident_mb())
            results["resident_before_mb"] = round(before_mb)
    results["window"] = percentiles(times[1])
    results["window, processor time alone"] = percentiles(computing)
    results["window_of_12_headings"] = percentiles(times[12])
    results["cold_start"] = timed_searches(
        lambda query: search.best([query], [0], NEIGHBOURS)[0], given
    )
    everywhere = region_map.rows_at(0).ravel()
    times[1] = []
    for query in queries[:20]:
        started = time.perf_counter()
        search.scores_where_likely(query, 0, everywhere)
        times[1].append(time.perf_counter() - started)
    results["evidence_over_the_whole_map"] = percentiles(times[1])
    results["resident_after_cold_starts_mb"] = round(resident_mb())
    results["megabytes_on_disk"] = round(
        sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    )
    return results


def measure_ivf_sq8(
    path: Path, given: dict[float, tuple[np.ndarray, np.ndarray]]
) -> dict[str, Any]:
    """faiss IVF1024,SQ8 over all, at several numbers of probes; and a window by its selector."""
    import faiss

    descriptors = np.load(path, mmap_mode="r")
    started = time.perf_counter()
    index = faiss.index_factory(SIZE, "IVF1024,SQ8", faiss.METRIC_INNER_PRODUCT)
    sample = np.sort(np.random.default_rng(1).choice(len(descriptors), 40_960, replace=False))
    index.train(descriptors[sample].astype(np.float32))
    for chunk in chunks_of(descriptors):
        index.add(chunk)
    results: dict[str, Any] = {"build_s": round(time.perf_counter() - started, 1)}
    for probes in (*PROBES, 1024):
        index.nprobe = probes
        few = {cosine: (q[:25], e[:25]) for cosine, (q, e) in given.items()}
        results[f"{probes} of 1024 lists"] = timed_searches(
            lambda query: index.search(query, NEIGHBOURS)[1], few if probes == 1024 else given
        )
    times = []
    query = given[COSINES[0]][0][:1]
    for number in range(20):
        started = time.perf_counter()
        window = np.arange(number * 1156, (number + 1) * 1156)
        selector = faiss.IDSelectorBatch(window)
        settings = faiss.SearchParametersIVF(sel=selector, nprobe=1024)
        index.search(query, NEIGHBOURS, params=settings)
        times.append(time.perf_counter() - started)
    results["window, by selector over all lists"] = percentiles(times)
    results["resident_mb"] = round(resident_mb())
    return results


def measure_hnsw(path: Path, given: dict[float, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """faiss HNSW32 over float32."""
    import faiss

    descriptors = np.load(path, mmap_mode="r")
    started = time.perf_counter()
    index = faiss.index_factory(SIZE, "HNSW32,Flat", faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 64
    for chunk in chunks_of(descriptors):
        index.add(chunk)
    results: dict[str, Any] = {"build_s": round(time.perf_counter() - started, 1)}
    for breadth in HNSW_BREADTHS:
        index.hnsw.efSearch = breadth
        results[f"breadth {breadth}"] = timed_searches(
            lambda query: index.search(query, NEIGHBOURS)[1], given
        )
    results["resident_mb"] = round(resident_mb())
    return results


def measure_usearch(
    path: Path, given: dict[float, tuple[np.ndarray, np.ndarray]]
) -> dict[str, Any]:
    """usearch's HNSW over float16."""
    from usearch.index import Index

    descriptors = np.load(path, mmap_mode="r")
    started = time.perf_counter()
    index = Index(ndim=SIZE, metric="ip", dtype="f16", connectivity=32, expansion_add=64)
    for number, chunk in enumerate(chunks_of(descriptors)):
        index.add(np.arange(len(chunk)) + number * CHUNK, chunk, threads=2)
    results: dict[str, Any] = {"build_s": round(time.perf_counter() - started, 1)}
    for breadth in HNSW_BREADTHS:
        index.expansion_search = breadth
        results[f"breadth {breadth}"] = timed_searches(
            lambda query: index.search(query[0], NEIGHBOURS).keys.astype(np.int64), given
        )
    results["resident_mb"] = round(resident_mb())
    return results


def in_own_process(measure: Callable[..., dict[str, Any]], *arguments: object) -> dict[str, Any]:
    """Run a measurement in a fresh process."""
    # One thread for BLAS, from the start, as edge_runtime's commands have it.
    with multiprocessing.get_context("spawn").Pool(1, initializer=limit_blas) as pool:
        return pool.apply(measure, arguments)


def limit_blas() -> None:
    threadpool_limits(limits=1, user_api="blas")


def table(results: dict[str, Any], indent: int = 0) -> Iterator[str]:
    for name, value in results.items():
        if isinstance(value, dict):
            yield f"{'  ' * indent}{name}"
            yield from table(value, indent + 1)
        else:
            yield f"{'  ' * indent}{name:<{44 - 2 * indent}}{value:>12}"


def main() -> None:
    """Write the vectors, search them in every way, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1000, help="tiles along the map's side")
    parser.add_argument("--graph-side", type=int, default=316, help="the same for the graphs")
    parser.add_argument("--queries", type=int, default=100, help="of each cosine")
    parser.add_argument("--only-ours", action="store_true")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    results: dict[str, Any] = {
        "tiles": options.side**2,
        "values": SIZE,
        "processors": os.cpu_count(),
    }
    with tempfile.TemporaryDirectory(prefix="map_search-") as name:
        folder = Path(name)
        for label, side in (("", options.side), ("graph ", options.graph_side)):
            path = folder / f"{label}vectors.npy"
            rows, columns = np.divmod(np.arange(side * side), side)
            order = map_order(np.zeros_like(rows), rows, columns)
            descriptors = synthetic_descriptors(side, order, path)
            given = {}
            for cosine in COSINES:
                queries = synthetic_queries(descriptors, cosine, options.queries)
                given[cosine] = (queries, exact_neighbours(descriptors, queries))
            for storage in ("float16", "int8"):
                write_map(folder / "m.map", side, descriptors, storage)
                sys.stderr.write(f"ours, {storage}, {side * side:,} tiles\n")
                results[f"ours, {storage}, {side * side:,} tiles"] = in_own_process(
                    measure_ours, folder / "m.map", given
                )
            if options.only_ours:
                break
            if not label:
                sys.stderr.write("IVF\n")
                results[f"faiss IVF1024,SQ8, {side * side:,} tiles"] = in_own_process(
                    measure_ivf_sq8, path, given
                )
                continue
            for library, measure in (
                ("faiss HNSW32", measure_hnsw),
                ("usearch f16", measure_usearch),
            ):
                sys.stderr.write(f"{library}\n")
                results[f"{library}, {side * side:,} tiles"] = in_own_process(measure, path, given)
    sys.stdout.write("\n".join(table(results)) + "\n")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
