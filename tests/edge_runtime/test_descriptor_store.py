from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.contract import descriptor_store
from edge_runtime.contract.descriptor_store import (
    CODEBOOK_FILE,
    DESCRIPTORS_FILE,
    SCALE_FILE,
    STORAGES,
    HalfStore,
    open_descriptors,
)
from edge_runtime.contract.descriptor_writer import write_descriptors
from edge_runtime.contract.errors import MapError

COUNT, SIZE = 1300, 30


def descriptors() -> np.ndarray:
    values = np.random.default_rng(5).standard_normal((COUNT, SIZE)).astype(np.float32)
    values *= np.linspace(2.0, 0.5, SIZE, dtype=np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def written(folder: Path, storage: str) -> descriptor_store.DescriptorStore:
    write_descriptors(folder, np.array_split(descriptors(), 7), COUNT, SIZE, storage)
    return open_descriptors(folder, storage, COUNT, SIZE)


def test_halves_are_decoded_as_numpy_does_every_one_of_them() -> None:
    bits = np.arange(2**16).astype(np.uint16)
    halves = bits.view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(-1, 8)
    decoded = HalfStore(halves, 8).decoded(slice(None))
    np.testing.assert_array_equal(decoded, halves.astype(np.float32))
    assert np.array_equal(np.signbit(decoded), np.signbit(halves))


@pytest.mark.parametrize(
    ("storage", "bytes_per_tile", "likeness"),
    [("float16", 60, 0.999999), ("int8", 34, 0.9998), ("pq", 8, 0.8)],
)
def test_what_is_stored_is_what_was_given_but_for_the_storages_loss(
    tmp_path: Path, storage: str, bytes_per_tile: int, likeness: float
) -> None:
    store, exact = written(tmp_path, storage), descriptors()
    decoded = store.decoded(slice(None))
    assert decoded.dtype == np.float32
    cosine = (decoded * exact).sum(axis=1) / np.linalg.norm(decoded, axis=1)
    assert cosine.mean() > likeness
    size = (tmp_path / DESCRIPTORS_FILE).stat().st_size - 128
    if storage == "int8":
        size += (tmp_path / SCALE_FILE).stat().st_size - 128
    assert size == COUNT * bytes_per_tile


def test_an_int8_value_is_off_by_half_a_step_at_most(tmp_path: Path) -> None:
    decoded, exact = written(tmp_path, "int8").decoded(slice(None)), descriptors()
    step = np.abs(exact).max(axis=1, keepdims=True) / 127.0
    assert (np.abs(decoded - exact) <= 0.5001 * step).all()


@pytest.mark.parametrize("storage", STORAGES)
def test_rows_and_products_are_those_of_the_decoded_whole(tmp_path: Path, storage: str) -> None:
    store = written(tmp_path, storage)
    whole = store.decoded(slice(None))
    rows = np.random.default_rng(1).integers(0, COUNT, 900)
    queries = descriptors()[:4]
    np.testing.assert_array_equal(store.decoded(rows), whole[rows])
    np.testing.assert_array_equal(store.scattered(rows), whole[rows])
    np.testing.assert_array_equal(store.decoded(slice(600, 1200)), whole[600:1200])
    for chosen in (rows, slice(3, 1100), rows[:0]):
        products = store.similarity(chosen, queries)
        np.testing.assert_allclose(products, queries @ whole[chosen].T, atol=1e-5)


@pytest.mark.parametrize("row", [-1, COUNT])
def test_rows_outside_the_map_are_an_error(tmp_path: Path, row: int) -> None:
    store = written(tmp_path, "float16")
    with pytest.raises(IndexError, match=f"of a map of {COUNT} tiles"):
        store.decoded(np.array([3, row]))
    with pytest.raises(IndexError):
        store.similarity(np.array([3, row]), descriptors()[:1])


@pytest.mark.parametrize("storage", STORAGES)
def test_the_same_descriptors_give_the_same_bytes(tmp_path: Path, storage: str) -> None:
    contents = []
    for parts in (3, 11):
        folder = tmp_path / str(parts)
        folder.mkdir()
        write_descriptors(folder, np.array_split(descriptors(), parts), COUNT, SIZE, storage)
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    "chunks",
    [[descriptors()[:-1]], [descriptors(), descriptors()[:3]], [descriptors()[:, 1:]], []],
    ids=["too few", "too many", "too short", "none"],
)
def test_descriptors_that_do_not_fit_the_tiles_are_not_written(
    tmp_path: Path, storage: str, chunks: list[np.ndarray]
) -> None:
    with pytest.raises(MapError, match="descriptors"):
        write_descriptors(tmp_path, chunks, COUNT, SIZE, storage)


def test_a_map_of_few_tiles_is_not_worth_a_codebook(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="pq needs 256 tiles, this map has 255: use int8"):
        write_descriptors(tmp_path, [descriptors()[:255]], 255, SIZE, "pq")


@pytest.mark.parametrize(
    ("storage", "file", "array", "words"),
    [
        ("int8", SCALE_FILE, np.ones(COUNT - 1, np.float32), "expected float32"),
        ("int8", SCALE_FILE, np.ones(COUNT), "expected float32"),
        ("int8", DESCRIPTORS_FILE, np.zeros((COUNT, SIZE), np.uint8), "expected int8"),
        ("pq", CODEBOOK_FILE, np.zeros((8, 256, 3), np.float32), "is not of descriptors"),
        ("pq", CODEBOOK_FILE, np.zeros((8, 255, 4), np.float32), "expected float32"),
        ("pq", CODEBOOK_FILE, np.zeros((8, 1024), np.float32), "is not of descriptors"),
        ("pq", DESCRIPTORS_FILE, np.zeros((COUNT, 7), np.uint8), "expected uint8"),
    ],
)
def test_arrays_of_another_shape_or_type_are_named(
    tmp_path: Path, storage: str, file: str, array: np.ndarray, words: str
) -> None:
    written(tmp_path, storage)
    np.save(tmp_path / file, array)
    with pytest.raises(MapError, match=words) as caught:
        open_descriptors(tmp_path, storage, COUNT, SIZE)
    assert str(tmp_path / file) in str(caught.value)


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_reading_all_of_a_large_map_in_windows_does_not_gather_it_in_memory(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptor_store, "_RESIDENT_BYTES", 2 << 20)
    count, size = 60_000, 512
    chunk = np.random.default_rng(2).standard_normal((2000, size)).astype(np.float32)
    write_descriptors(tmp_path, [chunk] * (count // 2000), count, size, storage)
    store = open_descriptors(tmp_path, storage, count, size)
    query = chunk[:1]
    store.similarity(slice(0, 1000), query)
    before = resident_bytes()
    for start in range(0, count, 1000):
        store.similarity(slice(start, start + 1000), query)
    assert resident_bytes() - before < 12e6


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
