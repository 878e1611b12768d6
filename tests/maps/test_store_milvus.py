"""Maps in a vector store, the real embedded one: cut from it, they are what a map is cut to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dmnil_maps.cli import main
from dmnil_maps.describe import verify_map
from dmnil_maps.picture_digest import write_digests
from dmnil_maps.store.client import milvus_client
from dmnil_maps.store.fill import collection_name, files_collection_of, store_map
from edge_runtime.contract.errors import ConfigError, MapError
from edge_runtime.contract.region_map import load_region_map
from tests.small_map import FRAME, LEVEL, seal_again, write_small_map

pytest.importorskip("pymilvus", reason="needs the extra milvus")
pytest.importorskip("milvus_lite", reason="needs the extra milvus")

WIDE = replace(LEVEL, rows=70, columns=45, first_north_m=1035.0)
COARSE = replace(LEVEL, footprint_m=240.0, stride_m=60.0, rows=11, columns=14)


def written_map(folder: Path, **more) -> Path:
    """Two levels over several lattice blocks, holes in both, digests of pictures."""
    holes = frozenset((row, column) for row in (5, 6) for column in (7, 8))
    write_small_map(folder, levels=(WIDE, COARSE), missing=holes, **more)
    count = len(np.load(folder / "tiles.npy"))
    digests = np.arange(count, dtype=np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)
    write_digests(folder, digests)
    seal_again(folder)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_map(tmp_path_factory.mktemp("whole") / "whole.map")


@pytest.fixture(scope="module")
def stored(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("store") / "maps.db")
    assert store_map(whole, uri).added == len(load_region_map(whole).tiles)
    return uri


def bounds_option(west_m: float, south_m: float, east_m: float, north_m: float) -> str:
    corners = FRAME.to_geodetic(np.array([[west_m, south_m], [east_m, north_m]]))
    (south, north), (west, east) = corners[0].tolist(), corners[1].tolist()
    return f"--bounds={west!r},{south!r},{east!r},{north!r}"


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def assert_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(arguments) == 2
    error = error_of(capsys)
    assert said in error
    assert "Traceback" not in error


SQUARE = (-100.0, -50.0, 130.0, 780.0)


@pytest.mark.parametrize("area", ["square", "corner", "polygon", "corridor"])
def test_a_cut_from_the_store_is_that_of_the_map_byte_for_byte(
    whole, stored, tmp_path, area, monkeypatch
):
    # Block by block, which is not the order of the map.
    monkeypatch.setattr("dmnil_maps.store.cut._QUERY_BYTES", 1)
    if area in ("square", "corner"):
        sides = SQUARE if area == "square" else (300.0, -400.0, 900.0, -300.0)
        options = [bounds_option(*sides)]
    else:
        line = np.array([[-420.0, 1000.0], [100.0, 500.0], [800.0, -200.0], [-420.0, 1000.0]])
        latitude, longitude = FRAME.to_geodetic(line)
        points = np.stack([longitude, latitude], axis=-1).tolist()
        path = tmp_path / "area.json"
        if area == "polygon":
            path.write_text(json.dumps({"type": "Polygon", "coordinates": [points]}))
            options = ["--polygon", str(path)]
        else:
            path.write_text(json.dumps({"type": "LineString", "coordinates": points[:3]}))
            options = ["--corridor", str(path), "--width", "50"]
    ours, theirs = tmp_path / "store.map", tmp_path / "map.map"
    assert main(["cut", str(whole), "-o", str(theirs), *options]) == 0
    assert main(["cut", "--milvus", stored, "-o", str(ours), *options]) == 0
    assert bytes_of(ours) == bytes_of(theirs)
    kept, before = verify_map(ours).tiles, load_region_map(whole).tiles
    assert 0 < len(kept) < len(before)
    assert not list(tmp_path.glob(".*")), "scratch files stay behind"


@pytest.mark.parametrize("storage", ["int8", "pq"])
def test_a_cut_of_a_compressed_map_is_the_same_from_the_store(tmp_path, storage):
    if storage == "pq":
        pytest.importorskip("faiss", reason="pq needs the extra search")
    whole = written_map(tmp_path / "small.map", storage=storage)
    uri, area = str(tmp_path / "a.db"), bounds_option(*SQUARE)
    store_map(whole, uri)
    assert main(["cut", str(whole), "-o", str(tmp_path / "theirs.map"), area]) == 0
    assert main(["cut", "--milvus", uri, "-o", str(tmp_path / "ours.map"), area]) == 0
    assert bytes_of(tmp_path / "ours.map") == bytes_of(tmp_path / "theirs.map")


def test_storing_again_adds_nothing(whole, stored, capsys):
    tiles = len(load_region_map(whole).tiles)
    assert main(["store", str(whole), "--milvus", stored]) == 0
    assert f"collection whole holds {tiles:,} tiles of {whole}, 0 of them new" in (
        capsys.readouterr().out
    )


def test_a_storing_that_was_stopped_goes_on_and_is_no_map_until_then(
    whole, tmp_path, monkeypatch, capsys
):
    uri, area = str(tmp_path / "half.db"), bounds_option(*SQUARE)
    monkeypatch.setattr("dmnil_maps.store.fill._BATCH_BYTES", 500 * (4 * 24 + 128))
    batches = 0

    class StoppedError(Exception):
        pass

    def stop_at_the_third(*arguments):
        nonlocal batches
        batches += 1
        if batches == 3:
            raise StoppedError
        return rows_of(*arguments)

    from dmnil_maps.store.schema import tile_rows as rows_of

    monkeypatch.setattr("dmnil_maps.store.fill.tile_rows", stop_at_the_third)
    with pytest.raises(StoppedError):
        store_map(whole, uri)
    cut = ["cut", "--milvus", uri, "-o", str(tmp_path / "ours.map"), area]
    assert_refused(cut, "has 1,000 of 3,296 tiles: its storing was stopped", capsys)
    assert store_map(whole, uri).added == len(load_region_map(whole).tiles) - 1000
    assert main(cut) == 0
    assert main(["cut", str(whole), "-o", str(tmp_path / "theirs.map"), area]) == 0
    assert bytes_of(tmp_path / "ours.map") == bytes_of(tmp_path / "theirs.map")


def test_a_storing_stopped_before_it_said_which_map_starts_afresh(whole, tmp_path, monkeypatch):
    uri = str(tmp_path / "early.db")
    with monkeypatch.context() as broken:
        broken.setattr("dmnil_maps.store.fill.STORED_FILES", ("manifest.json", "missing.npy"))
        with pytest.raises(FileNotFoundError):
            store_map(whole, uri)
    assert store_map(whole, uri).tiles == len(load_region_map(whole).tiles)


def test_a_server_is_used_like_a_file(whole, tmp_path):
    server_of = pytest.importorskip("milvus_lite.adapter.grpc.server")
    server, database, port = server_of.start_server_in_thread(
        data_dir=str(tmp_path / "server"), host="127.0.0.1", port=0
    )
    uri, area = f"http://127.0.0.1:{port}", bounds_option(*SQUARE)
    try:
        assert main(["store", str(whole), "--milvus", uri, "--collection", "town"]) == 0
        cut = ["cut", "--milvus", uri, "--collection", "town", area]
        assert main([*cut, "-o", str(tmp_path / "ours.map")]) == 0
    finally:
        server.stop(grace=0)
        database.close()
    assert main(["cut", str(whole), "-o", str(tmp_path / "theirs.map"), area]) == 0
    assert bytes_of(tmp_path / "ours.map") == bytes_of(tmp_path / "theirs.map")


def test_a_collection_of_another_encoder_or_map_stays_as_it_is(whole, tmp_path, capsys):
    uri = str(tmp_path / "taken.db")
    small = write_small_map(tmp_path / "small.map")
    stranger = write_small_map(tmp_path / "stranger.map", encoder_sha256="f" * 64)
    taken = ["--milvus", uri, "--collection", "town"]
    assert main(["store", str(small), *taken]) == 0
    said = f"holds descriptors of encoder {'0' * 12}, {stranger} is of {'f' * 12}"
    assert_refused(["store", str(stranger), *taken], said, capsys)
    other = write_small_map(tmp_path / "other.map", storage="int8")
    assert_refused(["store", str(other), *taken], "holds another map", capsys)
    assert main(["store", str(small), *taken]) == 0
    assert "0 of them new" in capsys.readouterr().out
    assert main(["store", str(stranger), *taken, "--replace"]) == 0
    area = bounds_option(*SQUARE)
    assert main(["cut", "--milvus", uri, "-o", str(tmp_path / "cut.map"), area]) == 0
    assert load_region_map(tmp_path / "cut.map").encoder_sha256 == "f" * 64


def test_of_several_maps_one_is_chosen(tmp_path, capsys):
    uri, area = str(tmp_path / "several.db"), bounds_option(*SQUARE)
    for name in ("north.map", "south-2.map"):
        store_map(write_small_map(tmp_path / name), uri)
    cut = ["cut", "--milvus", uri, "-o", str(tmp_path / "cut.map"), area]
    assert_refused(cut, "choose a --collection: north, south_2", capsys)
    assert_refused([*cut, "--collection", "west"], "it has: north, south_2", capsys)
    assert main([*cut, "--collection", "south_2"]) == 0


def test_an_altered_store_is_refused(whole, tmp_path, capsys):
    uri = str(tmp_path / "altered.db")
    store_map(write_small_map(tmp_path / "small.map"), uri)
    with milvus_client(uri) as client:
        files = files_collection_of("small")
        client.load_collection(files)
        (row,) = client.query(files, filter="part == 2", output_fields=["*"])
        client.upsert(files, [{**row, "content": "AAAA"}])
    cut = ["cut", "--milvus", uri, "-o", str(tmp_path / "cut.map"), bounds_option(*SQUARE)]
    assert_refused(cut, "of collection small was altered", capsys)
    assert not (tmp_path / "cut.map").exists()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("maps", "is neither a server, http://host:19530, nor a file, name.db"),
        (".db", "is neither a server"),
        ("http://", "is neither a server"),
        ("ftp://example.org:21", "is neither a server"),
        ("http://127.0.0.1:99999", "is neither a server"),
        ("http://127.0.0.1:9", "cannot be opened"),
        ("/no/such/folder/maps.db", "/no/such/folder"),
    ],
)
@pytest.mark.parametrize("command", ["store", "cut"])
def test_a_store_that_cannot_be_reached_is_one_line(whole, tmp_path, capsys, uri, said, command):
    arguments = (
        ["store", str(whole)]
        if command == "store"
        else ["cut", "-o", str(tmp_path / "cut.map"), bounds_option(*SQUARE)]
    )
    assert_refused([*arguments, "--milvus", uri], said, capsys)


def test_nothing_there_and_nothing_in_the_area_are_one_line(whole, stored, tmp_path, capsys):
    cut = ["cut", "-o", str(tmp_path / "cut.map")]
    absent = str(tmp_path / "absent.db")
    area = bounds_option(*SQUARE)
    assert_refused([*cut, "--milvus", absent, area], "does not exist", capsys)
    assert not Path(absent).exists()
    with milvus_client(absent, create=True):
        pass
    assert_refused([*cut, "--milvus", absent, area], "holds no region map", capsys)
    far = bounds_option(90_000.0, 0.0, 91_000.0, 1_000.0)
    assert_refused([*cut, "--milvus", stored, far], "map", capsys)
    assert_refused([*cut, area], "give a map to cut from, or --milvus URI", capsys)
    assert_refused([*cut, str(whole), "--milvus", stored, area], "or --milvus URI", capsys)
    assert_refused([*cut, str(whole), "--collection", "a", area], "goes with --milvus", capsys)
    assert not (tmp_path / "cut.map").exists()


def test_a_file_that_is_no_store_is_one_line(whole, tmp_path, capsys):
    path = tmp_path / "letters.db"
    path.write_text("letters")
    assert_refused(["store", str(whole), "--milvus", str(path)], "cannot be opened", capsys)
    assert path.read_text() == "letters"


def test_a_store_in_use_by_another_is_not_shared(whole, stored, capsys):
    from milvus_lite.db import MilvusLite

    other = Path(stored).with_name("busy.db")
    database = MilvusLite(str(other))
    try:
        assert_refused(["store", str(whole), "--milvus", str(other)], "no other process", capsys)
    finally:
        database.close()


def test_collections_are_named_after_maps():
    assert collection_name("town-north 2", None) == "town_north_2"
    assert collection_name("2026", None) == "_2026"
    assert collection_name("Zürich", None) == "Z_rich"
    for wrong in ("", "2026", "a b", "town__files"):
        with pytest.raises(ConfigError, match="cannot name a collection"):
            collection_name("town", wrong)


def test_without_the_extra_one_line_says_what_to_install(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "pymilvus", None)
    store = ["store", str(whole), "--milvus", str(tmp_path / "a.db")]
    assert_refused(store, "pip install 'dmnil-edge[milvus]'", capsys)
    with pytest.raises(ConfigError, match="extra milvus"):
        store_map(whole, "http://127.0.0.1:9")


def test_errors_of_the_store_are_errors_of_the_map(stored):
    with pytest.raises(MapError, match=r"maps\.db"), milvus_client(stored) as client:
        client.query("absent", filter="part == 1", output_fields=["*"])
