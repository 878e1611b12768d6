"""A fair sample of queries with what an encoder found for them, for people to look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dmnil_train.data.pool import RetrievalTask
from dmnil_train.evaluation.similarity import (
    SIMILARITY_STEPS,
    Features,
    cosines,
    could_be_read,
    unit_length,
)
from edge_runtime.contract.errors import SourceError

_BLOCK_PAIRS = 1 << 22
_LOWEST = np.iinfo(np.int32).min
NO_RANK = 0
"""Rank of the first relevant image where the gallery holds none."""

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GalleryImage:
    """A gallery image in the ranking of one query; ranks count from 1."""

    index: int
    rank: int
    similarity: float
    is_relevant: bool


@dataclass(frozen=True)
class RetrievalExample:
    """What was found for one query.

    Args:
        query: Its index.
        best: The first images of the ranking.
        first_relevant: The first relevant image, wherever it ranks; None if there is none.
    """

    query: int
    best: tuple[GalleryImage, ...]
    first_relevant: GalleryImage | None

    @property
    def lower(self) -> GalleryImage | None:
        """The first relevant image, if `best` does not reach down to it."""
        first = self.first_relevant
        return first if first is not None and first.rank > len(self.best) else None


@dataclass(frozen=True)
class RetrievalSample:
    """Examples, and how all queries went.

    Args:
        missed: Queries whose first result is wrong, the furthest off first.
        found: Queries whose first result is right.
        first_ranks: (queries that could be read,) rank of each one's first relevant image,
            counted from 1; `NO_RANK` where nothing in the gallery is relevant.
        gallery: Images that were ranked: neither junk nor unreadable.
    """

    missed: tuple[RetrievalExample, ...]
    found: tuple[RetrievalExample, ...]
    first_ranks: Indices
    gallery: int

    @property
    def columns(self) -> int:
        """Most images that any example shows beside its query."""
        examples = (*self.missed, *self.found)
        return max(len(example.best) + (example.lower is not None) for example in examples)


def sample_retrieval(
    task: RetrievalTask,
    query_features: Features,
    gallery_features: Features,
    *,
    count: int,
    best: int,
    seed: int,
) -> RetrievalSample:
    """Rank the gallery for every query and draw some queries, half of them misses if there are any.

    As in evaluation, the worse of two equally similar images ranks first. An image whose features
    are all zero could not be read, and takes no part.

    Args:
        query_features: (Q, D) of any length; compared by cosine. (Q, V, D) for V views of each
            image, the most similar counts.
        gallery_features: (G, D), or (G, V, D).
        count: Queries to draw; all of them if there are fewer.
        best: Results of each.
        seed: Which queries are drawn, nothing else.
    Raises:
        SourceError: If no query, or nothing in the gallery, can take part.
    """
    ranking = _Ranking(task, query_features, gallery_features)
    first_ranks = ranking.first_relevant_ranks()
    missed, found = np.flatnonzero(first_ranks != 1), np.flatnonzero(first_ranks == 1)
    wrong = min(len(missed), max(count // 2, count - len(found)))
    right = min(len(found), count - wrong)
    generator = np.random.default_rng(seed)
    missed = np.sort(generator.choice(missed, wrong, replace=False))
    found = np.sort(generator.choice(found, right, replace=False))
    # Those that could not be found at all say least, and come last.
    missed = missed[np.argsort(-first_ranks[missed], kind="stable")]
    return RetrievalSample(
        ranking.examples(missed, best),
        ranking.examples(found, best),
        first_ranks,
        ranking.gallery_size,
    )


class _Ranking:
    """The images of a task that take part, and how similar they are."""

    def __init__(
        self, task: RetrievalTask, query_features: Features, gallery_features: Features
    ) -> None:
        self._task = task
        ranked = could_be_read(gallery_features)
        if task.relevant is None:
            ranked &= task.gallery_places != -1
        self._asked = np.flatnonzero(could_be_read(query_features))
        self._ranked = np.flatnonzero(ranked)
        if not len(self._asked) or not len(self._ranked):
            raise SourceError(
                f"{task.name}: {len(self._asked)} readable queries, {len(self._ranked)} readable "
                "gallery images of known place: nothing to show"
            )
        self._queries = unit_length(query_features[self._asked])
        self._gallery = unit_length(gallery_features[self._ranked])

    @property
    def gallery_size(self) -> int:
        """How many images are ranked."""
        return len(self._ranked)

    def first_relevant_ranks(self) -> Indices:
        """Rank of each query's first relevant image, counted from 1; `NO_RANK` if there is none."""
        ranks = np.full(len(self._asked), NO_RANK, np.int64)
        for block in self._blocks():
            similarity, relevant = self._compared(block)
            highest = np.where(relevant, similarity, _LOWEST).max(axis=1, keepdims=True)
            before = np.count_nonzero(~relevant & (similarity >= highest), axis=1)
            ranks[block] = np.where(relevant.any(axis=1), before + 1, NO_RANK)
        return ranks

    def examples(self, rows: Indices, best: int) -> tuple[RetrievalExample, ...]:
        """The ranking of some queries, given by their rows among those that could be read."""
        if not len(rows):
            return ()
        similarity, relevant = self._compared(rows)
        # The worse of two equals first; one stable integer sort settles both.
        order = np.argsort(-(2 * similarity.astype(np.int64) + ~relevant), axis=1, kind="stable")
        return tuple(
            self._example(int(row), order[nth], similarity[nth], relevant[nth], best)
            for nth, row in enumerate(rows)
        )

    def _example(
        self,
        row: int,
        order: Indices,
        similarity: npt.NDArray[np.int32],
        relevant: npt.NDArray[np.bool_],
        best: int,
    ) -> RetrievalExample:
        def image(rank: int) -> GalleryImage:
            item = int(order[rank - 1])
            return GalleryImage(
                index=int(self._ranked[item]),
                rank=rank,
                similarity=float(similarity[item] / SIMILARITY_STEPS),
                is_relevant=bool(relevant[item]),
            )

        relevant_ranks = np.flatnonzero(relevant[order]) + 1
        return RetrievalExample(
            query=int(self._asked[row]),
            best=tuple(image(rank) for rank in range(1, min(best, len(order)) + 1)),
            first_relevant=image(int(relevant_ranks[0])) if len(relevant_ranks) else None,
        )

    def _blocks(self) -> Iterator[slice]:
        rows = max(1, _BLOCK_PAIRS // len(self._ranked))
        for start in range(0, len(self._asked), rows):
            yield slice(start, start + rows)

    def _compared(
        self, rows: slice | Indices
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """Similarities (B, G) in whole steps, and relevance (B, G)."""
        similarity = np.rint(cosines(self._queries[rows], self._gallery) * SIMILARITY_STEPS)
        queries, task = self._asked[rows], self._task
        if task.relevant is not None:
            relevant = task.relevant[queries][:, self._ranked]
        else:
            relevant = np.equal(task.query_places[queries, None], task.gallery_places[self._ranked])
        return similarity.astype(np.int32), relevant
