"""Where the time of `dmnil-map build` goes on a large cloud-optimised GeoTIFF, and its memory.

The picture of the sample's town, turned, mirrored and lit in ever new ways, is laid out side by
side with some sensor noise. A child process describes a part of it, or all.

python tests/benchmarks/map_build.py --folder /tmp/map_build --area-side-m 3000
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import rasterio
import rasterio.shutil
from rasterio.transform import from_origin
from rasterio.windows import Window
from threadpoolctl import threadpool_limits

from dmnil_maps.area_files import bounds_area
from dmnil_maps.build import build_with_report
from dmnil_maps.build_config import BuildConfig
from dmnil_maps.raster import open_imagery
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.engines import open_engine

SAMPLE = Path(__file__).resolve().parents[2] / "edge_runtime" / "sample"
PIXEL_M = 0.5
PATCH_PX = 1536
NOISE_LEVELS = 3.0
SETTINGS = {"compress": "deflate", "level": 1, "predictor": 2, "num_threads": os.cpu_count()}


def write_cog(path: Path, patches: int) -> None:
    """A COG of patches x patches pictures of the town, in UTM, without reading it all at once."""
    town = cv2.imread(str(SAMPLE / "town.map" / "preview.jpg"))[:PATCH_PX, :PATCH_PX, ::-1]
    random = np.random.default_rng(0)
    noise = random.normal(0.0, NOISE_LEVELS, (PATCH_PX * 2, PATCH_PX * 2)).astype(np.float32)
    plain = path.with_suffix(".plain.tif")
    side = patches * PATCH_PX
    with rasterio.open(
        plain, "w", driver="GTiff", width=side, height=side, count=3, dtype="uint8", tiled=True,
        blockxsize=512, blockysize=512, crs="EPSG:32632", bigtiff="yes",
        transform=from_origin(460_000.0, 5_250_000.0, PIXEL_M, PIXEL_M),
    ) as raster:  # fmt: skip
        for row, column in np.ndindex(patches, patches):
            patch = np.rot90(town, random.integers(4))[:, :: random.choice([-1, 1])]
            gain, offset = random.uniform(0.7, 1.2, 3), random.uniform(-15, 15, 3)
            top, left = random.integers(PATCH_PX, size=2)
            grain = noise[top : top + PATCH_PX, left : left + PATCH_PX, None]
            lit = np.clip(patch * gain.astype(np.float32) + offset + grain, 0, 255)
            raster.write(
                np.moveaxis(lit.astype(np.uint8), -1, 0),
                window=Window(column * PATCH_PX, row * PATCH_PX, PATCH_PX, PATCH_PX),
            )
    rasterio.shutil.copy(plain, path, driver="COG", bigtiff="yes", **SETTINGS)
    plain.unlink()


def measured(kind: str, config: BuildConfig, queue: multiprocessing.Queue) -> None:
    """In a process of its own: run, and report figures with the peak of its memory."""
    figures = {}
    if kind == "engine":
        bundle = load_encoder_bundle(config.encoder)
        engine = open_engine(bundle, config.precision, config.engine, config.threads)
        shape = (config.batch_size, bundle.input_height, bundle.input_width, 3)
        for _ in range(3):
            engine.encode(np.zeros(shape, np.uint8))
    else:
        # As every command does: BLAS threads that wait for each other cost more than they bring.
        with threadpool_limits(limits=1, user_api="blas"):
            figures = build_with_report(config).as_dict()
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    queue.put(figures)


def in_child(kind: str, config: BuildConfig) -> dict[str, float]:
    """Figures of a spawned child, so that nothing of this process counts."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=measured, args=(kind, config, queue))
    child.start()
    figures = queue.get()
    child.join()
    return figures


def main() -> None:
    """Make the imagery if it is not there, build, and print figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="imagery is kept here")
    parser.add_argument("--encoder", type=Path, default=SAMPLE / "lite2.encoder")
    parser.add_argument("--patches", type=int, default=13, help="along a side; 13 give 1.1 GB")
    parser.add_argument("--area-side-m", type=float, help="bounds around the middle; all if absent")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args()

    options.folder.mkdir(parents=True, exist_ok=True)
    imagery = options.folder / f"town-{options.patches}.tif"
    if not imagery.exists():
        began = time.perf_counter()
        write_cog(imagery, options.patches)
        print(f"{imagery} made in {time.perf_counter() - began:.0f} s")  # noqa: T201
    area = None
    with open_imagery(imagery) as opened:
        frame, whole = opened.frame, opened.bounds
    if options.area_side_m:
        half_m = options.area_side_m / 2
        latitude, longitude = frame.to_geodetic([(-half_m, -half_m), (half_m, half_m)])
        area = bounds_area(f"{longitude[0]},{latitude[0]},{longitude[1]},{latitude[1]}")
    output = options.folder / "town.map"
    shutil.rmtree(output, ignore_errors=True)
    config = BuildConfig(
        imagery, options.encoder, output, area=area, threads=options.threads,
        readers=options.readers, batch_size=options.batch_size,
    )  # fmt: skip
    engine, build = in_child("engine", config), in_child("build", config)
    figures = {
        "imagery_gb": round(imagery.stat().st_size / 1e9, 3),
        "imagery_km2": round(whole.width_m * whole.height_m / 1e6, 1),
        "area_side_m": options.area_side_m,
        "load": os.getloadavg()[0],
        **build,
        "engine_peak_mib": round(engine["peak_mib"]),
        "above_engine_mib": round(build["peak_mib"] - engine["peak_mib"]),
    }
    print(json.dumps(figures, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
