"""Artefacts: files and directories written beside and renamed into place, manifests over files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edge_runtime.contract.errors import ArtefactError, OutputError, reason_of

MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "manifest.sig"
_HASH_BLOCK_BYTES = 1 << 20


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def write_whole(path: Path, content: str | bytes, *, parents: bool = False) -> Path:
    """Write a file as `replace_file` does; returns the path.

    Args:
        parents: Make the folder where it is missing.
    Raises:
        OutputError: If it cannot be written.
    """
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def replace_file(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file beside its place and rename it there, so that no reader meets half of it.

    Args:
        content: Text is written as UTF-8.
        durable: Wait for the disk first: else a power cut can leave the new name on no content.
    Raises:
        OSError: If it cannot be written; what was there before is intact.
    """
    staging = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with staging.open("wb") as stream:
            stream.write(content.encode("utf-8") if isinstance(content, str) else content)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        staging.replace(path)
    finally:
        with suppress(OSError):
            staging.unlink()


@contextmanager
def staged_directory(target: Path, kind: str) -> Iterator[Path]:
    """A sibling directory to fill, which takes the target's place when the block succeeds.

    An existing target is replaced only if it is an artefact of the same kind, or empty.

    Raises:
        OutputError: If the target cannot be written, or holds something else.
    """
    target = target.absolute()
    staging = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        _refuse_to_replace_foreign(target, kind)
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir()
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror}") from error
    try:
        yield staging
        _swap_into_place(staging, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_manifest(folder: Path, kind: str, schema_version: int, body: Mapping[str, Any]) -> None:
    """Write manifest.json over every file now in the folder: sizes, hashes and the given body.

    A signature of the manifest before is removed.
    """
    (folder / SIGNATURE_NAME).unlink(missing_ok=True)
    files = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": sha256_of_file(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST_NAME
    }
    manifest = {"kind": kind, "schema_version": schema_version, **body, "files": files}
    text = json.dumps(manifest, indent=2, allow_nan=False) + "\n"
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")


def read_manifest(
    folder: Path, kind: str, schema_version: int, error_type: type[ArtefactError]
) -> dict[str, Any]:
    """Read and check a manifest: kind, schema, and that every listed file is there in full size.

    Hashes are left to `verify_hashes`, since hashing gigabytes would make every start slow.

    Raises:
        error_type: If anything is missing, cut short, or of another kind or schema.
    """
    path = folder / MANIFEST_NAME
    if not folder.is_dir():
        raise error_type(f"{folder}: no such directory; expected {_with_article(kind)}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error_type(f"{path} is missing: {folder} is not {_with_article(kind)}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise error_type(f"{path} cannot be read: {reason_of(error)}") from error
    if not isinstance(manifest, dict) or manifest.get("kind") != kind:
        found = manifest.get("kind") if isinstance(manifest, dict) else type(manifest).__name__
        article = _with_article(str(found)).split()[0]
        raise error_type(f"{path} describes {article} {found!r}, not {_with_article(kind)}")
    if manifest.get("schema_version") != schema_version:
        raise error_type(
            f"{path} has schema version {manifest.get('schema_version')}, this release reads "
            f"{schema_version}: build it again with this release"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        raise error_type(f"{path} lists no files: build the {kind} again")
    for name, entry in files.items():
        _check_size(folder, str(name), entry, error_type)
    return manifest


def verify_hashes(
    folder: Path, manifest: Mapping[str, Any], error_type: type[ArtefactError]
) -> None:
    """Hash every file of an artefact against its manifest.

    Raises:
        error_type: Naming the first file whose content differs.
    """
    for name, entry in manifest["files"].items():
        if sha256_of_file(folder / name) != entry["sha256"]:
            raise error_type(f"{folder / name} was altered: its SHA-256 is not the manifest's")


def field_of(
    manifest: Mapping[str, Any],
    name: str,
    expected: type[Any] | tuple[type[Any], ...],
    folder: Path,
    error_type: type[ArtefactError],
) -> Any:
    """A manifest's field, checked for its type.

    Raises:
        error_type: If the field is absent or of another type.
    """
    value = manifest.get(name)
    if not isinstance(value, expected) or isinstance(value, bool):
        raise error_type(f"{folder / MANIFEST_NAME}: field '{name}' is missing or malformed")
    return value


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _check_size(folder: Path, name: str, entry: Any, error_type: type[ArtefactError]) -> None:
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise error_type(f"{folder / MANIFEST_NAME} names a file outside its folder: {name}")
    is_entry = isinstance(entry, dict) and isinstance(entry.get("sha256"), str)
    if not is_entry or not isinstance(entry.get("bytes"), int):
        raise error_type(f"{folder / MANIFEST_NAME}: entry of file '{name}' is malformed")
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError:  # such as a name too long for the file system
        size = None
    if size is None:
        raise error_type(f"{path} is missing though the manifest lists it")
    if size != entry["bytes"]:
        raise error_type(
            f"{path} has {size} bytes where the manifest says {entry['bytes']}: copy it again"
        )


def _refuse_to_replace_foreign(target: Path, kind: str) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise OutputError(f"{target} exists and is not a directory: choose another output")
    if not any(target.iterdir()):
        return
    try:
        found = json.loads((target / MANIFEST_NAME).read_text(encoding="utf-8")).get("kind")
    except (OSError, ValueError, AttributeError):
        found = None
    if found != kind:
        raise OutputError(
            f"{target} exists and is not {_with_article(kind)}: choose another output"
        )


def _swap_into_place(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
        return
    retired = target.with_name(f".{target.name}.{os.getpid()}.old")
    target.rename(retired)
    try:
        staging.rename(target)
    except OSError:
        retired.rename(target)
        raise
    shutil.rmtree(retired, ignore_errors=True)
