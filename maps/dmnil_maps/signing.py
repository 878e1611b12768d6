"""Keys for signed maps, and signing; checking is the runtime's, see `map_signature`."""

from __future__ import annotations

import os
import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.contract.artefact import (
    MANIFEST_NAME,
    SIGNATURE_NAME,
    replace_file,
    write_whole,
)
from edge_runtime.contract.errors import ConfigError, OutputError
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.map_signature import read_key_file, require_cryptography

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_OWNER_ONLY = 0o600


def make_keys(private_key: Path, public_key: Path) -> None:
    """Write a new pair of keys as PEM files; the private one for its owner's eyes only.

    Raises:
        ConfigError: If the package `cryptography` is missing.
        OutputError: If a file exists already (keys are never replaced) or cannot be written.
    """
    require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    for path in (private_key, public_key):
        if path.exists():
            raise OutputError(f"{path} exists: a key is never replaced, choose another name")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    try:
        private_key.parent.mkdir(parents=True, exist_ok=True)
        # Nobody else may read it, not even between its creation and a later chmod.
        handle = os.open(private_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        with os.fdopen(handle, "wb") as stream:
            stream.write(secret)
    except OSError as error:
        raise OutputError(f"{private_key} cannot be written: {error.strerror or error}") from error
    write_whole(public_key, public, parents=True)


def sign_map(folder: Path, private_key: Path) -> Path:
    """Sign a map's manifest, after checking every file against it; returns the signature's path.

    Args:
        private_key: PEM file of an Ed25519 private key; asks for a passphrase if it has one.
    Raises:
        ConfigError: If the key cannot be used, or the package `cryptography` is missing.
        MapError: If the map is not whole.
        OutputError: If the signature cannot be written.
    """
    key = _read_private_key(private_key)
    region_map = load_region_map(folder)
    region_map.verify()
    path = folder / SIGNATURE_NAME
    try:
        signature = key.sign((folder / MANIFEST_NAME).read_bytes())
        replace_file(path, signature, durable=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def _read_private_key(path: Path) -> Ed25519PrivateKey:
    require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = read_key_file(path)
    passphrase = _passphrase(path) if b"ENCRYPTED" in content else None
    try:
        key = load_pem_private_key(content, passphrase)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, Ed25519PrivateKey):
        return key
    if passphrase is not None and key is None:
        raise ConfigError(f"{path} does not open with this passphrase")
    what = "a public key" if b"PUBLIC KEY" in content else "something else"
    raise ConfigError(
        f"{path} is {what}, not the PEM file of an Ed25519 private key: make a pair with "
        "dmnil-map keygen"
    )


def _passphrase(path: Path) -> bytes:
    if not sys.stdin.isatty():
        raise ConfigError(f"{path} has a passphrase: sign at a terminal, where it is asked for")
    return getpass(f"Passphrase of {path}: ").encode()
