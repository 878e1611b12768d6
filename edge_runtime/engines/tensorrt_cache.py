"""Engines built on this machine, kept so that only the first start waits for the build."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TypeVar

from edge_runtime.contract.artefact import MANIFEST_NAME, replace_file
from edge_runtime.contract.errors import ArtefactError, OutputError
from edge_runtime.engines.tensorrt_artefact import EngineIdentity, read_engine, write_engine

_LOG = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")


def default_cache_folder() -> Path:
    """`$XDG_CACHE_HOME/dmnil-edge/engines`, by default below ~/.cache."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(configured) if Path(configured).is_absolute() else Path.home() / ".cache"
    return root / "dmnil-edge" / "engines"


class EngineCache:
    """A folder of built engines and of the timings of their builds.

    It may be deleted at any time. Where it cannot be written, engines are built anew at every
    start and a warning says so: a drone that can fly shall not stay down for a full disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def obtain(
        self,
        identity: EngineIdentity,
        load: Callable[[bytes], Loaded | None],
        build: Callable[[], bytes],
    ) -> Loaded | None:
        """The engine of an identity, from the folder if it is there, else built and kept.

        Two processes that want the same engine build it once: the second waits.

        Args:
            load: Makes an engine of serialized bytes; None if they do not serve, in which case
                a kept engine is built anew.
            build: Serialized bytes of a new engine.
        Returns:
            None if even the new engine could not be loaded.
        """
        folder = self._folder / identity.file_name
        seen = _stamp(folder)
        if (engine := self._kept(folder, identity, load)) is not None:
            return engine
        with self._alone(folder):
            built_meanwhile = _stamp(folder) != seen
            if built_meanwhile and (engine := self._kept(folder, identity, load)) is not None:
                return engine
            plan = build()
            try:
                write_engine(folder, identity, plan)
            except OutputError as error:
                _LOG.warning("%s: the engine will be built again at the next start", error)
            return load(plan)

    def timings(self, identity: EngineIdentity) -> bytes:
        """What earlier builds on this version and GPU have timed; empty if nothing."""
        try:
            return self._timing_path(identity).read_bytes()
        except OSError:
            return b""

    def keep_timings(self, identity: EngineIdentity, content: bytes) -> None:
        """Keep a build's timings for the next; without them it only takes longer."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._timing_path(identity), content)
        except OSError as error:
            _LOG.info("%s: timings are not kept", error)

    def _kept(
        self, folder: Path, identity: EngineIdentity, load: Callable[[bytes], Loaded | None]
    ) -> Loaded | None:
        if not folder.exists():
            return None
        try:
            built, plan = read_engine(folder)
        except ArtefactError as error:
            _LOG.warning("%s: building the engine again", error)
            return None
        if (refusal := identity.refusal_of(built)) is not None:
            _LOG.warning("%s: %s; building it here", folder, refusal)
            return None
        engine = load(plan)
        if engine is None:
            _LOG.warning("%s: TensorRT does not take it any more, building it again", folder)
        return engine

    def _timing_path(self, identity: EngineIdentity) -> Path:
        return self._folder / f"{identity.machine_name}.timings"

    @contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        """Hold the lock of one engine; the system releases it if the process dies."""
        path = folder.with_suffix(".lock")
        with ExitStack() as held:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                stream = held.enter_context(path.open("w"))
                _lock(stream, folder.name)
            except OSError as error:
                # What cannot be locked is built alone; if it cannot be kept, that warns.
                _LOG.info("%s cannot be locked: %s", path, error)
            yield


def _lock(stream: IO[str], name: str) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _LOG.warning("another process is building %s: waiting for it", name)
        fcntl.flock(stream, fcntl.LOCK_EX)


def _stamp(folder: Path) -> tuple[int, int] | None:
    """Changes whenever an engine is written."""
    try:
        status = (folder / MANIFEST_NAME).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
