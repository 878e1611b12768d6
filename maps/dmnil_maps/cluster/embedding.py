"""The embedding of a map's tiles on a Ray cluster.

Which worker describes a block, and how often it is tried, does not show in the block's result, so
that the map is the same bytes as one built on a single machine with the same settings.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dmnil_maps.cluster.inputs import shared_inputs
from dmnil_maps.cluster.worker import Refusal, TaskResult, describe_blocks
from dmnil_maps.describing import DescribedBlock, DescribeSpec
from dmnil_maps.sources.damage import LARGEST_SHARE
from dmnil_maps.tiling import LatticeBlock
from edge_runtime.contract.errors import ConfigError, MapError

logger = logging.getLogger(__name__)

NumberedBlock = tuple[int, LatticeBlock]

_BLOCKS_PER_TASK = 4
_RETRIES = 20
"""How often a task is tried elsewhere after the worker that had it died."""
_CONNECT_TIMEOUT_S = 5.0
_PATIENCE_S = 60.0
_ON_THE_PROCESSOR = "onnxruntime"
_TASKS_PER_GPU = 2
"""So that one reads imagery while the other encodes."""
_ADDRESS = re.compile(r"(ray://)?(?P<host>[^/\s:]+):(?P<port>\d{1,5})")


class ClusterDamage:
    """Damaged imagery that workers met; several may name the same block."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._blocks_read = 0

    def add(self, result: TaskResult) -> None:
        """Count a task's damage, and name what is new."""
        for name in sorted(set(result.damaged) - self.names):
            logger.warning("its ground is left out: %s", name)
        self.names.update(result.damaged)
        self._blocks_read += result.imagery_blocks_read

    def check(self) -> None:
        """Refuse imagery that is damaged beyond what a map bears.

        Blocks of imagery that two workers read count twice, in favour of the imagery.

        Raises:
            MapError: If more than 1 % of the blocks that were read are damaged.
        """
        read = max(self._blocks_read, len(self.names))
        if len(self.names) > LARGEST_SHARE * read:
            raise MapError(
                f"{len(self.names)} of {read} blocks of imagery that were read are damaged, more "
                f"than the {LARGEST_SHARE:.0%} that is borne: get it anew; the first is "
                f"{min(self.names)}"
            )


def described_on_cluster(
    spec: DescribeSpec,
    address: str,
    damage: ClusterDamage,
    blocks: Sequence[NumberedBlock],
    on_examined: Callable[[int], object] = lambda positions: None,
) -> Generator[tuple[int, LatticeBlock, DescribedBlock], None, None]:
    """Blocks as their workers finish them, in any order; tasks of workers that die are repeated.

    Args:
        address: host:port of a cluster's head, ray://host:port, auto for the one that this machine
            belongs to, or local for one of this machine alone.
        damage: Takes what workers could not read.
        blocks: With the numbers that they have in the specification.
        on_examined: Told the number of lattice positions that were done.
    Raises:
        ConfigError: If the address is malformed, or Ray is not installed.
        MapError: If there is no such cluster, or a worker cannot do its part.
    """
    expected = shared_inputs(spec)
    groups = [blocks[at : at + _BLOCKS_PER_TASK] for at in range(0, len(blocks), _BLOCKS_PER_TASK)]
    with _connected(address) as ray:
        needed = _resources_of(spec)
        task = ray.remote(max_retries=_RETRIES, **needed)(describe_blocks)
        shared = ray.put(spec), ray.put(expected)
        waiting = iter(groups)
        running: dict[Any, Sequence[NumberedBlock]] = {}
        try:
            while True:
                slots = _slots(ray, needed)
                while len(running) < 2 * slots + 2 and (group := next(waiting, None)) is not None:
                    running[task.remote(*shared, [block for _, block in group])] = group
                if not running:
                    break
                done, _ = ray.wait(list(running), num_returns=1, timeout=_PATIENCE_S)
                if not done and not slots:
                    what = "GPU" if "num_gpus" in needed else f"{needed['num_cpus']:g} processors"
                    raise MapError(f"the cluster at {address} has no machine with {what}")
                for reference in done:
                    group = running.pop(reference)
                    result = _result_of(ray, reference, address)
                    damage.add(result)
                    for (number, block), one in zip(group, result.described, strict=True):
                        on_examined(one.examined)
                        yield number, block, one
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
    damage.check()


def _result_of(ray: Any, reference: Any, address: str) -> TaskResult:
    try:
        result = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, ImportError):
            raise MapError(
                f"a worker of {address} cannot import what it needs ({cause}): install this "
                "release of dmnil-edge with its extras maps and cluster on every machine"
            ) from error
        raise MapError(f"a worker of {address} failed: {type(cause).__name__}: {cause}") from error
    except ray.exceptions.RayError as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise MapError(
            f"workers of {address} died {_RETRIES + 1} times at one task: {first_line}"
        ) from error
    if isinstance(result, Refusal):
        raise MapError(f"worker {result.machine} cannot take part: {result.reason}")
    if not isinstance(result, TaskResult):
        raise MapError(f"a worker of {address} runs another release of dmnil-edge")
    return result


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """The library Ray, connected to a cluster."""
    match = _ADDRESS.fullmatch(address)
    if address not in ("auto", "local") and (match is None or not 0 < int(match["port"]) < 65536):
        raise ConfigError(
            f"{address!r} is no cluster's address: give host:port of its head, auto or local"
        )
    # Ray reports to its makers unless told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ConfigError(
            f"a cluster needs the extra cluster: pip install 'dmnil-edge[maps,cluster]' ({error})"
        ) from error
    try:
        if match is not None:
            # Ray itself tries an absent head for minutes.
            with socket.create_connection((match["host"], int(match["port"])), _CONNECT_TIMEOUT_S):
                pass
        options = {"include_dashboard": False} if address == "local" else {}
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (OSError, RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise MapError(
            f"no Ray cluster answers at {address}: {reason.rstrip('.')}; start one by "
            "ray start --head"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _resources_of(spec: DescribeSpec) -> dict[str, float]:
    """What one task takes of a machine."""
    if spec.backend == _ON_THE_PROCESSOR:
        return {"num_cpus": max(1, spec.threads)}
    return {"num_cpus": 1, "num_gpus": 1 / _TASKS_PER_GPU}


def _slots(ray: Any, needed: dict[str, float]) -> int:
    """How many tasks the cluster has room for, as it is now."""
    whole = ray.cluster_resources()
    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    return int(min(whole.get(names[name], 0.0) / amount for name, amount in needed.items()))
