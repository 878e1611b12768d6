"""What verification insists on, and how the line names what was missed."""

from __future__ import annotations

from typing import Any

import pytest

from dmnil_export.config import EngineBatches, Thresholds
from dmnil_export.verification import require_thresholds
from edge_runtime.contract.errors import BundleError, ConfigError

FP32: dict[str, Any] = {"max_abs_difference": 1e-6}


def retrieved(queries: int, lost: int) -> dict[str, Any]:
    agreement = {"task": "drone->satellite", "queries": queries, "recall_at_1_fp32": 0.9}
    return {"retrieval": [{**agreement, "recall_at_1": round(0.9 - lost / queries, 5)}]}


def test_figures_at_the_thresholds_pass() -> None:
    measured = {
        "fp32": FP32,
        "fp16": {"cosine_min": 0.999, "half_arithmetic_cosine_min": 0.999},
        "int8": {"cosine_mean": 0.99, "cosine_min": 0.9, **retrieved(300, lost=3)},
    }
    require_thresholds(measured, Thresholds())


def test_everything_that_is_missed_is_named_with_the_threshold_that_it_misses() -> None:
    measured = {
        "fp32": FP32,
        "fp16": {"cosine_min": 0.9985, "half_arithmetic_cosine_min": float("nan")},
        "int8": {"cosine_mean": 0.98, **retrieved(300, lost=4)},
        "int8-cpu": {"cosine_mean": 0.995},
    }
    with pytest.raises(BundleError) as caught:
        require_thresholds(measured, Thresholds())
    line = str(caught.value)
    assert "cosine_min 0.99850 (thresholds.fp16_min_cosine 0.999)" in line
    assert "half_arithmetic_cosine_min nan" in line
    assert "cosine_mean 0.98000 (thresholds.int8_mean_cosine 0.99)" in line
    assert "R@1 falls by 1.3 points on drone->satellite" in line
    assert "export without --fp16 --int8," in line
    own = Thresholds(fp16_min_cosine=0.998, int8_mean_cosine=0.98, recall_drop_points=2.0)
    measured["fp16"]["half_arithmetic_cosine_min"] = 0.998
    require_thresholds(measured, own)


def test_one_query_of_few_may_be_lost_though_it_is_more_than_a_point() -> None:
    measured = {"fp32": FP32, "int8": {"cosine_mean": 1.0, **retrieved(12, lost=1)}}
    require_thresholds(measured, Thresholds())
    measured["int8"].update(retrieved(20, lost=2))
    with pytest.raises(BundleError, match=r"falls by 10\.0 points"):
        require_thresholds(measured, Thresholds())


def test_an_fp32_graph_that_differs_is_a_defect_and_no_matter_of_thresholds() -> None:
    with pytest.raises(BundleError, match="please report it"):
        require_thresholds({"fp32": {"max_abs_difference": 2e-5}}, Thresholds())


@pytest.mark.parametrize("text", ["", "0", "8,1", "1,4,8", "1,x", "1.5"])
def test_batches_are_one_or_two_rising_numbers(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 1,8"):
        EngineBatches.of_text(text)


def test_one_number_is_the_usual_and_the_largest_batch() -> None:
    assert EngineBatches.of_text(8) == EngineBatches(8, 8)
    assert EngineBatches.of_text("2, 6") == EngineBatches(2, 6)


@pytest.mark.parametrize("name", ["fp16_min_cosine", "int8_mean_cosine", "recall_drop_points"])
def test_thresholds_that_nothing_could_mean_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Thresholds(**{name: 101.0})
    with pytest.raises(ConfigError, match=name):
        Thresholds(**{name: float("nan")})
