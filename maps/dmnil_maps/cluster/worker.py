"""What a worker of a cluster does: blocks in, their tiles' descriptors out."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from dmnil_maps.cluster.inputs import SharedInputs, require_same_inputs
from dmnil_maps.describing import DescribedBlock, DescribeSpec, encode_block, read_block
from dmnil_maps.raster import open_imagery
from dmnil_maps.read_ahead import mapped_ahead
from dmnil_maps.tiling import LatticeBlock
from edge_runtime.contract.errors import DmnilError
from edge_runtime.engines import open_engine

_READERS = 2
_BLOCKS_AHEAD = 2


@dataclass(frozen=True)
class TaskResult:
    """What a task gives back.

    Args:
        described: One for each block; descriptors are float16, as the journal keeps them.
        damaged: Blocks of imagery that this worker could not read, by name, so far.
        imagery_blocks_read: How many it came by that it had not read before.
    """

    described: list[DescribedBlock]
    damaged: list[str]
    imagery_blocks_read: int


@dataclass(frozen=True)
class Refusal:
    """Why a worker cannot do its task, and where it runs."""

    machine: str
    reason: str


def describe_blocks(
    spec: DescribeSpec, expected: SharedInputs, blocks: Sequence[LatticeBlock]
) -> TaskResult | Refusal:
    """Describe some blocks; imagery and engine stay open in the worker for the next task."""
    try:
        _check(spec, expected)
    except DmnilError as error:
        return Refusal(
            platform.node(),
            f"{error}; imagery and encoder have to lie on storage that every machine sees under "
            "the same path, and releases have to be the same",
        )
    try:
        worker = _opened(spec)
        ready = mapped_ahead(
            lambda block: read_block(worker.imagery, spec, block), blocks, _READERS, _BLOCKS_AHEAD
        )
        with closing(ready):
            described = [
                _as_kept(encode_block(worker.engine, tiles, spec.batch_size)) for tiles in ready
            ]
        return worker.result(described)
    except DmnilError as error:
        return Refusal(platform.node(), str(error))


class _Worker:
    """Imagery and engine of a specification, open until the process ends."""

    def __init__(self, spec: DescribeSpec) -> None:
        self._stack = ExitStack()
        self.imagery = self._stack.enter_context(
            open_imagery(spec.imagery, spec.zoom, spec.crs, spec.tms, spec.frame)
        )
        self.engine = open_engine(spec.encoder, spec.precision, spec.backend, spec.threads)
        self._blocks_read = 0

    def result(self, described: list[DescribedBlock]) -> TaskResult:
        damage, before = self.imagery.damage, self._blocks_read
        self._blocks_read = damage.blocks_read
        return TaskResult(described, damage.names, self._blocks_read - before)


_check = lru_cache(maxsize=1)(require_same_inputs)
_opened = lru_cache(maxsize=1)(_Worker)


def _as_kept(block: DescribedBlock) -> DescribedBlock:
    halves: Any = block.descriptors.astype(np.float16)
    return replace(block, descriptors=halves)
