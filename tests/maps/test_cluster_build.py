"""Builds on a real Ray cluster of two workers on this machine: the bytes of a local build."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dmnil_maps.build import build_with_report
from dmnil_maps.build_config import BuildConfig
from dmnil_maps.cli import main
from dmnil_maps.cluster.embedding import ClusterDamage
from dmnil_maps.cluster.inputs import require_same_inputs, shared_inputs
from dmnil_maps.cluster.worker import Refusal, TaskResult, describe_blocks
from dmnil_maps.describe import verify_map
from dmnil_maps.describing import DescribeSpec
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.errors import BundleError, MapError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.region_map import MapLevel
from tests.maps.conftest import LATITUDE_DEG, LONGITUDE_DEG, Ground, write_ground

STRIDE_RATIO = 0.23  # not whole pixels: tiles are warped one by one, in many small blocks


@pytest.fixture(scope="module", autouse=True)
def many_small_tasks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as smaller:
        smaller.setattr("dmnil_maps.tiling._LONE_TILES_PER_BLOCK_SIDE", 6)
        smaller.setattr("dmnil_maps.cluster.embedding._BLOCKS_PER_TASK", 1)
        yield


@pytest.fixture(scope="module")
def imagery(imagery_of: Callable[[str], Path]) -> Path:
    return imagery_of("utm")


def config_of(imagery: Path, encoder: Path, output: Path, **more) -> BuildConfig:
    return BuildConfig(
        imagery,
        encoder,
        output,
        footprints_m=(60.0,),
        stride_ratio=STRIDE_RATIO,
        threads=1,
        descriptor_size=16,
        **more,
    )


@pytest.fixture(scope="module")
def built_here(imagery: Path, tiny_encoder: Path, tmp_path_factory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("here") / "town.map"
    build_with_report(config_of(imagery, tiny_encoder, output))
    return bytes_of(output)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """A head without processors, and two machines of one processor each, all on this one."""
    pytest.importorskip("ray", reason="needs the extra cluster")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as environment:
        root = Path(__file__).resolve().parents[2]
        paths = [str(root / name) for name in ("", "train", "export", "maps")]
        environment.setenv("PYTHONPATH", os.pathsep.join(paths))
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("OMP_NUM_THREADS", "1")
        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        try:
            for _ in range(2):
                started.add_node(num_cpus=1)
            yield started
        finally:
            started.shutdown()


@pytest.fixture(autouse=True)
def own_signal_handler():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def busy_workers() -> list[int]:
    """Processes of this test's cluster that are in the middle of describing blocks."""
    parents, titles = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            titles[int(folder.name)] = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])

    def is_ours(process: int) -> bool:
        while process > 1:
            if process == os.getpid():
                return True
            process = parents.get(process, 0)
        return False

    return [
        process
        for process, title in titles.items()
        if title.startswith(b"ray::describe_blocks") and is_ours(process)
    ]


def test_a_build_that_loses_a_worker_and_then_a_machine_is_the_local_one_byte_for_byte(
    imagery, tiny_encoder, cluster, built_here, tmp_path
):
    output, lost, over = tmp_path / "town.map", [], threading.Event()

    def strike_twice() -> None:
        while not over.is_set() and len(lost) < 2:
            new = [process for process in busy_workers() if process not in lost]
            if new and not lost:
                os.kill(new[0], signal.SIGKILL)
                lost.append(new[0])
            elif len(new) == 2:  # so that the machine that is lost was at work
                machine = cluster.worker_nodes.copy().pop()
                cluster.remove_node(machine, allow_graceful=False)
                lost.append(machine)
            time.sleep(0.005)

    striker = threading.Thread(target=strike_twice)
    striker.start()
    try:
        report = build_with_report(config_of(imagery, tiny_encoder, output, ray=cluster.address))
    finally:
        over.set()
        striker.join()
    assert len(lost) == 2
    assert bytes_of(output) == built_here
    assert report.tiles == len(verify_map(output).tiles)
    assert report.encoder_s > 0


def test_a_stopped_cluster_build_is_taken_up_by_a_local_one(
    imagery, tiny_encoder, cluster, built_here, tmp_path, monkeypatch
):
    output, appended = tmp_path / "town.map", []
    from dmnil_maps.described_tiles import DescribedTiles

    append = DescribedTiles.append

    class StoppedError(Exception):
        pass

    def stop_at_the_third(*arguments):
        if len(appended) == 2:
            raise StoppedError
        appended.append(arguments[1])
        append(*arguments)

    with monkeypatch.context() as stopping:
        stopping.setattr(DescribedTiles, "append", stop_at_the_third)
        with pytest.raises(StoppedError):
            build_with_report(config_of(imagery, tiny_encoder, output, ray=cluster.address))
    report = build_with_report(config_of(imagery, tiny_encoder, output))
    assert 0 < report.tiles_taken_over < report.tiles
    assert bytes_of(output) == built_here


def test_a_worker_without_the_imagery_ends_the_build_in_one_line(
    imagery, tiny_encoder, cluster, tmp_path, monkeypatch, capsys
):
    """The machine that starts the build takes another file for the workers' one."""
    own = shutil.copy(imagery, tmp_path / "own.tif")
    monkeypatch.setattr(
        "dmnil_maps.cluster.embedding.shared_inputs",
        lambda spec: shared_inputs(
            replace(
                spec,
                imagery=(
                    write_ground(
                        tmp_path / "other.tif", Ground(((47.3769, 8.5417),)), "EPSG:32632"
                    ),
                ),
            )
        ),
    )
    arguments = [
        "build", str(own), "--encoder", str(tiny_encoder), "-o", str(tmp_path / "town.map"),
        "--footprints", "60", "--ray", cluster.address,
    ]  # fmt: skip
    assert main(arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"cannot take part: {own} is another file here, by size or content" in error
    assert "storage that every machine sees under the same path" in error
    assert not (tmp_path / "town.map").exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nowhere", "'nowhere' is no cluster's address"),
        ("http://example.org:80", "is no cluster's address"),
        ("127.0.0.1:70000", "is no cluster's address"),
        ("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9: [Errno 111] Connection refused"),
        ("ray://127.0.0.1:9", "no Ray cluster answers at ray://127.0.0.1:9"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(
    imagery, tiny_encoder, tmp_path, capsys, address, said
):
    pytest.importorskip("ray", reason="needs the extra cluster")
    output = str(tmp_path / "town.map")
    arguments = ["build", str(imagery), "--encoder", str(tiny_encoder), "-o", output]
    assert main([*arguments, "--ray", address]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("dmnil-map: error: ")
    assert said in error


def test_without_the_extra_one_line_says_what_to_install(
    imagery, tiny_encoder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    output = str(tmp_path / "town.map")
    arguments = ["build", str(imagery), "--encoder", str(tiny_encoder), "-o", output]
    assert main([*arguments, "--ray", "local"]) == 2
    assert "pip install 'dmnil-edge[maps,cluster]'" in capsys.readouterr().err


def spec_for(imagery: Path, encoder: Path) -> DescribeSpec:
    level, bundle = MapLevel(60.0, 15.0, 4, 5, -30.0, 30.0), load_encoder_bundle(encoder)
    return DescribeSpec(
        imagery=(imagery,),
        zoom=None,
        crs=None,
        tms=None,
        frame=LocalFrame(LATITUDE_DEG, LONGITUDE_DEG),
        levels=(level,),
        area=None,
        encoder=encoder,
        input_width=bundle.input_width,
        input_height=bundle.input_height,
        threads=1,
    )


def test_a_worker_does_its_blocks_as_the_journal_keeps_them(imagery, tiny_encoder):
    spec = spec_for(imagery, tiny_encoder)
    result = describe_blocks(spec, shared_inputs(spec), spec.blocks())
    assert isinstance(result, TaskResult)
    (block,) = result.described
    assert len(block.lattice) == 20
    assert block.descriptors.dtype == np.float16
    assert result.imagery_blocks_read > 0
    again = describe_blocks(spec, shared_inputs(spec), spec.blocks())
    assert isinstance(again, TaskResult)
    assert again.imagery_blocks_read == 0, "blocks read twice count once"


def test_inputs_that_are_not_the_same_are_told(imagery, tiny_encoder, tmp_path):
    spec = spec_for(Path(shutil.copy(imagery, tmp_path / "a.tif")), tiny_encoder)
    expected = shared_inputs(spec)
    require_same_inputs(spec, expected)
    with pytest.raises(MapError, match="is another encoder here"):
        require_same_inputs(spec, replace(expected, encoder_sha256="f" * 64))
    with pytest.raises(MapError, match="is installed here, dmnil-edge 9 where the build"):
        require_same_inputs(spec, replace(expected, releases=("dmnil-edge 9",) * 3))
    content = bytearray(spec.imagery[0].read_bytes())
    content[-1] ^= 1
    spec.imagery[0].write_bytes(content)
    with pytest.raises(MapError, match=r"a\.tif is another file here"):
        require_same_inputs(spec, expected)
    spec.imagery[0].unlink()
    refusal = describe_blocks(spec, expected, spec.blocks())
    assert isinstance(refusal, Refusal)
    assert "a.tif cannot be read: No such file or directory" in refusal.reason
    with pytest.raises(BundleError, match="no such directory"):
        require_same_inputs(replace(spec, encoder=tmp_path / "none.encoder"), expected)


def test_folders_are_told_apart_by_names_and_sizes(tiny_encoder, tmp_path):
    tiles = tmp_path / "tiles"
    for name in ("17/1/2.png", "17/1/3.png", "17/2/2.png"):
        (tiles / name).parent.mkdir(parents=True, exist_ok=True)
        (tiles / name).write_bytes(b"x" * 9)
    spec = spec_for(tiles, tiny_encoder)
    expected = shared_inputs(spec)
    require_same_inputs(spec, expected)
    (tiles / "17/2/2.png").write_bytes(b"x" * 8)
    with pytest.raises(MapError, match="tiles is another file here"):
        require_same_inputs(spec, expected)


def test_damage_that_several_workers_met_counts_once():
    damage = ClusterDamage()
    for read in (150, 60):
        damage.add(TaskResult([], ["a.tif, block 1"], read))
    damage.check()
    damage.add(TaskResult([], ["a.tif, block 1", "a.tif, block 2", "a.tif, block 7"], 10))
    with pytest.raises(MapError, match="3 of 220 blocks"):
        damage.check()
