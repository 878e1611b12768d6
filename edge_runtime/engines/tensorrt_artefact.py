"""A built TensorRT engine as an artefact: NAME.engine/, which says what it was built for.

An engine runs only on the version of TensorRT and the kind of GPU that built it, and TensorRT's
own complaint about another's is hard to read; so the manifest is compared before TensorRT sees it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_runtime.contract.artefact import (
    field_of,
    read_manifest,
    staged_directory,
    verify_hashes,
    write_manifest,
)
from edge_runtime.contract.errors import ArtefactError

ENGINE_KIND = "TensorRT engine"
ENGINE_SCHEMA_VERSION = 1
PLAN_FILE = "engine.plan"


@dataclass(frozen=True)
class EngineIdentity:
    """Everything that a built engine depends on."""

    tensorrt_version: str
    gpu: str
    architecture: str
    """Such as sm_87."""
    multiprocessors: int
    precision: str
    onnx_sha256: str
    usual_batch: int
    max_batch: int

    @property
    def file_name(self) -> str:
        """Readable, and another for every other identity."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return (
            f"{self.onnx_sha256[:8]}-{self.precision}-tensorrt{self.tensorrt_version}-"
            f"{self.architecture}-{digest[:12]}.engine"
        )

    @property
    def machine_name(self) -> str:
        """Names what timings depend on: version and GPU."""
        name = "".join(c if c.isalnum() else "-" for c in self.gpu).strip("-").lower()
        return (
            f"tensorrt{self.tensorrt_version}-{name}-{self.architecture}-{self.multiprocessors}sm"
        )

    def refusal_of(self, built: EngineIdentity) -> str | None:
        """Why an engine built for another identity does not serve this one; None if it does.

        Batch sizes are the engine's own business and are not compared.
        """
        if (built.tensorrt_version, built.gpu, built.architecture, built.multiprocessors) != (
            self.tensorrt_version,
            self.gpu,
            self.architecture,
            self.multiprocessors,
        ):
            there, here = built._machine(self), self._machine(built)
            return (
                f"engine was built for TensorRT {built.tensorrt_version} on {there}, "
                f"this is {self.tensorrt_version} on {here}: run dmnil-export --engine"
            )
        if built.precision != self.precision:
            return (
                f"engine was built in {built.precision}, {self.precision} is asked for: "
                "run dmnil-export --engine, or fly in the engine's precision"
            )
        if built.onnx_sha256 != self.onnx_sha256:
            return (
                f"engine was built from another encoder ({built.onnx_sha256[:12]}, the bundle's "
                f"is {self.onnx_sha256[:12]}): run dmnil-export --engine"
            )
        return None

    def _machine(self, other: EngineIdentity) -> str:
        """The architecture; where both have the same, also what else differs."""
        if self.architecture != other.architecture or (self.gpu, self.multiprocessors) == (
            other.gpu,
            other.multiprocessors,
        ):
            return self.architecture
        return f"{self.architecture} ({self.gpu}, {self.multiprocessors} multiprocessors)"


def write_engine(folder: Path, identity: EngineIdentity, plan: bytes) -> Path:
    """Write an engine's directory as a whole; returns its path.

    Raises:
        OutputError: If it cannot be written, or the folder holds something else.
    """
    with staged_directory(folder, ENGINE_KIND) as staging:
        (staging / PLAN_FILE).write_bytes(plan)
        write_manifest(staging, ENGINE_KIND, ENGINE_SCHEMA_VERSION, asdict(identity))
    return folder


def read_engine(folder: Path) -> tuple[EngineIdentity, bytes]:
    """An engine's identity and its serialized engine, every byte as it was written.

    Hashes are compared too: TensorRT may end the process over an altered engine.

    Raises:
        ArtefactError: If it is missing, cut short, altered or of another kind.
    """
    manifest = read_manifest(folder, ENGINE_KIND, ENGINE_SCHEMA_VERSION, ArtefactError)

    def text(name: str) -> str:
        return str(field_of(manifest, name, str, folder, ArtefactError))

    def whole(name: str) -> int:
        return int(field_of(manifest, name, int, folder, ArtefactError))

    identity = EngineIdentity(
        tensorrt_version=text("tensorrt_version"),
        gpu=text("gpu"),
        architecture=text("architecture"),
        multiprocessors=whole("multiprocessors"),
        precision=text("precision"),
        onnx_sha256=text("onnx_sha256"),
        usual_batch=whole("usual_batch"),
        max_batch=whole("max_batch"),
    )
    if PLAN_FILE not in manifest["files"]:
        raise ArtefactError(f"{folder}: manifest lists no {PLAN_FILE}")
    try:
        verify_hashes(folder, manifest, ArtefactError)
        return identity, (folder / PLAN_FILE).read_bytes()
    except OSError as error:
        raise ArtefactError(f"{folder} cannot be read: {error.strerror or error}") from error
