"""What a preview says of its map in words."""

from __future__ import annotations

import numpy as np

from dmnil_maps.describe import covered_area_km2
from dmnil_maps.preview.layers import LevelLayers
from edge_runtime.contract.region_map import RegionMap


def subtitle_of(region_map: RegionMap) -> str:
    """How many tiles, over how much ground."""
    count = len(region_map.tiles)
    return f"{count:,} tiles over {covered_area_km2(region_map):.2f} km\u00b2"


def facts_of(region_map: RegionMap, levels: list[LevelLayers]) -> list[tuple[str, str]]:
    """Names and values of what is worth knowing of a map."""
    manifest = region_map.manifest
    encoder, imagery = manifest.get("encoder", {}), manifest.get("imagery", {})
    facts = []
    for layers in levels:
        level = layers.level
        facts.append(
            (
                f"Level {layers.number}",
                f"{level.footprint_m:g} m every {level.stride_m:g} m, {layers.tiles:,} tiles, "
                f"{layers.missing:,} places without",
            )
        )
    facts += [
        ("Encoder", f"{encoder.get('name', '?')} ({region_map.encoder_sha256[:12]})"),
        ("Descriptors", f"{region_map.descriptor_size} values, {manifest.get('storage', '?')}"),
        (
            "Distinctiveness",
            "not computed" if levels[0].distinctiveness is None else _distinct_text(levels),
        ),
        ("Imagery", str(imagery.get("date") or "date not given")),
        ("Source", str(manifest.get("coordinate_reference_system", "?"))),
    ]
    if "ground_sample_distance_m" in imagery:
        facts.append(("Pixel", f"{imagery['ground_sample_distance_m']:.2f} m on the ground"))
    for step in manifest.get("history", []):
        names = ", ".join(str(source["map"]) for source in step["from"])
        facts.append((str(step["operation"]).capitalize(), f"from {names}"))
    return facts


def _distinct_text(levels: list[LevelLayers]) -> str:
    return "; ".join(
        f"median {float(np.median(layers.distinctiveness.values)):.2f} at "
        f"{layers.level.footprint_m:g} m"
        for layers in levels
        if layers.distinctiveness is not None
    )
