"""Time and memory of clustering a pool, sparse and, where it fits, by dense matrices.

    python tests/benchmarks/pseudo_labels.py [--images 4096 16384] [--dense] [--json FILE]

Each variant runs in a process of its own; its peak is the largest resident set that the kernel saw,
libraries included. `--dense` adds the widely used way, whole N x N matrices in numpy, up to
`--dense-limit` images, and tells whether both find the same clusters.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

IMAGES_A_PLACE, OUTLIER_SHARE = 50, 0.2
K1, K2, EPS, MIN_SAMPLES = 30, 6, 0.4, 4

FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.int64]


def clustered_features(images: int, size: int, seed: int) -> FloatArray:
    """Unit-length features with cosines of about 0.67 inside a place and 0.33 across places."""
    generator = np.random.default_rng(seed)
    places = max(1, round((1 - OUTLIER_SHARE) * images / IMAGES_A_PLACE))
    centres = generator.standard_normal((places, size), dtype=np.float32)
    place = generator.integers(0, places, images)
    nowhere = generator.random(images) < OUTLIER_SHARE
    features = generator.standard_normal((images, size), dtype=np.float32)
    features[nowhere] *= np.float32(np.sqrt(2.0))
    features[~nowhere] += centres[place[~nowhere]]
    features += 1.0
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features


def sparse_labels(features: FloatArray) -> LabelArray:
    import torch

    from dmnil_train.pseudo_labels import cluster

    return cluster(torch.from_numpy(features), K1, K2, EPS, MIN_SAMPLES).labels


def dense_labels(features: FloatArray) -> LabelArray:
    """As re-ranking code is commonly written: every pair has its place in a matrix."""
    from sklearn.cluster import DBSCAN

    count = len(features)
    distances = features @ features.T
    distances *= -2
    distances += 2
    nearest = np.empty((count, K1), np.int64)
    for image in range(count):
        first = np.argpartition(distances[image], K1)[:K1]
        nearest[image] = first[np.argsort(distances[image, first])]

    def reciprocal(image: int, k: int) -> npt.NDArray[np.int64]:
        forward = nearest[image, :k]
        found: npt.NDArray[np.int64] = forward[(nearest[forward, :k] == image).any(axis=1)]
        return found

    weights = np.zeros((count, count), np.float32)
    narrow = [reciprocal(image, round(K1 / 2) + 1) for image in range(count)]
    for image in range(count):
        close = reciprocal(image, K1)
        expanded = close
        for candidate in close:
            others = narrow[candidate]
            if len(np.intersect1d(others, close)) > 2 / 3 * len(others):
                expanded = np.append(expanded, others)
        expanded = np.unique(expanded)
        likeness = np.exp(-distances[image, expanded])
        weights[image, expanded] = likeness / likeness.sum()
    del distances

    averaged = np.zeros_like(weights)
    for image in range(count):
        averaged[image] = weights[nearest[image, :K2]].mean(axis=0)
    weights = averaged
    del averaged

    holders = [np.nonzero(weights[:, image])[0] for image in range(count)]
    jaccard = np.zeros((count, count), np.float32)
    for image in range(count):
        shared = np.zeros(count, np.float32)
        for column in np.nonzero(weights[image])[0]:
            rows = holders[column]
            shared[rows] += np.minimum(weights[image, column], weights[rows, column])
        jaccard[image] = 1 - shared / (2 - shared)
    np.maximum(jaccard, 0, out=jaccard)
    del weights
    labels: LabelArray = DBSCAN(eps=EPS, min_samples=MIN_SAMPLES, metric="precomputed").fit_predict(
        jaccard
    )
    return labels


VARIANTS = {"sparse": sparse_labels, "dense": dense_labels}


def peak_memory_mb() -> float:
    """Largest resident set of this process; unlike getrusage's it owes nothing to its parent."""
    status = Path("/proc/self/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kilobytes) / 1024


def run_variant(variant: str, folder: Path) -> None:
    """One variant on the features in a folder; leaves its labels and figures there."""
    features = np.load(folder / "features.npy")
    VARIANTS[variant](features[: 4 * K1])  # so that imports and start-up are not timed
    start, start_cpu = time.perf_counter(), time.process_time()
    labels = VARIANTS[variant](features)
    figures = {
        "variant": variant,
        "images": len(features),
        "seconds": round(time.perf_counter() - start, 2),
        "processor_seconds": round(time.process_time() - start_cpu, 2),
        "peak_memory_mb": round(peak_memory_mb()),
        "clusters": int(labels.max()) + 1,
        "outliers": int((labels < 0).sum()),
    }
    np.save(folder / f"{variant}.npy", labels)
    (folder / f"{variant}.json").write_text(json.dumps(figures))


def same_clusters(folder: Path) -> bool:
    """Whether both variants agree up to the clusters' names."""
    sparse, dense = np.load(folder / "sparse.npy"), np.load(folder / "dense.npy")
    pairs = np.unique(np.stack((sparse, dense)), axis=1)
    return bool(
        np.array_equal(sparse < 0, dense < 0)
        and len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    )


def measure(images: int, size: int, seed: int, variants: list[str]) -> list[dict[str, Any]]:
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "features.npy", clustered_features(images, size, seed))
        for variant in variants:
            subprocess.run(
                [sys.executable, __file__, "--variant", variant, "--folder", name], check=True
            )
            results.append(json.loads((folder / f"{variant}.json").read_text()))
        if len(variants) == 2:
            ours, dense = results
            ours["same_clusters_as_dense"] = same_clusters(folder)
            ours["times_faster"] = round(dense["seconds"] / ours["seconds"], 1)
            ours["share_of_memory"] = round(ours["peak_memory_mb"] / dense["peak_memory_mb"], 3)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[4096, 16384, 65536, 131072])
    parser.add_argument("--size", type=int, default=768, help="values a feature")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dense", action="store_true", help="also run the dense reference")
    parser.add_argument("--dense-limit", type=int, default=16384, help="largest pool it gets")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        run_variant(options.variant, options.folder)
        return
    results = []
    for images in options.images:
        variants = ["sparse"]
        if options.dense and images <= options.dense_limit:
            variants.append("dense")
        for figures in measure(images, options.size, options.seed, variants):
            sys.stdout.write(json.dumps(figures) + "\n")
            sys.stdout.flush()
            results.append(figures)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
