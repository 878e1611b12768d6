"""The encoder bundle: ONNX graphs with preprocessing inside, golden vectors, provenance.

Every graph takes uint8 (N, H, W, 3) RGB already at input size and returns float32 (N, D) of
unit length, so that no consumer can normalise wrongly.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.artefact import field_of, read_manifest, verify_hashes
from edge_runtime.contract.errors import BundleError, reason_of

BUNDLE_KIND = "encoder bundle"
BUNDLE_SCHEMA_VERSION = 1
GOLDEN_FILE = "golden.npz"
GRAPH_FILES = {
    "fp32": "encoder.onnx",
    "fp16": "encoder.fp16.onnx",
    "int8": "encoder.int8.onnx",
    "int8-cpu": "encoder.int8-cpu.onnx",
}


@dataclass(frozen=True)
class EncoderBundle:
    """An encoder as it travels from the workstation to the drone."""

    folder: Path
    manifest: dict[str, Any]
    backbone: str
    head: str
    input_height: int
    input_width: int
    descriptor_size: int
    precisions: tuple[str, ...]

    @property
    def encoder_sha256(self) -> str:
        """Identity of the encoder, whatever its precision: the hash of its fp32 graph."""
        return str(self.manifest["files"][GRAPH_FILES["fp32"]]["sha256"])

    def graph_path(self, precision: str) -> Path:
        """Path of the ONNX graph of a precision.

        Raises:
            BundleError: If the bundle was exported without that precision.
        """
        if precision not in self.precisions:
            raise BundleError(
                f"{self.folder} holds no {precision} graph, only {', '.join(self.precisions)}: "
                "export it again with that precision"
            )
        return self.folder / GRAPH_FILES[precision]

    def golden(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Images (G, H, W, 3) and the descriptors (G, D) that the fp32 encoder gave for them."""
        path = self.folder / GOLDEN_FILE
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                return arrays["images"], arrays["descriptors"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise BundleError(f"{path} cannot be read: {reason_of(error)}") from error

    def verify(self) -> None:
        """Hash every file against the manifest.

        Raises:
            BundleError: Naming the first file that differs.
        """
        verify_hashes(self.folder, self.manifest, BundleError)


def load_encoder_bundle(folder: Path) -> EncoderBundle:
    """Open a bundle, checking its manifest and the size of every file.

    Raises:
        BundleError: If it is missing, cut short or malformed.
    """
    manifest = read_manifest(folder, BUNDLE_KIND, BUNDLE_SCHEMA_VERSION, BundleError)

    def text(name: str) -> str:
        return str(field_of(manifest, name, str, folder, BundleError))

    def positive(name: str) -> int:
        value = int(field_of(manifest, name, int, folder, BundleError))
        if value < 1:
            raise BundleError(f"{folder}: manifest field '{name}' must be positive, is {value}")
        return value

    if GRAPH_FILES["fp32"] not in manifest["files"] or GOLDEN_FILE not in manifest["files"]:
        raise BundleError(f"{folder}: manifest lists no {GRAPH_FILES['fp32']} or {GOLDEN_FILE}")
    return EncoderBundle(
        folder=folder,
        manifest=manifest,
        backbone=text("backbone"),
        head=text("head"),
        input_height=positive("input_height"),
        input_width=positive("input_width"),
        descriptor_size=positive("descriptor_size"),
        precisions=tuple(name for name, file in GRAPH_FILES.items() if file in manifest["files"]),
    )
