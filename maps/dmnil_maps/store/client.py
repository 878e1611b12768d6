"""The connection to a vector store: a Milvus server, or the embedded milvus-lite for a file."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.contract.errors import ConfigError, MapError

if TYPE_CHECKING:
    from pymilvus import MilvusClient

CALL_TIMEOUT_S = 120.0
"""Longest time for one request to a server."""
TOKEN_VARIABLE = "MILVUS_TOKEN"
_CONNECT_TIMEOUT_S = 10.0
_SERVER_URI = re.compile(r"(https?|tcp)://[^/\s:]+(:\d{1,5})?(/\S*)?")


@contextmanager
def milvus_client(uri: str, *, create: bool = False) -> Iterator[MilvusClient]:
    """Connect for the length of a block; a server's token comes from the environment.

    Args:
        uri: http://host:19530 of a server, or a local name.db, which milvus-lite keeps.
        create: Make the local file if it is not there yet.
    Raises:
        ConfigError: If the URI is malformed or pymilvus is not installed.
        MapError: If the store cannot be reached, or refuses something within the block.
    """
    local = _local_path(uri)
    if local is not None and not create and not local.exists():
        raise MapError(f"{uri} does not exist: fill it by dmnil-map store MAP --milvus {uri}")
    try:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException

        if local is not None:
            from milvus_lite.server_manager import server_manager_instance
    except ImportError as error:
        raise ConfigError(
            f"a store needs the extra milvus: pip install 'dmnil-edge[milvus]' ({error})"
        ) from (error)
    for library in ("pymilvus", "milvus_lite", "grpc"):  # what they log is raised as well
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        client = MilvusClient(
            uri, token=os.environ.get(TOKEN_VARIABLE, ""), timeout=_CONNECT_TIMEOUT_S
        )
    except (MilvusException, ValueError) as error:
        hint = (
            "is its folder there, and does no other process use it?"
            if local is not None
            else f"does a Milvus server run there, and does {TOKEN_VARIABLE} suit it?"
        )
        raise MapError(f"{uri} cannot be opened: {_reason(error)}; {hint}") from error
    try:
        yield client
    except MilvusException as error:
        raise MapError(f"{uri}: {_reason(error)}") from error
    finally:
        client.close()
        if local is not None:
            server_manager_instance.release_server(str(local))


def _local_path(uri: str) -> Path | None:
    """The file that milvus-lite is to keep, or None for a server."""
    if "://" not in uri and uri.endswith(".db") and Path(uri).name != ".db":
        return Path(uri)
    port = re.search(r":(\d+)(/|$)", uri)
    if not _SERVER_URI.fullmatch(uri) or (port and not 0 < int(port[1]) < 65536):
        raise ConfigError(f"{uri!r} is neither a server, http://host:19530, nor a file, name.db")
    return None


def _reason(error: Exception) -> str:
    return str(getattr(error, "message", "") or error)
