from __future__ import annotations

import hashlib
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.artefact import (
    MANIFEST_NAME,
    field_of,
    read_manifest,
    sha256_of_file,
    staged_directory,
    verify_hashes,
    write_manifest,
    write_whole,
)
from edge_runtime.contract.errors import ArtefactError, BundleError, MapError, OutputError
from tests.small_map import rewrite_manifest

KIND, SCHEMA = "test artefact", 3


def write_artefact(folder: Path, content: bytes = b"content", kind: str = KIND) -> Path:
    with staged_directory(folder, kind) as staging:
        (staging / "inner").mkdir()
        (staging / "inner" / "data.bin").write_bytes(content)
        (staging / "note.txt").write_text("a note", encoding="utf-8")
        write_manifest(staging, kind, SCHEMA, {"colour": "blue", "count": 4})
    return folder


def read(folder: Path) -> dict[str, Any]:
    return read_manifest(folder, KIND, SCHEMA, BundleError)


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    return write_artefact(tmp_path / "one.artefact")


# Files


@pytest.mark.parametrize("content", ["Zürich\n", b"\x00\xff"])
def test_a_file_is_replaced_as_a_whole(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old and longer than what comes", encoding="utf-8")
    assert write_whole(path, content) == path
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_put_in_place_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "figures.json").mkdir()
    with pytest.raises(OutputError, match=r"figures\.json cannot be written: Is a directory"):
        write_whole(tmp_path / "figures.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


def test_a_missing_folder_is_made_only_if_wanted(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet" / "figures.json"
    with pytest.raises(OutputError, match="No such file or directory"):
        write_whole(path, "new")
    assert list(tmp_path.iterdir()) == []
    assert write_whole(path, "new", parents=True).read_text() == "new"


# Staging


def test_a_staged_directory_appears_whole_when_its_block_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "not" / "yet" / "there"
    with staged_directory(target, KIND) as staging:
        (staging / "file").write_text("x", encoding="utf-8")
        assert not target.exists()
    assert (target / "file").read_text(encoding="utf-8") == "x"
    assert [path.name for path in target.parent.iterdir()] == ["there"]


def test_an_exception_leaves_neither_target_nor_staging_behind(tmp_path: Path) -> None:
    def fill_and_fail() -> None:
        with staged_directory(tmp_path / "target", KIND) as staging:
            (staging / "file").write_text("x", encoding="utf-8")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fill_and_fail()
    assert list(tmp_path.iterdir()) == []


def test_an_exception_keeps_the_old_artefact(artefact: Path) -> None:
    def fill_and_fail() -> None:
        with staged_directory(artefact, KIND) as staging:
            (staging / "file").write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_and_fail()
    verify_hashes(artefact, read(artefact), BundleError)
    assert not (artefact / "file").exists()
    assert [path.name for path in artefact.parent.iterdir()] == [artefact.name]


def test_a_new_artefact_replaces_an_old_one_of_its_kind_entirely(artefact: Path) -> None:
    (artefact / "left over").write_text("x", encoding="utf-8")
    write_artefact(artefact, b"new")
    assert (artefact / "inner" / "data.bin").read_bytes() == b"new"
    assert not (artefact / "left over").exists()
    assert [path.name for path in artefact.parent.iterdir()] == [artefact.name]


def test_an_empty_directory_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert read(write_artefact(tmp_path / "empty"))["colour"] == "blue"


@pytest.mark.parametrize(
    "manifest", [None, '{"kind": "something else"}', "[1, 2]", "no json", '"text"']
)
def test_a_foreign_folder_is_never_replaced(tmp_path: Path, manifest: str | None) -> None:
    folder = tmp_path / "holiday"
    folder.mkdir()
    (folder / "picture.jpg").write_bytes(b"precious")
    if manifest is not None:
        (folder / MANIFEST_NAME).write_text(manifest, encoding="utf-8")
    with pytest.raises(OutputError, match="not a test artefact: choose another output"):
        write_artefact(folder)
    assert (folder / "picture.jpg").read_bytes() == b"precious"


def test_a_file_in_the_way_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "thesis.pdf"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="is not a directory"):
        write_artefact(path)
    assert path.read_bytes() == b"precious"


def test_an_unwritable_parent_is_one_line_that_names_the_target(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError) as caught:
        write_artefact(tmp_path / "file" / "target")
    assert "\n" not in str(caught.value)
    assert f"cannot write {tmp_path / 'file' / 'target'}" in str(caught.value)


@pytest.mark.parametrize("length", [250, 300])
def test_a_name_too_long_for_the_file_system_is_one_line(tmp_path: Path, length: int) -> None:
    with pytest.raises(OutputError, match="File name too long"):
        write_artefact(tmp_path / ("x" * length))


def test_a_write_error_inside_the_block_is_an_output_error_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    def fill_a_full_disk() -> None:
        with staged_directory(tmp_path / "target", KIND):
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device"):
        fill_a_full_disk()
    assert list(tmp_path.iterdir()) == []


def test_an_old_artefact_returns_when_the_new_one_cannot_take_its_place(
    artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def rename_unless_staged(path: Path, target: Path) -> Path:
        if path.name.endswith(".part"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_unless_staged)
    with pytest.raises(OutputError, match="Input/output error"):
        write_artefact(artefact, b"new")
    assert (artefact / "inner" / "data.bin").read_bytes() == b"content"
    assert [path.name for path in artefact.parent.iterdir()] == [artefact.name]


# Manifests


def test_a_manifest_lists_every_file_with_its_size_and_hash(artefact: Path) -> None:
    manifest = read(artefact)
    assert manifest["files"] == {
        "inner/data.bin": {"bytes": 7, "sha256": hashlib.sha256(b"content").hexdigest()},
        "note.txt": {"bytes": 6, "sha256": hashlib.sha256(b"a note").hexdigest()},
    }
    assert (manifest["kind"], manifest["schema_version"]) == (KIND, SCHEMA)
    assert (manifest["colour"], manifest["count"]) == ("blue", 4)


def test_a_hash_over_several_blocks_is_that_of_the_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "big").write_bytes(content)
    assert sha256_of_file(tmp_path / "big") == hashlib.sha256(content).hexdigest()


def test_a_number_that_json_cannot_hold_is_refused_in_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_manifest(tmp_path, KIND, SCHEMA, {"share": float("nan")})


@pytest.mark.parametrize("error_type", [BundleError, MapError])
def test_a_missing_folder_is_reported_as_the_error_asked_for(
    tmp_path: Path, error_type: type[ArtefactError]
) -> None:
    with pytest.raises(error_type, match="no such directory; expected a test artefact"):
        read_manifest(tmp_path / "nowhere", KIND, SCHEMA, error_type)


def test_a_folder_without_manifest_is_no_artefact(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        read(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "\x00", '{"kind": "test artefact"', "9" * 5000, "[" * 100_000]
)
def test_a_manifest_that_is_no_json_is_refused(artefact: Path, text: str) -> None:
    (artefact / MANIFEST_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match="cannot be read"):
        read(artefact)


def test_a_manifest_that_is_no_text_is_refused(artefact: Path) -> None:
    (artefact / MANIFEST_NAME).write_bytes(b"\xff\xfe\x80")
    with pytest.raises(BundleError, match="cannot be read"):
        read(artefact)


@pytest.mark.parametrize("text", ["[]", "null", '"test artefact"', '{"kind": "region map"}', "{}"])
def test_a_manifest_of_another_kind_is_refused(artefact: Path, text: str) -> None:
    (artefact / MANIFEST_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match="not a test artefact"):
        read(artefact)


@pytest.mark.parametrize("version", [2, 4, None, "3"])
def test_a_manifest_of_another_schema_says_how_to_mend_it(artefact: Path, version: Any) -> None:
    rewrite_manifest(artefact, schema_version=version)
    with pytest.raises(BundleError, match="this release reads 3: build it again"):
        read(artefact)


@pytest.mark.parametrize("files", [{}, None, ["note.txt"], "note.txt"])
def test_a_manifest_without_files_is_refused(artefact: Path, files: Any) -> None:
    rewrite_manifest(artefact, files=files)
    with pytest.raises(BundleError, match="lists no files"):
        read(artefact)


def test_a_missing_file_is_named(artefact: Path) -> None:
    (artefact / "note.txt").unlink()
    with pytest.raises(BundleError, match=r"note\.txt is missing though the manifest lists it"):
        read(artefact)


@pytest.mark.parametrize("name", ["x" * 300, "nul\x00byte", "", "inner"])
def test_a_name_that_no_file_can_have_counts_as_missing(artefact: Path, name: str) -> None:
    rewrite_manifest(artefact, files={name: {"bytes": 1, "sha256": "0" * 64}})
    with pytest.raises(BundleError, match="is missing though the manifest lists it"):
        read(artefact)


def test_a_file_cut_short_is_named_with_both_sizes(artefact: Path) -> None:
    (artefact / "inner" / "data.bin").write_bytes(b"cont")
    with pytest.raises(BundleError, match=r"data\.bin has 4 bytes where the manifest says 7"):
        read(artefact)


@pytest.mark.parametrize("name", ["../outside.txt", "inner/../../outside.txt", "/etc/hostname"])
def test_a_manifest_cannot_reach_outside_its_folder(artefact: Path, name: str) -> None:
    (artefact.parent / "outside.txt").write_text("x", encoding="utf-8")
    rewrite_manifest(artefact, files={name: {"bytes": 1, "sha256": "0" * 64}})
    with pytest.raises(BundleError, match="names a file outside its folder"):
        read(artefact)


@pytest.mark.parametrize(
    "entry",
    [None, 6, {}, {"bytes": "6", "sha256": "0" * 64}, {"bytes": 6}, {"bytes": 6, "sha256": None}],
)
def test_a_malformed_file_entry_is_refused(artefact: Path, entry: Any) -> None:
    rewrite_manifest(artefact, files={"note.txt": entry})
    with pytest.raises(BundleError, match=r"entry of file 'note\.txt' is malformed"):
        read(artefact)


def test_content_altered_at_the_same_size_passes_the_start_but_not_the_hashes(
    artefact: Path,
) -> None:
    (artefact / "inner" / "data.bin").write_bytes(b"CONTENT")
    manifest = read(artefact)
    with pytest.raises(MapError, match=r"data\.bin was altered"):
        verify_hashes(artefact, manifest, MapError)


def test_an_unaltered_artefact_verifies(artefact: Path) -> None:
    verify_hashes(artefact, read(artefact), BundleError)


@pytest.mark.parametrize("value", [None, "4", 4.5, True, [4]])
def test_a_field_of_the_wrong_type_is_named(value: Any) -> None:
    with pytest.raises(BundleError, match="field 'count' is missing or malformed"):
        field_of({"count": value}, "count", int, Path("folder"), BundleError)


def test_a_field_of_one_of_several_types_is_given_as_it_is() -> None:
    assert field_of({"size": 2.5}, "size", (int, float), Path("folder"), BundleError) == 2.5


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
PLAUSIBLE = st.fixed_dictionaries(
    {"kind": st.just(KIND), "schema_version": st.just(SCHEMA)},
    optional={
        "files": st.dictionaries(
            st.sampled_from(["note.txt", "..", "\x00", "inner", "x" * 300]) | st.text(max_size=5),
            st.fixed_dictionaries(
                {}, optional={"bytes": st.just(6) | JSON_VALUES, "sha256": JSON_VALUES}
            )
            | JSON_VALUES,
            max_size=3,
        )
    },
)


@settings(max_examples=150, deadline=None)
@given(text=(PLAUSIBLE | JSON_VALUES).map(json.dumps) | st.text())
def test_no_manifest_whatever_raises_anything_but_the_error_asked_for(text: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "note.txt").write_text("a note", encoding="utf-8")
        (folder / MANIFEST_NAME).write_bytes(text.encode("utf-8", "surrogatepass"))
        with suppress(BundleError):
            verify_hashes(folder, read(folder), BundleError)
