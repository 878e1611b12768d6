"""The encoder bundle, the region map and the source of frames that a flight is to use."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.contract.errors import DmnilError
from edge_runtime.doctor.finding import Finding, fail, ok, skipped, warn

if TYPE_CHECKING:
    from edge_runtime.contract.encoder_bundle import EncoderBundle


def check_bundle(folder: Path | None) -> Finding:
    """Every file is what the exporter wrote, and the engine finds the stored descriptors again."""
    name = "bundle"
    if folder is None:
        return skipped(name, "--bundle names the one to check")
    try:
        from edge_runtime.contract.encoder_bundle import load_encoder_bundle

        bundle = load_encoder_bundle(folder)
        bundle.verify()
        fault, milliseconds = _golden_fault(bundle)
    except (DmnilError, ImportError) as error:
        return fail(name, _one_line(error), "copy or export the bundle again")
    what = (
        f"{folder}: {bundle.backbone}, {bundle.input_width} px, {', '.join(bundle.precisions)}; "
        f"{milliseconds:.0f} ms a picture by onnxruntime in fp32"
    )
    if fault:
        advice = "onnxruntime computes wrongly here: pip install another version of it"
        return fail(name, f"{what}; {fault}", advice)
    return ok(name, f"{what}, golden descriptors found again")


def check_map(folder: Path | None, bundle_folder: Path | None) -> Finding:
    """Every file is what the builder wrote, and the map was built with the bundle's encoder."""
    name = "map"
    if folder is None:
        return skipped(name, "--map names the one to check")
    try:
        from edge_runtime.contract.encoder_bundle import load_encoder_bundle
        from edge_runtime.contract.region_map import load_region_map

        region_map = load_region_map(folder)
        region_map.verify()
        what = f"{folder}: {len(region_map.tiles):,} tiles, {len(region_map.levels)} level(s)"
        if bundle_folder is None:
            return warn(name, f"{what}, encoder not compared", "give --bundle too")
        region_map.require_encoder(load_encoder_bundle(bundle_folder))
    except (DmnilError, ImportError) as error:
        return fail(name, _one_line(error), "copy the map again, or build it with this bundle")
    return ok(name, f"{what}, built with this bundle")


def check_source(source: str | Path | None) -> Finding:
    """The first frame of a recording decodes, or a camera or stream delivers one in time."""
    name = "source"
    if source is None:
        return skipped(name, "--source names the one to check")
    try:
        from edge_runtime.sources.uri import is_source_uri

        if is_source_uri(str(source)):
            return _live_source(name, str(source))
        from edge_runtime.sources.open import open_source

        frame = next(iter(open_source(Path(source))), None)
    except (DmnilError, ImportError) as error:
        return fail(name, _one_line(error), "put that right, or give another --source")
    if frame is None or frame.image is None:
        return fail(name, f"{source}: its first frame does not decode", "record or copy it again")
    height, width = frame.image.shape[:2]
    return ok(name, f"{source}: first frame {frame.name} is {width} x {height}")


def _live_source(name: str, uri: str) -> Finding:
    """What comes from a camera or stream within the time that a flight would give it."""
    from edge_runtime.sources.config import SourceConfig
    from edge_runtime.sources.open import open_live_source
    from edge_runtime.sources.uri import without_password

    config = SourceConfig(pacing="fast")
    shown = without_password(uri)
    started_s = time.monotonic()
    with closing(open_live_source(uri, config)) as source:
        frame = source.newest(config.open_s)
        waited_s = time.monotonic() - started_s
        fault = source.fault
    if frame is None:
        advice = "is it switched on, connected, in reach, and does the address hold?"
        return fail(name, fault or f"{shown}: no frame in {waited_s:.1f} s", advice)
    if frame.image is None:
        return fail(name, f"{shown}: its first frame does not decode", "record or copy it again")
    height, width = frame.image.shape[:2]
    what = f"{shown}: first frame {frame.name} is {width} x {height}, came after {waited_s:.1f} s"
    return ok(name, f"{what}; {source.description}")


def _golden_fault(bundle: EncoderBundle) -> tuple[str, float]:
    """What is wrong with the engine's descriptors, and the milliseconds that a picture took."""
    from edge_runtime.engines import open_engine
    from edge_runtime.engines.golden_check import golden_fault

    engine = open_engine(bundle, golden_check=False)
    started = time.perf_counter()
    fault = golden_fault(engine, bundle, "fp32")
    encoded = 2 * len(bundle.golden()[0])  # together and one by one
    return fault, (time.perf_counter() - started) * 1e3 / encoded


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
