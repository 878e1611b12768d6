"""The hidden folder beside a map in which it is being made, and what a killed build leaves."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.contract.errors import OutputError


@dataclass
class WorkFolder:
    """A folder that only this process writes to.

    Args:
        path: The folder.
        keep: Leave it where it is afterwards, for another build to go on from.
    """

    path: Path
    keep: bool = False


def work_path(output: Path) -> Path:
    """Where a map is being made."""
    return output.absolute().with_name(f".{output.name}.build")


@contextmanager
def work_folder(output: Path) -> Iterator[WorkFolder]:
    """The work folder of an output, with what an earlier build left in it.

    It is locked by the kernel, which releases the lock however the process ends.

    Raises:
        OutputError: If another process is making the same map, or the folder cannot be made.
    """
    path = work_path(output)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(path, output)
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror or error}") from error
    folder = WorkFolder(path)
    try:
        _clear_after_killed(output.absolute())
        yield folder
    finally:
        if not folder.keep:
            shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _lock(path: Path, output: Path) -> int:
    while True:
        path.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The folder may have been removed and made anew between opening and locking it.
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise OutputError(
                f"another build is writing {output}: wait for it, or choose another output"
            ) from None
        os.close(descriptor)


def _clear_after_killed(target: Path) -> None:
    """Remove what killed processes left beside a map, and put back a map they had set aside."""
    for left in sorted(target.parent.glob(f".{target.name}.*.*")):
        number, _, kind = left.name.removeprefix(f".{target.name}.").partition(".")
        if kind not in ("part", "old") or not number.isdigit() or _is_running(int(number)):
            continue
        if kind == "old" and not target.exists():
            left.rename(target)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
