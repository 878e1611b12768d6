"""All that decides a build's raw descriptors, so that a stopped one goes on only from its own."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnxruntime
import rasterio

from dmnil_maps.describing import DescribeSpec
from edge_runtime import __version__
from edge_runtime.contract.encoder_bundle import EncoderBundle


def made_from(spec: DescribeSpec, bundle: EncoderBundle) -> dict[str, Any]:
    """What the descriptors are made of, by the name under which a change of it is told."""
    return {
        "imagery": [_fingerprint(path) for path in spec.imagery] + [spec.zoom, spec.crs, spec.tms],
        "levels": [asdict(level) for level in spec.levels] + [asdict(spec.frame)],
        "area": None if spec.area is None else spec.area.digest,
        "encoder": [bundle.encoder_sha256, spec.precision],
        "engine settings": [spec.backend, spec.threads, spec.batch_size],
        "releases": [__version__, onnxruntime.__version__, rasterio.__version__],
    }


def _fingerprint(source: Path) -> str:
    """Names, sizes and times of a source's files: those beside a raster, all those in a folder."""
    files = (
        source.rglob("*")
        if source.is_dir()
        else (path for path in source.parent.iterdir() if path.stem.startswith(source.stem))
    )
    digest = hashlib.sha256()
    for path in sorted(files):
        if path.is_file():
            status = path.stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
