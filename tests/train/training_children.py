"""Training runs in processes of their own: one that is killed, and several that train together."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmnil_train import cli, loop
from dmnil_train.processes import joined_processes
from tests.train.tiny_training import config_of

# Children are forked from a server that has imported everything and has no threads.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([__name__])
PATIENCE_S = 120


@dataclass(frozen=True)
class Moment:
    """When a run is killed.

    Args:
        what: `step`, `write` (of the state, half of it on disk) or the file that is put in place.
        count: At the how-manieth time.
        after: After it is in place, not before.
    """

    what: str
    count: int = 1
    after: bool = False


def train_until(settings: dict[str, Any], moment: Moment) -> int:
    """Train in a process that kills itself by SIGKILL at a moment; returns its exit code."""
    child = _SERVER.Process(target=_train_and_die, args=(settings, moment))
    child.start()
    child.join(PATIENCE_S)
    return -1 if child.exitcode is None else child.exitcode


def train_together(settings: dict[str, Any], count: int) -> list[int]:
    """Train with several processes, as torchrun starts them; returns their exit codes."""
    return _exit_codes_of(_train_as_one_of, settings, count)


def equalise_running_means(folder: Path, count: int) -> list[int]:
    """Processes that saw different data write their running means, made equal, to RANK.npy."""
    return _exit_codes_of(_equalise_as_one_of, folder, count)


def _exit_codes_of(work: Callable[..., None], given: Any, count: int) -> list[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = [
        _SERVER.Process(target=work, args=(given, rank, count, port)) for rank in range(count)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(PATIENCE_S)
    return [-1 if child.exitcode is None else child.exitcode for child in children]


def with_scores(best_of_epoch: list[float]) -> Callable[..., dict[str, float]]:
    """An evaluation that works but reports the recall that it is told, by epochs done."""
    real = loop._evaluated

    def evaluated(*arguments: Any) -> dict[str, float]:
        return {**real(*arguments), "recall_at_1": best_of_epoch[arguments[-1]]}

    return evaluated


def _train_and_die(settings: dict[str, Any], moment: Moment) -> None:
    torch.set_num_threads(1)
    left = moment.count

    def happens(what: str, after: bool) -> None:
        nonlocal left
        if (what, after) == (moment.what, moment.after):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def killing(what: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            happens(what, after=False)
            return real(*arguments)

        return call

    real_replace = Path.replace

    def replace(self: Path, target: Path) -> Path:
        happens(Path(target).name, after=False)
        replaced = real_replace(self, target)
        happens(Path(target).name, after=True)
        return replaced

    Path.replace = replace  # type: ignore[method-assign, assignment]
    loop.learning_rate_at = killing("step", loop.learning_rate_at)
    os.fsync = killing("write", os.fsync)
    scores = settings.pop("scores", None)
    if scores is not None:
        loop._evaluated = with_scores(scores)
    loop.train(config_of(settings))


def _become(rank: int, count: int, port: int) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        WORLD_SIZE=str(count),
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )


def _equalise_as_one_of(folder: Path, rank: int, count: int, port: int) -> None:
    _become(rank, count, port)
    with joined_processes("cpu") as processes:
        module = torch.nn.BatchNorm2d(2)
        module(torch.full((2, 2, 1, 1), float(rank + 1)))
        processes.equalise_buffers(module)
    np.save(folder / f"{rank}.npy", module.running_mean.numpy())


def _train_as_one_of(settings: dict[str, Any], rank: int, count: int, port: int) -> None:
    _become(rank, count, port)
    logging.getLogger("torch").setLevel(logging.ERROR)
    real_build = loop.build_memories
    memories: list[torch.nn.Module] = []

    def build_memories(*arguments: Any) -> Any:
        memories.append(real_build(*arguments))
        return memories[-1]

    loop.build_memories = build_memories
    real_tiles = loop.ClusterMemory

    def tile_memory(*arguments: Any) -> Any:
        memories.append(real_tiles(*arguments))
        return memories[-1]

    loop.ClusterMemory = tile_memory  # type: ignore[misc, assignment]
    loop.train(config_of(settings))
    torch.save([m.state_dict() for m in memories], settings["output"] / f"memories-{rank}.pt")


def train_on_small_disk(arguments: list[str], largest_file_bytes: int, errors: Path) -> int:
    """Run the command where no file can grow beyond a size; returns its exit status."""
    child = _SERVER.Process(
        target=_main_on_small_disk, args=(arguments, largest_file_bytes, errors)
    )
    child.start()
    child.join(PATIENCE_S)
    return -1 if child.exitcode is None else child.exitcode


def _main_on_small_disk(arguments: list[str], largest_file_bytes: int, errors: Path) -> None:
    torch.set_num_threads(1)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, hard))
    with errors.open("w") as sys.stderr:
        sys.exit(cli.main(arguments))
