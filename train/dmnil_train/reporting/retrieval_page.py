"""Retrieval examples as one page that needs no other file: queries, what was found, how good."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import cv2
import numpy as np

from dmnil_train.data.pool import ImagePool, RetrievalTask
from dmnil_train.evaluation.retrieval_metrics import (
    RetrievalScores,
    retrieval_metrics,
    retrieval_metrics_by_relevance,
)
from dmnil_train.evaluation.similarity import Features, could_be_read
from dmnil_train.evaluation.text_table import percent
from dmnil_train.reporting.retrieval_examples import (
    NO_RANK,
    GalleryImage,
    Indices,
    RetrievalExample,
    RetrievalSample,
    sample_retrieval,
)
from dmnil_train.reporting.thumbnails import thumbnail
from edge_runtime.contract.artefact import write_whole

_TEMPLATE = "retrieval_page.html"
_THUMBNAIL_SIDE = 192
_JPEG_QUALITY = 80
_RANK_BOUNDS = (1, 5, 10, 100)
_TICK, _CROSS = "\N{CHECK MARK}", "\N{BALLOT X}"


def write_retrieval_page(
    path: Path,
    task: RetrievalTask,
    query_features: Features,
    gallery_features: Features,
    *,
    count: int = 24,
    best: int = 5,
    seed: int,
    note: str = "",
) -> Path:
    """Write a page of queries with their first results, half of them misses if there are any.

    Args:
        path: Ends in `.html`.
        query_features: (Q, D); a row of zeros is an image that could not be read.
        gallery_features: (G, D).
        count: Queries to show.
        best: Results of each; the first relevant one is shown too where it ranks lower.
        seed: Which queries are shown.
        note: One line below the heading, such as the encoder's name and epoch.
    Returns:
        The path.
    Raises:
        SourceError: If no query, or nothing in the gallery, can take part.
        OutputError: If the page cannot be written.
    """
    sample = sample_retrieval(
        task, query_features, gallery_features, count=count, best=best, seed=seed
    )
    scores = _scores(task, query_features, gallery_features)
    pictures = _Pictures(task)
    missed = int(np.count_nonzero(sample.first_ranks != 1))
    found = len(sample.first_ranks) - missed
    sections = [
        _section("Missed", "a wrong image ranks first", sample.missed, missed, pictures),
        _section("Found", "a relevant image ranks first", sample.found, found, pictures),
    ]
    bar, legend = _rank_shares(sample.first_ranks)
    page = _template().substitute(
        title=escape(task.name.replace("->", " \N{RIGHTWARDS ARROW} ")),
        note=escape(note),
        scores=_score_list(scores, sample),
        queries=_grouped(len(sample.first_ranks)),
        bar=bar,
        legend=legend,
        columns=sample.columns,
        sections="\n".join(sections),
        footer=_footer(sample, best, seed),
    )
    return write_whole(path, page, parents=True)


class _Pictures:
    """Images of a task as the page holds them; a gallery image shown often is encoded once."""

    def __init__(self, task: RetrievalTask) -> None:
        self.task = task
        self._known: dict[tuple[int, int], str] = {}

    def frame(self, pool: ImagePool, index: int, description: str, badge: str) -> str:
        """An image in its frame, with a badge in its corner."""
        key = id(pool), index
        if key not in self._known:
            self._known[key] = _data_uri(pool, index)
        source = self._known[key]
        image = f'<img alt="{escape(description)}" src="{source}">' if source else ""
        image = image or f"<p>{escape(description)}: cannot be read</p>"
        return f'<div class="frame">{image}<span class="badge">{escape(badge)}</span></div>'


def _template() -> Template:
    return Template((files(__package__) / _TEMPLATE).read_text(encoding="utf-8"))


def _scores(task: RetrievalTask, queries: Features, gallery: Features) -> RetrievalScores:
    asked, held = could_be_read(queries), could_be_read(gallery)
    if task.relevant is not None:
        relevant = task.relevant[asked][:, held]
        return retrieval_metrics_by_relevance(queries[asked], gallery[held], relevant)
    return retrieval_metrics(
        queries[asked], task.query_places[asked], gallery[held], task.gallery_places[held]
    )


def _data_uri(pool: ImagePool, index: int) -> str:
    picture = thumbnail(pool, index, _THUMBNAIL_SIDE)
    if picture is None:
        return ""
    _, encoded = cv2.imencode(
        ".jpg",
        cv2.cvtColor(picture, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY],
    )
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}"


def _section(
    heading: str,
    meaning: str,
    examples: Sequence[RetrievalExample],
    of_all: int,
    pictures: _Pictures,
) -> str:
    if not examples:
        return ""
    shown = f"{len(examples)} of {_grouped(of_all)} shown: {meaning}"
    articles = "\n".join(_article(example, pictures) for example in examples)
    return f'<section>\n<h2>{heading}</h2>\n<p class="soft">{shown}</p>\n{articles}\n</section>'


def _article(example: RetrievalExample, pictures: _Pictures) -> str:
    task, first = pictures.task, example.first_relevant
    name = task.queries.names[example.query]
    verdict = "no relevant image in the gallery"
    if first is not None:
        verdict = f"first relevant image: rank {_grouped(first.rank)}"
    query = (
        f'<figure class="query">{pictures.frame(task.queries, example.query, "query", "query")}'
        f"<figcaption><b>{verdict}</b>{_named(name)}</figcaption></figure>"
    )
    results = [_result(image, pictures, "") for image in example.best]
    if example.lower is not None:
        results.append(_result(example.lower, pictures, " lower"))
    return (
        f'<article>\n{query}\n<div class="results">\n' + "\n".join(results) + "\n</div></article>"
    )


def _result(image: GalleryImage, pictures: _Pictures, position: str) -> str:
    gallery = pictures.task.gallery
    kind, sign, meaning = (
        ("right", _TICK, "relevant") if image.is_relevant else ("wrong", _CROSS, "not relevant")
    )
    badge = f"{sign} {_grouped(image.rank)}"
    frame = pictures.frame(gallery, image.index, f"rank {image.rank}, {meaning}", badge)
    return (
        f'<figure class="{kind}{position}">{frame}<figcaption><b>{image.similarity:.3f}</b>'
        f"{_named(gallery.names[image.index])}</figcaption></figure>"
    )


def _named(name: str) -> str:
    return f'<span title="{escape(name)}">{escape(name)}</span>'


def _score_list(scores: RetrievalScores, sample: RetrievalSample) -> str:
    shown = {
        "R@1": f"{percent(scores.recall_at_1)} %",
        "R@5": f"{percent(scores.recall_at_5)} %",
        "R@10": f"{percent(scores.recall_at_10)} %",
        "AP": f"{percent(scores.average_precision)} %",
        "queries": _grouped(len(sample.first_ranks)),
        "gallery": _grouped(sample.gallery),
    }
    return "\n".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in shown.items())


def _rank_shares(first_ranks: Indices) -> tuple[str, str]:
    """A bar of how far down the first relevant images rank, and its legend."""
    counted: list[tuple[str, str, int]] = []
    above = 0
    for nth, bound in enumerate((*_RANK_BOUNDS, int(first_ranks.max(initial=0))), start=1):
        within = int(np.count_nonzero((first_ranks > above) & (first_ranks <= bound)))
        label = f"{bound}" if bound == above + 1 else f"{above + 1}\N{EN DASH}{bound}"
        if nth > len(_RANK_BOUNDS):
            label = f"beyond {above}"
        counted.append((f"--rank-{nth}", f"rank {label}", within))
        above = max(above, bound)
    none = int(np.count_nonzero(first_ranks == NO_RANK))
    counted.append(("--rank-0", "nothing relevant there", none))
    counted = [(colour, label, number) for colour, label, number in counted if number]
    bar = "".join(
        f'<span style="flex:{number} 1 0;background:var({colour})"></span>'
        for colour, _, number in counted
    )
    legend = "\n".join(
        f'<li><i style="background:var({colour})"></i>{label}: {_grouped(number)} '
        f'<span class="soft">({100.0 * number / len(first_ranks):.1f} %)</span></li>'
        for colour, label, number in counted
    )
    return bar, legend


def _footer(sample: RetrievalSample, best: int, seed: int) -> str:
    return (
        f"Each row: the query, then its {min(best, sample.gallery)} most similar gallery images "
        f"with their cosine similarity; {_TICK} relevant, {_CROSS} not. Where none of them is "
        "relevant, the first relevant image follows behind the dashed line, with its rank. "
        f"Queries drawn with seed {seed}, half of them misses if there are as many: "
        "the scores above are of all queries."
    )


def _grouped(number: int) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
