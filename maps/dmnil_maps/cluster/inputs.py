"""What every machine of a cluster has to see alike: encoder, imagery, releases."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import onnxruntime
import rasterio

from dmnil_maps.describing import DescribeSpec
from edge_runtime import __version__
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.errors import MapError

_END_BYTES = 1 << 20
_FILES_OF_A_FOLDER = 1000


@dataclass(frozen=True)
class SharedInputs:
    """How the machine that started a build sees what all its workers are to use.

    Args:
        encoder_sha256: Of the bundle, whose files were hashed.
        sources: What tells each source of imagery from another, see `_digest_of`.
        releases: Of this toolkit and of the libraries that read and encode.
    """

    encoder_sha256: str
    sources: tuple[str, ...]
    releases: tuple[str, ...]


def shared_inputs(spec: DescribeSpec) -> SharedInputs:
    """The inputs of a specification as this machine sees them.

    Raises:
        BundleError: If the encoder is missing, or a file of it is not the manifest's.
        MapError: If imagery is missing.
    """
    bundle = load_encoder_bundle(spec.encoder)
    bundle.verify()
    return SharedInputs(
        encoder_sha256=bundle.encoder_sha256,
        sources=tuple(_digest_of(source) for source in spec.imagery),
        releases=(
            f"dmnil-edge {__version__}",
            f"onnxruntime {onnxruntime.__version__}",
            f"rasterio {rasterio.__version__}",
        ),
    )


def require_same_inputs(spec: DescribeSpec, expected: SharedInputs) -> None:
    """Refuse a machine that sees other inputs under the same paths.

    Raises:
        BundleError: As `shared_inputs`.
        MapError: Naming what differs.
    """
    seen = shared_inputs(spec)
    if seen.encoder_sha256 != expected.encoder_sha256:
        raise MapError(f"{spec.encoder} is another encoder here: {seen.encoder_sha256[:12]}")
    for path, here, there in zip(spec.imagery, seen.sources, expected.sources, strict=True):
        if here != there:
            raise MapError(f"{path} is another file here, by size or content")
    for release, wanted in zip(seen.releases, expected.releases, strict=True):
        if release != wanted:
            raise MapError(f"{release} is installed here, {wanted} where the build was started")


def _digest_of(source: Path) -> str:
    """A hash over sizes, names and ends of files, since imagery is too large to hash whole.

    A file counts with its size and the first and last of its bytes; a folder with the names and
    sizes of the first thousand files in it. What a VRT or a list names is not looked at.
    """
    digest = hashlib.sha256()
    try:
        if source.is_dir():
            for path in islice(_files_under(source), _FILES_OF_A_FOLDER):
                digest.update(f"{path.relative_to(source)} {path.stat().st_size}\n".encode())
            return digest.hexdigest()
        with source.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            digest.update(f"{size}\n".encode())
            for start in (0, max(0, size - _END_BYTES)):
                stream.seek(start)
                digest.update(stream.read(_END_BYTES))
    except OSError as error:
        raise MapError(f"{source} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def _files_under(folder: Path) -> Iterator[Path]:
    """Files in a folder and those in it, in the order of their names."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            if entry.is_dir():
                yield from _files_under(Path(entry.path))
            else:
                yield Path(entry.path)
