"""Score an encoder on retrieval tasks: every pool embedded once, every task ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dmnil_train.augmentation import headings_deg
from dmnil_train.data.pool import ImagePool, RetrievalTask
from dmnil_train.data.turned_pool import TurnedPool
from dmnil_train.evaluation.embed import Embedding, embed, without_mean
from dmnil_train.evaluation.image_encoder import ImageEncoder
from dmnil_train.evaluation.retrieval_metrics import (
    RetrievalScores,
    retrieval_metrics,
    retrieval_metrics_by_relevance,
    sdm_at_k,
)
from dmnil_train.evaluation.text_table import aligned, percent
from edge_runtime.contract.errors import ConfigError, SourceError

SDM_KS = (1, 3, 5)


@dataclass(frozen=True)
class TaskScores:
    """How one task went.

    Args:
        task: Its name.
        sdm: SDM@K by K, in 0-1; none where positions are unknown.
        unreadable_queries: Queries left out because they could not be read.
        unreadable_gallery: Gallery images left out because they could not be read.
    """

    task: str
    retrieval: RetrievalScores
    sdm: dict[int, float] | None
    unreadable_queries: int
    unreadable_gallery: int


@dataclass(frozen=True)
class EmbeddingOptions:
    """How pools become descriptors.

    Args:
        batch_size: Images at a time.
        mirror: Describe each image by the mean of it and its mirror image.
        remove_means: Take each pool's own mean off its descriptors.
        readers: Threads that decode; 0 takes one a processor, up to 8.
        headings: Into how many headings, evenly spread, a task's pictures from above are turned;
            the most similar counts.
    """

    batch_size: int = 64
    mirror: bool = False
    remove_means: bool = False
    readers: int = 0
    headings: int = 1


class PoolEmbedder:
    """Embeds pools, each but once: tasks that share a pool hold the same object."""

    def __init__(self, encoder: ImageEncoder, options: EmbeddingOptions) -> None:
        self._encoder = encoder
        self._options = options
        # The pool is held too, so that no other can come to have its id.
        self._known: dict[tuple[int, bool], tuple[ImagePool, Embedding]] = {}

    def both_sides(self, task: RetrievalTask) -> tuple[Embedding, Embedding]:
        """Descriptors of a task's queries and gallery, kept for the next task.

        Raises:
            ConfigError: If headings are to be searched and neither side can be turned.
            SourceError: As `once`.
        """
        turned = task.turnable_side if self._options.headings > 1 else None
        if self._options.headings > 1 and turned is None:
            raise ConfigError(
                f"headings turns satellite pictures for views from the air: leave it at 1 for "
                f"{task.name}"
            )
        return (
            self.shared(task.queries, f"queries of {task.name}", turned == "queries"),
            self.shared(task.gallery, f"gallery of {task.name}", turned == "gallery"),
        )

    def shared(self, pool: ImagePool, label: str, turned: bool = False) -> Embedding:
        """A pool's descriptors, kept for the next task; of each picture turned if wanted."""
        key = id(pool), turned
        if key not in self._known:
            self._known[key] = pool, self.once(pool, label, turned)
        return self._known[key][1]

    def once(self, pool: ImagePool, label: str, turned: bool = False) -> Embedding:
        """A pool's descriptors, not kept.

        Raises:
            SourceError: If the pool is empty or more than 5 % of it cannot be read.
        """
        options = self._options
        embedding = self._turned(pool, label) if turned else self._as_it_is(pool, label)
        return without_mean(embedding) if options.remove_means else embedding

    def _as_it_is(self, pool: ImagePool, label: str) -> Embedding:
        options = self._options
        return embed(
            self._encoder.encode,
            pool,
            self._encoder.height,
            self._encoder.width,
            options.batch_size,
            options.mirror,
            options.readers,
            label,
        )

    def _turned(self, pool: ImagePool, label: str) -> Embedding:
        """Descriptors (N, headings, D)."""
        size = self._encoder.height, self._encoder.width
        turns_deg = headings_deg(self._options.headings)
        views = [
            self._as_it_is(TurnedPool(pool, turn_deg, *size), f"{label}, {turn_deg:g} deg")
            for turn_deg in turns_deg
        ]
        return Embedding(np.stack([view.features for view in views], axis=1), views[0].readable)


def evaluate_with(embedder: PoolEmbedder, tasks: Sequence[RetrievalTask]) -> list[TaskScores]:
    """Scores of each task, in their order; the embedder keeps descriptors for what comes next.

    Raises:
        SourceError: If a pool is empty, more than 5 % of it cannot be read, or a gallery holds
            nothing but junk.
    """
    return [score_task(task, *embedder.both_sides(task)) for task in tasks]


def score_task(task: RetrievalTask, queries: Embedding, gallery: Embedding) -> TaskScores:
    """Rank a task's gallery for its queries; images that could not be read take no part.

    Raises:
        SourceError: If the gallery holds nothing but junk.
    """
    asked, held = queries.readable, gallery.readable
    query_features, gallery_features = queries.features[asked], gallery.features[held]
    if task.relevant is not None:
        retrieval = retrieval_metrics_by_relevance(
            query_features, gallery_features, task.relevant[asked][:, held]
        )
    else:
        gallery_places = task.gallery_places[held]
        if (gallery_places == -1).all():
            raise SourceError(f"{task.name}: the place of no gallery image is known")
        retrieval = retrieval_metrics(
            query_features, task.query_places[asked], gallery_features, gallery_places
        )
    sdm = None
    if task.query_positions_deg is not None and task.gallery_positions_deg is not None:
        sdm = sdm_at_k(
            query_features,
            task.query_positions_deg[asked],
            gallery_features,
            task.gallery_positions_deg[held],
            SDM_KS,
        )
    return TaskScores(task.name, retrieval, sdm, queries.unreadable, gallery.unreadable)


def score_table(scores: Sequence[TaskScores]) -> str:
    """One row a task, scores in percent; below, what was left out or could not be found."""
    header = ["", "R@1", "R@5", "R@10", "R@1%", "AP"]
    with_sdm = any(score.sdm is not None for score in scores)
    header += [f"SDM@{k}" for k in SDM_KS] if with_sdm else []
    rows = [[*header, "queries", "gallery"]]
    notes = []
    for score in scores:
        got = score.retrieval
        shares = [
            got.recall_at_1,
            got.recall_at_5,
            got.recall_at_10,
            got.recall_at_1_percent,
            got.average_precision,
        ]
        cells = [percent(share) for share in shares]
        if with_sdm:
            cells += [percent(score.sdm[k]) if score.sdm else "" for k in SDM_KS]
        rows.append([score.task, *cells, f"{got.queries:,}", f"{got.gallery:,}"])
        if got.queries_without_match:
            notes.append(
                f"{score.task}: {got.queries_without_match:,} queries have no match in the "
                "gallery and count as missed"
            )
        if score.unreadable_queries or score.unreadable_gallery:
            notes.append(
                f"{score.task}: left out as unreadable: {score.unreadable_queries:,} queries, "
                f"{score.unreadable_gallery:,} gallery images"
            )
    return "\n".join([aligned(rows), *notes])
