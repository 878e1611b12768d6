"""How retrieval holds up when the drone's pictures are bad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dmnil_train.data.changed_pool import ChangedPool
from dmnil_train.data.pool import ImagePool, RetrievalTask
from dmnil_train.data.resize import ChosenPool, ResizedPool
from dmnil_train.evaluation.corruption import (
    CORRUPTIONS,
    SEVERITIES,
    CorruptionName,
    corrupt,
)
from dmnil_train.evaluation.evaluate import PoolEmbedder, score_task
from dmnil_train.evaluation.text_table import aligned, percent


@dataclass(frozen=True)
class CorruptedPool(ChangedPool):
    """Another pool's pictures in bad conditions, each drawn by the seed and its own index."""

    name: CorruptionName
    severity: int
    seed: int

    def changed(self, picture: npt.NDArray[np.uint8], index: int) -> npt.NDArray[np.uint8]:
        """The picture in these conditions."""
        own_seed = int(np.random.SeedSequence((self.seed, index)).generate_state(1)[0])
        return corrupt(picture, self.name, self.severity, own_seed)


@dataclass(frozen=True)
class RobustnessScores:
    """One task's recall at 1 under each corruption.

    Args:
        task: Its name.
        queries: How many queries were corrupted and asked.
        clean: Recall at 1 of the same queries as they are, in 0-1.
        recall_at_1: Recall at 1 of each corruption at severities 1, 2, 3, in 0-1.
    """

    task: str
    queries: int
    clean: float
    recall_at_1: dict[CorruptionName, tuple[float, ...]]


def robustness(
    embedder: PoolEmbedder,
    task: RetrievalTask,
    most_queries: int = 1000,
    seed: int = 0,
    corruptions: Sequence[CorruptionName] = CORRUPTIONS,
) -> RobustnessScores:
    """Corrupt a task's queries in every way and at every severity; the gallery stays as it is.

    Pictures are corrupted as the pool holds them, before they are brought to the encoder's size:
    that is what a camera and a video link do. A prepared pool holds them at that size already.

    Args:
        most_queries: Take so many, evenly spread over the pool; 0 takes all.
        seed: Of everything random.
    Raises:
        ConfigError: If there is no such corruption.
        SourceError: If more than 5 % of the images cannot be read.
    """
    chosen = evenly_spread(task, most_queries)
    asked, gallery = embedder.both_sides(chosen)
    clean = score_task(chosen, asked, gallery)
    recalls: dict[CorruptionName, tuple[float, ...]] = {}
    for name in corruptions:
        of_severity = []
        for severity in SEVERITIES:
            pool = corrupted(chosen.queries, name, severity, seed)
            asked = embedder.once(pool, f"{name} {severity}")
            of_severity.append(score_task(chosen, asked, gallery).retrieval.recall_at_1)
        recalls[name] = tuple(of_severity)
    return RobustnessScores(
        task.name, clean.retrieval.queries, clean.retrieval.recall_at_1, recalls
    )


def corrupted(pool: ImagePool, name: CorruptionName, severity: int, seed: int = 0) -> ImagePool:
    """The pool with its pictures corrupted before they are resized or chosen from."""
    if isinstance(pool, ResizedPool | ChosenPool):
        return replace(pool, pool=corrupted(pool.pool, name, severity, seed))
    return CorruptedPool(pool, name, severity, seed)


def evenly_spread(task: RetrievalTask, most_queries: int) -> RetrievalTask:
    """The task with at most so many of its queries, evenly spread; 0 keeps all."""
    total = len(task.queries)
    if not 0 < most_queries < total:
        return task
    kept = np.arange(most_queries) * total // most_queries
    positions = task.query_positions_deg
    return replace(
        task,
        queries=ChosenPool(task.queries, tuple(kept.tolist())),
        query_places=task.query_places[kept],
        query_positions_deg=None if positions is None else positions[kept],
        relevant=None if task.relevant is None else task.relevant[kept],
    )


def robustness_table(scores: RobustnessScores) -> str:
    """One row a corruption: R@1 in percent at each severity, and its share of the clean R@1."""
    title = f"{scores.task}: R@1 of {scores.queries:,} queries, and its share of the clean one"
    rows = [["", *(cell for severity in SEVERITIES for cell in (f"severity {severity}", ""))]]
    rows.append(["clean", percent(scores.clean), "", *[""] * (2 * len(SEVERITIES) - 2)])
    for name, recalls in scores.recall_at_1.items():
        cells = []
        for recall in recalls:
            share = f"({recall / scores.clean:.0%})" if scores.clean else ""
            cells += [percent(recall), share]
        rows.append([name, *cells])
    return f"{title}\n{aligned(rows)}"
