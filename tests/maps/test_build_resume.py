"""A build that is killed, or finds the disk full, goes on to the very same map."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dmnil_maps.build import build_map, build_with_report
from dmnil_maps.build_config import BuildConfig
from dmnil_maps.described_tiles import DescribedTiles
from dmnil_maps.describing import DescribedBlock
from dmnil_maps.work_folder import work_folder, work_path
from edge_runtime.contract.artefact import staged_directory
from edge_runtime.contract.errors import EngineError, OutputError
from edge_runtime.contract.region_map import MAP_KIND, load_region_map
from tests.tiny_encoder import write_tiny_encoder

ROOT = Path(__file__).resolve().parents[2]
FOOTPRINTS_M = (40.0, 75.0)


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def config_for(imagery_of, tiny_encoder, output, **more):
    """A build of several blocks on two levels: 40 m by whole pixels, 10 m apart."""
    return BuildConfig(
        imagery_of("utm"), tiny_encoder, output, footprints_m=FOOTPRINTS_M, threads=1, **more
    )


@pytest.fixture(scope="module")
def untouched(tmp_path_factory, imagery_of, tiny_encoder):
    """The map as a build makes it that nothing stops."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("dmnil_maps.tiling.BLOCK_PX", 320)
        return build_map(
            config_for(imagery_of, tiny_encoder, tmp_path_factory.mktemp("whole") / "m.map")
        )


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("dmnil_maps.tiling.BLOCK_PX", 320)


KILLED_BUILD = """
    import os, signal, sys
    from pathlib import Path
    import dmnil_maps.tiling
    dmnil_maps.tiling.BLOCK_PX = 320
    import dmnil_maps.build, dmnil_maps.described_tiles
    import edge_runtime.contract.artefact
    from dmnil_maps.build import build_map
    from dmnil_maps.build_config import BuildConfig

    imagery, encoder, output, where, count = sys.argv[1:]
    module, _, name = where.rpartition(".")
    owner = sys.modules.get(module) or getattr(
        sys.modules[module.rpartition(".")[0]], module.rpartition(".")[2]
    )
    original, left = getattr(owner, name), int(count)

    def killing(*more, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*more, **named)

    setattr(owner, name, killing)
    build_map(BuildConfig(
        Path(imagery), Path(encoder), Path(output), footprints_m=(40.0, 75.0), threads=1
    ))
"""


def killed_build(imagery, encoder, output, where, count):
    process = subprocess.run(
        [
            sys.executable, "-c", textwrap.dedent(KILLED_BUILD),
            str(imagery), str(encoder), str(output), where, str(count),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / n) for n in ("", "maps"))},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL, process.stderr


@pytest.mark.parametrize(
    ("where", "count", "takes_over"),
    [
        ("dmnil_maps.build.encode_block", 0, False),
        ("dmnil_maps.build.encode_block", 5, True),
        # Each block writes tiles, descriptors and journal: after 4 blocks and one, or two, files.
        ("dmnil_maps.described_tiles._write_whole", 4 * 3 + 1, True),
        ("dmnil_maps.described_tiles._write_whole", 4 * 3 + 2, True),
        ("dmnil_maps.map_assembly.write_projected", 0, True),
        ("edge_runtime.contract.region_map_writer.write_manifest", 0, True),
        ("edge_runtime.contract.artefact._swap_into_place", 0, True),
        ("edge_runtime.contract.artefact.shutil.rmtree", 0, True),
    ],
)
def test_a_build_killed_at_any_moment_goes_on_to_the_same_bytes(
    tmp_path, imagery_of, tiny_encoder, untouched, where, count, takes_over
):
    output = tmp_path / "m.map"
    killed_build(imagery_of("utm"), tiny_encoder, output, where, count)
    report = build_with_report(config_for(imagery_of, tiny_encoder, output))
    assert bytes_of(output) == bytes_of(untouched)
    assert (report.tiles_taken_over > 0) == takes_over
    assert [path.name for path in tmp_path.iterdir()] == ["m.map"]


def test_a_map_that_was_set_aside_when_the_process_died_is_put_back(
    tmp_path, imagery_of, tiny_encoder, untouched
):
    dead = next(n for n in range(2**22 - 1, 0, -1) if not Path(f"/proc/{n}").exists())
    output = tmp_path / "m.map"
    aside = tmp_path / f".m.map.{dead}.old"
    untouched_copy = bytes_of(untouched)
    aside.mkdir()
    for name, content in untouched_copy.items():
        (aside / name).write_bytes(content)
    (tmp_path / f".m.map.{dead}.part").mkdir()
    (tmp_path / f".m.map.{os.getpid()}.part").mkdir()  # of one that is alive
    with work_folder(output):
        assert bytes_of(output) == untouched_copy
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f".m.map.{os.getpid()}.part", "m.map",
    ]  # fmt: skip


def test_a_full_disk_is_told_and_the_build_goes_on_when_there_is_room(
    tmp_path, imagery_of, tiny_encoder, untouched
):
    output = tmp_path / "m.map"
    config = config_for(imagery_of, tiny_encoder, output)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(OutputError, match=r"cannot write .*m\.map: File too large"):
            build_map(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == [".m.map.build"]
    report = build_with_report(config)
    assert report.tiles_taken_over > 0
    assert bytes_of(output) == bytes_of(untouched)
    assert [path.name for path in tmp_path.iterdir()] == ["m.map"]


def interrupted(config, monkeypatch, after=3):
    """A build whose engine breaks, so that blocks are left to go on from."""
    import dmnil_maps.build

    encode_block, left = dmnil_maps.build.encode_block, [after]

    def breaking(*more):
        left[0] -= 1
        if left[0] < 0:
            raise EngineError("the engine broke")
        return encode_block(*more)

    with monkeypatch.context() as patched:
        patched.setattr("dmnil_maps.build.encode_block", breaking)
        with pytest.raises(EngineError):
            build_map(config)
    assert work_path(config.output).is_dir()


def test_only_what_is_missing_is_encoded_again(
    tmp_path, imagery_of, tiny_encoder, untouched, monkeypatch, caplog
):
    config = config_for(imagery_of, tiny_encoder, tmp_path / "m.map")
    interrupted(config, monkeypatch)
    # Whom to credit does not change a descriptor.
    report = build_with_report(replace(config, attribution="Survey"))
    assert "going on from an unfinished build: 3 of" in caplog.text
    assert 0 < report.tiles_taken_over < report.tiles
    changed = {name for name, content in bytes_of(untouched).items()
               if content != (config.output / name).read_bytes()}  # fmt: skip
    assert changed == {"manifest.json"}


@pytest.mark.parametrize("changed", ["stride ratio", "imagery", "encoder"])
def test_a_build_of_something_else_starts_again_and_says_so(
    tmp_path, imagery_of, tiny_encoder, monkeypatch, caplog, changed
):
    imagery = tmp_path / "in" / "town.tif"
    imagery.parent.mkdir()
    imagery.write_bytes(imagery_of("utm").read_bytes())
    output = tmp_path / "m.map"
    config = replace(config_for(imagery_of, tiny_encoder, output), imagery=imagery)
    interrupted(config, monkeypatch)
    if changed == "stride ratio":
        config, words = replace(config, stride_ratio=0.5), "of other levels: starting again"
    elif changed == "imagery":
        os.utime(imagery, (1e9, 1e9))
        words = "of other imagery: starting again"
    else:
        other = write_tiny_encoder(tmp_path / "in" / "other.encoder", cells=8)
        config, words = replace(config, encoder=other), "of other encoder: starting again"
    report = build_with_report(config)
    assert words in caplog.text
    assert report.tiles_taken_over == 0
    fresh = build_map(replace(config, output=tmp_path / "fresh.map"))
    assert bytes_of(fresh) == bytes_of(output)


def test_two_builds_of_one_map_do_not_meet(tmp_path, imagery_of, tiny_encoder):
    output = tmp_path / "m.map"
    with (
        work_folder(output),
        pytest.raises(OutputError, match=r"another build is writing .*m\.map"),
    ):
        build_map(config_for(imagery_of, tiny_encoder, output))
    assert load_region_map(build_map(config_for(imagery_of, tiny_encoder, output)))


def block_of(first: int, count: int) -> DescribedBlock:
    lattice = np.stack([np.full(count, first), np.arange(count)], axis=-1)
    values = (first + np.arange(count * 3).reshape(count, 3) / 8).astype(np.float32)
    contrast, digests = np.full(count, 9.0, np.float32), np.arange(count, dtype=np.uint64)
    return DescribedBlock(lattice, values, contrast, digests, count + 1, 0.5)


def test_whatever_is_cut_off_or_damaged_is_dropped_to_the_last_whole_block(tmp_path):
    with DescribedTiles(tmp_path, 3, {"a": 1}) as described:
        for number in range(4):
            described.append(number, 0, block_of(number, 5))
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("tiles.raw", "descriptors.raw", "journal.jsonl"):
        for length in range(0, len(files[name]), 7):
            for path in tmp_path.iterdir():
                path.write_bytes(files[path.name])
            (tmp_path / name).write_bytes(files[name][:length])
            again = DescribedTiles(tmp_path, 3, {"a": 1})
            blocks = length * 4 // len(files[name])
            assert again.done in (
                set(range(blocks)),
                set(range(blocks + 1)),
                set(range(blocks - 1)),
            )
            assert len(again.done) <= blocks or name == "journal.jsonl"
            assert (again.count, again.examined) == (5 * len(again.done), 6 * len(again.done))
            if again.done:
                assert (
                    again.tiles()["lattice_row"].tolist()
                    == np.repeat(sorted(again.done), 5).tolist()
                )
                np.testing.assert_array_equal(
                    again.descriptors(),
                    np.concatenate([block_of(n, 5).descriptors for n in sorted(again.done)]),
                )
    for path in tmp_path.iterdir():
        path.write_bytes(files[path.name])
    flipped = bytearray(files["descriptors.raw"])
    flipped[35] ^= 1  # in the second block
    (tmp_path / "descriptors.raw").write_bytes(bytes(flipped))
    assert DescribedTiles(tmp_path, 3, {"a": 1}).done == {0}


def test_a_foreign_folder_is_refused_before_anything_is_read(tmp_path, imagery_of, tiny_encoder):
    output = tmp_path / "m.map"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not a region map"):
        build_map(config_for(imagery_of, tiny_encoder, output))
    assert [path.name for path in tmp_path.iterdir()] == ["m.map"]
    with pytest.raises(OutputError), staged_directory(output, MAP_KIND):
        pass
