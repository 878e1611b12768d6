from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_runtime.contract.encoder_bundle import (
    GOLDEN_FILE,
    GRAPH_FILES,
    EncoderBundle,
    load_encoder_bundle,
)
from edge_runtime.contract.errors import BundleError, EngineError
from edge_runtime.engines import Engine, open_engine, precision_run
from tests.small_map import rewrite_manifest, seal_again

GRAPH = GRAPH_FILES["fp32"]


@pytest.fixture(scope="module")
def engine(bundle: EncoderBundle) -> Engine:
    return open_engine(bundle, threads=1)


def random_pictures(count: int) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def test_the_golden_pictures_give_the_golden_descriptors(
    engine: Engine, bundle: EncoderBundle
) -> None:
    images, descriptors = bundle.golden()
    np.testing.assert_allclose(engine.encode(images), descriptors, atol=1e-6)


def test_a_descriptor_is_the_pictures_layout_of_colour(engine: Engine) -> None:
    picture = np.zeros((1, 64, 64, 3), np.uint8)
    picture[0, :16, :16, 0] = 255
    planes = engine.encode(picture)[0, :48].reshape(3, 4, 4)
    assert np.unravel_index(np.argmax(planes), planes.shape) == (0, 0, 0)
    np.testing.assert_allclose(planes[1:], 0.0, atol=1e-7)


def test_descriptors_have_unit_length(engine: Engine) -> None:
    descriptors = engine.encode(random_pictures(5))
    assert descriptors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(descriptors, axis=1), 1.0, atol=1e-6)


def test_a_picture_has_the_same_descriptor_alone_and_in_a_batch(engine: Engine) -> None:
    pictures = random_pictures(6)
    alone = np.concatenate([engine.encode(picture[None]) for picture in pictures])
    np.testing.assert_allclose(engine.encode(pictures), alone, atol=1e-6)
    np.testing.assert_allclose(engine.encode(pictures[::-1]), alone[::-1], atol=1e-6)


def test_a_bundle_may_be_given_by_its_folder(encoder_folder: Path, engine: Engine) -> None:
    pictures = random_pictures(1)
    by_folder = open_engine(encoder_folder, threads=1).encode(pictures)
    np.testing.assert_array_equal(by_folder, engine.encode(pictures))


@pytest.mark.parametrize(
    "pictures",
    [
        np.zeros((1, 64, 64, 3), np.float32),
        np.zeros((1, 64, 64, 3), np.int8),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((1, 3, 64, 64), np.uint8),
        np.zeros((1, 64, 64, 4), np.uint8),
        np.zeros((1, 32, 64, 3), np.uint8),
    ],
)
def test_pictures_of_another_type_or_shape_are_refused(
    engine: Engine, pictures: np.ndarray
) -> None:
    with pytest.raises(EngineError, match=r"encoder takes uint8 \(N, 64, 64, 3\), got"):
        engine.encode(pictures)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_graph_is_one_line_that_names_it(own_encoder: Path, share: float) -> None:
    content = (own_encoder / GRAPH).read_bytes()
    (own_encoder / GRAPH).write_bytes(content[: int(share * len(content))])
    seal_again(own_encoder)
    with pytest.raises(EngineError, match=r"encoder\.onnx") as caught:
        open_engine(own_encoder)
    assert "\n" not in str(caught.value)


def test_a_graph_truncated_in_transit_is_found_before_it_is_opened(own_encoder: Path) -> None:
    content = (own_encoder / GRAPH).read_bytes()
    (own_encoder / GRAPH).write_bytes(content[:-10])
    with pytest.raises(BundleError, match="copy it again"):
        open_engine(own_encoder)


def test_a_graph_of_garbage_is_refused(own_encoder: Path) -> None:
    (own_encoder / GRAPH).write_bytes(np.random.default_rng(0).bytes(500))
    seal_again(own_encoder)
    with pytest.raises(EngineError, match=r"encoder\.onnx cannot be loaded"):
        open_engine(own_encoder)


def test_a_precision_that_was_not_exported_is_refused(bundle: EncoderBundle) -> None:
    with pytest.raises(BundleError, match="export it again with that precision"):
        open_engine(bundle, precision="fp16")


@pytest.fixture
def eight_bits(own_encoder: Path) -> Path:
    """A bundle whose graph int8-cpu works, and whose int8 is none that could be opened."""
    shutil.copy(own_encoder / GRAPH, own_encoder / GRAPH_FILES["int8-cpu"])
    (own_encoder / GRAPH_FILES["int8"]).write_bytes(b"for TensorRT")
    seal_again(own_encoder)
    return own_encoder


def test_on_the_processor_int8_is_the_graph_that_is_fast_there(
    eight_bits: Path, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    opened = open_engine(eight_bits, "int8", threads=1)
    pictures = random_pictures(3)
    np.testing.assert_array_equal(opened.encode(pictures), engine.encode(pictures))
    assert "int8-cpu stands for int8 on the processor" in caplog.text


def test_without_that_graph_int8_is_itself(eight_bits: Path) -> None:
    (eight_bits / GRAPH_FILES["int8-cpu"]).unlink()
    seal_again(eight_bits)
    with pytest.raises(EngineError, match=r"encoder\.int8\.onnx cannot be loaded"):
        open_engine(eight_bits, "int8")


def test_it_must_reach_what_was_measured_of_the_graph_that_runs(eight_bits: Path) -> None:
    def measured(int8: float, int8_cpu: float) -> EncoderBundle:
        figures = {"int8": {"cosine_min": int8}, "int8-cpu": {"cosine_min": int8_cpu}}
        rewrite_manifest(eight_bits, verification=figures)
        return load_encoder_bundle(eight_bits)

    with np.load(eight_bits / GOLDEN_FILE) as golden:
        images, descriptors = golden["images"], golden["descriptors"]
    # Stored descriptors turned so far that a cosine of 0.98 to what the graph computes is left.
    aside = np.roll(descriptors, 1, axis=1)
    aside -= np.sum(aside * descriptors, axis=1, keepdims=True) * descriptors
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    stored = 0.98 * descriptors + np.sqrt(1.0 - 0.98**2) * aside
    np.savez(eight_bits / GOLDEN_FILE, images=images, descriptors=stored.astype(np.float32))
    seal_again(eight_bits)
    open_engine(measured(int8=1.0, int8_cpu=0.98), "int8", threads=1)
    with pytest.raises(EngineError, match=r"its int8-cpu descriptors .* cosine of 0\.98"):
        open_engine(measured(int8=0.98, int8_cpu=1.0), "int8", threads=1)


@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt"])
def test_on_a_gpu_every_precision_is_its_own(eight_bits: Path, backend: str) -> None:
    bundle = load_encoder_bundle(eight_bits)
    assert [precision_run(bundle, name, backend) for name in bundle.precisions] == [
        *bundle.precisions
    ]


def test_an_unknown_backend_names_the_choices(bundle: EncoderBundle) -> None:
    with pytest.raises(EngineError, match="unknown engine backend 'abacus': choose one of onnx"):
        open_engine(bundle, backend="abacus")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"input_height": 32}, "its bundle says"),
        ({"input_width": 128}, "its bundle says"),
        ({"descriptor_size": 50}, r"its bundle says \(N, 50\)"),
    ],
)
def test_a_graph_that_differs_from_its_bundle_is_refused(
    own_encoder: Path, changes: dict[str, int], complaint: str
) -> None:
    rewrite_manifest(own_encoder, **changes)
    with pytest.raises(EngineError, match=complaint):
        open_engine(own_encoder)


def write_graph(
    folder: Path, input_name: str, input_type: int, node: str = "Cast"
) -> EncoderBundle:
    """Replace the bundle's graph by one that flattens its input and casts it to float."""
    nodes = [
        helper.make_node("Flatten", [input_name], ["flat"]),
        helper.make_node("Cast", ["flat"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node(
            node, ["as_float"], ["descriptors"], **({"to": 1} if node == "Cast" else {})
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [helper.make_tensor_value_info(input_name, input_type, ["batch", 64, 64, 3])],
        [helper.make_tensor_value_info("descriptors", TensorProto.FLOAT, ["batch", 12288])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(folder / GRAPH))
    seal_again(folder, descriptor_size=12288)
    return load_encoder_bundle(folder)


@pytest.mark.parametrize(
    ("input_name", "input_type"), [("pictures", TensorProto.UINT8), ("images", TensorProto.FLOAT)]
)
def test_a_graph_with_another_input_is_refused(
    own_encoder: Path, input_name: str, input_type: int
) -> None:
    bundle = write_graph(own_encoder, input_name, input_type)
    with pytest.raises(EngineError, match="does not take one uint8 input named 'images'"):
        open_engine(bundle)


def test_descriptors_that_are_not_finite_are_an_error(own_encoder: Path) -> None:
    bundle = write_graph(own_encoder, "images", TensorProto.UINT8, node="Log")
    engine = open_engine(bundle, threads=1, golden_check=False)
    engine.encode(np.ones((1, 64, 64, 3), np.uint8))
    with pytest.raises(EngineError, match="not finite"):
        engine.encode(np.zeros((1, 64, 64, 3), np.uint8))


def test_an_engine_reports_to_nobody_and_marks_no_machine(
    encoder_folder: Path, tmp_path: Path
) -> None:
    program = (
        "import sys; from pathlib import Path; from edge_runtime.engines import open_engine; "
        "open_engine(Path(sys.argv[1]))"
    )
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("CI", None)  # where nothing is reported anyway
    command = [sys.executable, "-c", program, str(encoder_folder)]
    subprocess.run(command, check=True, env=environment)
    assert not list(tmp_path.rglob("*onnxruntime*"))
