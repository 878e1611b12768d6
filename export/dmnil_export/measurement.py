"""Everything that verification measures of a bundle's graphs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from dmnil_export.pictures import ExportPictures
from dmnil_export.retrieval_agreement import RetrievalComparison
from dmnil_export.verification import (
    Figures,
    agreement_in_engine,
    agreement_in_half_arithmetic,
    open_for_verification,
    reference_descriptors,
)
from dmnil_train.data.pool import RetrievalTask
from dmnil_train.encoder.model import Encoder
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.errors import BundleError, EngineError

logger = logging.getLogger(__name__)


def measure_graphs(
    folder: Path,
    encoder: Encoder,
    half: Encoder | None,
    pictures: ExportPictures,
    tasks: Sequence[RetrievalTask],
) -> dict[str, Figures]:
    """Figures of every precision in a bundle.

    Args:
        folder: The bundle, whose verification is still to come.
        half: The encoder in half precision where the bundle holds an fp16 graph.
        tasks: What coarser precisions are to find as float32 does.
    Raises:
        BundleError: If a graph's descriptors are not finite.
    """
    bundle = load_encoder_bundle(folder)
    images = pictures.verification
    expected = reference_descriptors(encoder, images)
    generated = reference_descriptors(encoder, pictures.generated)
    comparison: RetrievalComparison | None = None
    measured: dict[str, Figures] = {}
    for precision in bundle.precisions:
        logger.info("verifying %s", precision)
        engine = open_for_verification(bundle, precision)
        try:
            figures = agreement_in_engine(engine, images, expected, pictures.judged)
        except EngineError as error:
            raise BundleError(
                f"the weights do not bear {precision} ({error}): export without --{precision}"
            ) from error
        if precision == "fp16" and half is not None:
            golden = len(pictures.golden)
            figures |= agreement_in_half_arithmetic(half, images[:golden], expected[:golden])
        if pictures.calibration is not None:
            elsewhere = agreement_in_engine(engine, pictures.generated, generated)
            figures["generated_cosine_mean"] = elsewhere["cosine_mean"]
        if comparison is None:  # fp32, which comes first
            height, width = bundle.input_height, bundle.input_width
            comparison = RetrievalComparison(tasks, engine, height, width)
        else:
            agreements = comparison.of(engine)
            figures["retrieval"] = [agreement.as_dict() for agreement in agreements]
        measured[precision] = figures
    return measured
