"""Signed maps: an Ed25519 signature over the manifest, whose hashes cover every other file.

The signature is the plain 64 bytes of RFC 8032, so that OpenSSL makes and checks it as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.contract.artefact import MANIFEST_NAME, SIGNATURE_NAME, verify_hashes
from edge_runtime.contract.errors import ConfigError, MapError
from edge_runtime.contract.region_map import MAP_KIND

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def require_signature(folder: Path, public_key: Path) -> None:
    """Refuse a map that the key's owner did not sign, or of which anything changed since.

    Every file is hashed, so this takes as long as reading the map.

    Args:
        public_key: PEM file of an Ed25519 public key.
    Raises:
        ConfigError: If the key cannot be used, or the package `cryptography` is missing.
        MapError: If the map is unsigned, signed by another key, altered, or holds further files.
    """
    key = _read_public_key(public_key)
    from cryptography.exceptions import InvalidSignature

    content = _read(folder, MANIFEST_NAME, f"{folder} is not a {MAP_KIND}: it has no manifest")
    signature = _read(
        folder,
        SIGNATURE_NAME,
        f"{folder} is not signed: have it signed with dmnil-map sign, or do not require it",
    )
    try:
        key.verify(signature, content)
    except InvalidSignature:
        raise MapError(
            f"{folder} has a signature that {public_key} does not confirm: another key signed it, "
            f"or {MANIFEST_NAME} was altered since"
        ) from None
    manifest = _files_of(content, folder)
    _refuse_unlisted(folder, manifest)
    try:
        verify_hashes(folder, manifest, MapError)
    except OSError as error:
        raise MapError(f"{folder} cannot be read: {error}") from error


def require_cryptography() -> None:
    """Say how to get the package that signatures need.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"signatures need the package cryptography ({error}): pip install 'dmnil-edge[signing]'"
        ) from error


def read_key_file(path: Path) -> bytes:
    """A PEM file's content.

    Raises:
        ConfigError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"key {path} cannot be read: {error.strerror or error}") from error


def _read_public_key(path: Path) -> Ed25519PublicKey:
    require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = read_key_file(path)
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        what = "a private key" if b"PRIVATE KEY" in content else "something else"
        raise ConfigError(
            f"{path} is {what}, not the PEM file of an Ed25519 public key: make a pair with "
            "dmnil-map keygen"
        )
    return key


def _read(folder: Path, name: str, if_missing: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise MapError(if_missing) from None
    except OSError as error:
        raise MapError(f"{folder / name} cannot be read: {error.strerror or error}") from error


def _files_of(content: bytes, folder: Path) -> dict[str, Any]:
    """The manifest, of which only the list of files is looked at here."""
    try:
        manifest = json.loads(content)
        names = {str(name): str(entry["sha256"]) for name, entry in manifest["files"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MapError(f"{folder / MANIFEST_NAME} lists no files with hashes: {error}") from error
    return {"files": {name: {"sha256": digest} for name, digest in names.items()}}


def _refuse_unlisted(folder: Path, manifest: dict[str, Any]) -> None:
    """What no hash covers could be read by whoever looks for it by name."""
    known = {MANIFEST_NAME, SIGNATURE_NAME, *manifest["files"]}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir() and name not in known:
            raise MapError(f"{path} is not in the signed manifest: remove it, or sign the map anew")
