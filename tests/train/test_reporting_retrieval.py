from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmnil_train.data.pool import PreparedPool, RetrievalTask
from dmnil_train.evaluation.retrieval_metrics import retrieval_metrics
from dmnil_train.reporting.retrieval_examples import NO_RANK, RetrievalSample, sample_retrieval
from dmnil_train.reporting.retrieval_page import write_retrieval_page
from dmnil_train.reporting.retrieval_sheet import retrieval_sheet
from dmnil_train.reporting.thumbnails import thumbnail
from edge_runtime.contract.errors import OutputError, SourceError

Features = npt.NDArray[np.float32]


class UnreadablePool:
    names = ("lost.jpg",)

    def __len__(self) -> int:
        return 1

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        raise SourceError("lost.jpg cannot be decoded")


class Page(HTMLParser):
    """What of a page refers elsewhere, and whether its elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.figures: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.addresses += [known[name] or "" for name in ("src", "href") if name in known]
        if tag == "figure":
            self.figures.append(known["class"] or "")
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} " if self.open and self.open[-1] not in ("style", "script") else ""


def pool(count: int, prefix: str, height: int = 24, width: int = 24) -> PreparedPool:
    pictures = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    names = tuple(f"{prefix}-{index}.jpg" for index in range(count))
    return PreparedPool(pictures, names, np.full(count, -1))


def unit(angles_deg: list[float]) -> Features:
    angles = np.deg2rad(angles_deg)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def places_task(queries: list[int], gallery: list[int]) -> RetrievalTask:
    return RetrievalTask(
        "drone->satellite",
        pool(len(queries), "drone"),
        pool(len(gallery), "tile"),
        np.array(queries, np.int64),
        np.array(gallery, np.int64),
    )


# Gallery at 0, 10, 20, 30 degrees; the query at 1 degree ranks it in that order.
FOUR = unit([0, 10, 20, 30])


def sampled(task: RetrievalTask, queries: Features, gallery: Features = FOUR) -> RetrievalSample:
    return sample_retrieval(task, queries, gallery, count=24, best=2, seed=0)


def test_a_query_shows_its_nearest_images_and_the_first_relevant_one() -> None:
    sample = sampled(places_task([7], [1, 2, 3, 7]), unit([1]))
    (example,) = sample.missed
    assert not sample.found
    assert [(image.index, image.rank, image.is_relevant) for image in example.best] == [
        (0, 1, False),
        (1, 2, False),
    ]
    assert example.best[1].similarity == pytest.approx(np.cos(np.deg2rad(9)), abs=1e-5)
    assert example.lower is not None
    assert (example.lower.index, example.lower.rank) == (3, 4)
    assert sample.first_ranks.tolist() == [4]


def test_junk_is_not_ranked() -> None:
    sample = sampled(places_task([7], [-1, 7, 3, -1]), unit([1]))
    assert [image.index for image in sample.found[0].best] == [1, 2]
    assert sample.gallery == 2


def test_a_relevance_matrix_stands_above_places() -> None:
    relevant = np.array([[False, True, False, False]])
    task = replace(places_task([7], [7, -1, -1, -1]), relevant=relevant)
    sample = sampled(task, unit([1]))
    assert sample.first_ranks.tolist() == [2]
    assert sample.gallery == 4


def test_the_worse_of_two_equals_ranks_first() -> None:
    gallery = unit([10, 10, 40, 50])
    for places in ([7, 1, 2, 3], [1, 7, 2, 3]):
        sample = sampled(places_task([7], places), unit([10]), gallery)
        assert sample.first_ranks.tolist() == [2]
        assert [image.is_relevant for image in sample.missed[0].best] == [False, True]


def test_a_query_without_any_match_is_missed_and_comes_last() -> None:
    sample = sampled(places_task([99, 3, 2], [1, 2, 3, 4]), unit([1, 1, 1]))
    assert [example.query for example in sample.missed] == [1, 2, 0]
    assert sample.missed[2].first_relevant is None
    assert sample.first_ranks.tolist() == [NO_RANK, 3, 2]


def test_images_that_could_not_be_read_take_no_part() -> None:
    queries, gallery = unit([1, 1]), FOUR.copy()
    queries[0] = gallery[0] = 0.0
    sample = sampled(places_task([7, 7], [7, 7, 3, 4]), queries, gallery)
    assert [example.query for example in sample.found] == [1]
    assert sample.found[0].best[0].index == 1
    assert sample.gallery == 3


def test_nothing_to_rank_is_an_error_with_the_name_of_the_task() -> None:
    with pytest.raises(SourceError, match="drone->satellite: 1 readable queries, 0 readable"):
        sampled(places_task([7], [-1, -1, -1, -1]), unit([1]))


def random_case(
    queries: int, gallery: int, places: int, seed: int
) -> tuple[RetrievalTask, Features, Features]:
    generator = np.random.default_rng(seed)
    task = places_task(
        generator.integers(0, places, queries).tolist(),
        [0, *generator.integers(-1, places, gallery - 1).tolist()],
    )
    # Few values each, so that equal similarities are common.
    features = generator.integers(1, 4, (queries + gallery, 3)).astype(np.float32)
    return task, features[:queries], features[queries:]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(1, 12), st.integers(0, 10**6))
def test_ranks_agree_with_the_scores(queries: int, gallery: int, places: int, seed: int) -> None:
    task, asked, held = random_case(queries, gallery, places, seed)
    sample = sample_retrieval(task, asked, held, count=9, best=5, seed=seed)
    ranks = sample.first_ranks
    scores = retrieval_metrics(asked, task.query_places, held, task.gallery_places)
    for bound, recall in ((1, scores.recall_at_1), (5, scores.recall_at_5)):
        assert np.mean((ranks > 0) & (ranks <= bound)) == pytest.approx(recall)
    assert np.count_nonzero(ranks == NO_RANK) == scores.queries_without_match
    shown = (*sample.missed, *sample.found)
    assert len(shown) == min(9, queries)
    for example in shown:
        first = example.first_relevant
        assert (first.rank if first else NO_RANK) == ranks[example.query]
        assert len(example.best) == min(5, sample.gallery)


def test_half_of_the_sample_are_misses_and_the_seed_decides_which() -> None:
    queries, gallery = unit([1.0] * 90), FOUR
    task = places_task([1] * 60 + [2] * 30, [1, 2, 3, 4])
    samples = [
        sample_retrieval(task, queries, gallery, count=10, best=2, seed=seed) for seed in (0, 0, 1)
    ]
    drawn = [[example.query for example in (*one.missed, *one.found)] for one in samples]
    assert len(samples[0].missed) == len(samples[0].found) == 5
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(("right", "expected"), [(90, (0, 10)), (88, (2, 8)), (3, (7, 3))])
def test_a_sample_is_filled_up_where_one_kind_is_rare(
    right: int, expected: tuple[int, int]
) -> None:
    task = places_task([1] * right + [2] * (90 - right), [1, 2, 3, 4])
    sample = sample_retrieval(task, unit([1.0] * 90), FOUR, count=10, best=2, seed=0)
    assert (len(sample.missed), len(sample.found)) == expected


def test_thumbnails_keep_proportions_and_are_never_enlarged() -> None:
    wide = pool(1, "wide", 40, 100)
    small = thumbnail(wide, 0, 50)
    assert small is not None
    assert small.shape == (20, 50, 3)
    same = thumbnail(wide, 0, 400)
    assert same is not None
    assert np.array_equal(same, wide.pictures[0])


def write_page(path: Path, task: RetrievalTask, queries: Features) -> Page:
    write_retrieval_page(path, task, queries, FOUR, best=2, seed=0, note="epoch 3")
    return Page(path.read_text(encoding="utf-8"))


def decoded(address: str) -> npt.NDArray[np.uint8]:
    """A picture that a data address holds, BGR."""
    kind, data = address.split(",")
    assert kind == "data:image/jpeg;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def test_a_page_holds_everything_that_it_shows(tmp_path: Path) -> None:
    task = places_task([1, 4, 9], [1, 2, 3, 4])
    page = write_page(tmp_path / "deep" / "page.html", task, unit([1, 1, 1]))
    assert not page.open
    # A found query, one whose match ranks lower, one without match: 3, 4 and 3 pictures.
    assert len(page.addresses) == 10
    for address in page.addresses:
        assert decoded(address).shape == (24, 24, 3)
    assert page.figures == [
        *("query", "wrong", "wrong", "right lower"),
        *("query", "wrong", "wrong"),
        *("query", "right", "wrong"),
    ]
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["page.html"]


def test_a_page_shows_each_image_in_its_own_place_and_colours(tmp_path: Path) -> None:
    colours = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250], [250, 250, 20]], np.uint8)
    flat = np.broadcast_to(colours[:, None, None], (4, 24, 24, 3))
    task = replace(
        places_task([4], [1, 2, 3, 4]),
        queries=replace(pool(1, "drone"), pictures=flat[2:3]),
        gallery=replace(pool(4, "tile"), pictures=flat),
    )
    page = write_page(tmp_path / "page.html", task, unit([1]))
    shown = [decoded(address)[12, 12, ::-1].astype(int) for address in page.addresses]
    # The query is blue; results are the first two tiles, then the fourth, which is relevant.
    np.testing.assert_allclose(shown, colours[[2, 0, 1, 3]].astype(int), atol=8)


def test_a_page_tells_right_from_wrong_without_colour(tmp_path: Path) -> None:
    page = write_page(tmp_path / "page.html", places_task([4], [1, 2, 3, 4]), unit([1]))
    assert re.findall(r"[✓✗] \d", page.text)[:3] == ["✗ 1", "✗ 2", "✓ 4"]
    assert "first relevant image: rank 4" in page.text


def test_a_page_heads_with_the_scores_of_all_queries(tmp_path: Path) -> None:
    task = places_task([1, 1, 1, 2], [1, 2, 3, 4])
    page = write_page(tmp_path / "page.html", task, unit([1, 1, 1, 1]))
    words = " ".join(page.text.split())
    assert "drone → satellite" in words
    assert "R@1 75.00 % R@5 100.00 %" in words
    assert "rank 1: 3 (75.0 %) rank 2\N{EN DASH}5: 1 (25.0 %)" in words
    assert "1 of 1 shown: a wrong image ranks first" in words


def test_a_name_is_text_and_no_markup(tmp_path: Path) -> None:
    task = places_task([1], [1, 2, 3, 4])
    evil = '"><script>alert(1)</script>'
    queries = replace(pool(1, "drone"), names=(evil,))
    task = replace(task, queries=queries, name=f"{evil} $note ${{x}}")
    page = write_page(tmp_path / "page.html", task, unit([1]))
    assert not page.open
    assert "<script" not in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert evil in page.text
    assert "$note ${x}" in page.text


def test_the_same_seed_writes_the_same_page(tmp_path: Path) -> None:
    task, asked, held = random_case(30, 20, 5, 0)
    pages = [
        write_retrieval_page(tmp_path / f"{n}.html", task, asked, held, count=6, seed=seed)
        for n, seed in enumerate((3, 3, 4))
    ]
    first, again, other = (path.read_bytes() for path in pages)
    assert first == again != other


def test_an_image_lost_since_it_was_encoded_leaves_its_frame(tmp_path: Path) -> None:
    task = replace(places_task([1], [1, 2, 3, 4]), queries=UnreadablePool())
    page = write_page(tmp_path / "page.html", task, unit([1]))
    assert "query: cannot be read" in page.text
    sheet = retrieval_sheet(task, unit([1]), FOUR, seed=0)
    assert sheet.dtype == np.uint8


def test_a_page_that_cannot_be_written_is_an_error_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "page.html").mkdir()
    with pytest.raises(OutputError, match=r"page\.html cannot be written"):
        write_page(tmp_path / "page.html", places_task([1], [1, 2, 3, 4]), unit([1]))
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]


def colours_left_of_pictures(sheet: npt.NDArray[np.uint8]) -> list[list[str]]:
    """Which frame each cell has, by the colour of the pixel in its top left corner."""
    names = {(140, 150, 166): "query", (46, 176, 92): "right", (224, 72, 66): "wrong"}
    return [
        [names.get(tuple(int(v) for v in pixel), "") for pixel in row]
        for row in sheet[9::164, 9::144][: sheet.shape[0] // 164, : sheet.shape[1] // 144]
    ]


def test_a_sheet_frames_what_the_page_frames() -> None:
    task = places_task([1, 4], [1, 2, 3, 4])
    sheet = retrieval_sheet(task, unit([1, 1]), FOUR, best=2, seed=0)
    assert colours_left_of_pictures(sheet) == [
        ["query", "wrong", "wrong", "right"],
        ["query", "right", "wrong", ""],
    ]


def test_a_sheet_shows_the_pictures_themselves_in_the_middle_of_their_frames() -> None:
    task = places_task([1], [1, 2, 3, 4])
    colour = np.array([250, 100, 20], np.uint8)
    queries = PreparedPool(np.tile(colour, (1, 60, 120, 1)), ("wide.jpg",), np.zeros(1, np.int64))
    sheet = retrieval_sheet(replace(task, queries=queries), unit([1]), FOUR, seed=0)
    inside = sheet[12:140, 12:140]
    rows, columns = np.nonzero((inside == colour).all(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (34, 93, 4, 123)
