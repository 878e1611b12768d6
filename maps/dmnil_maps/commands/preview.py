"""`dmnil-map preview`: a map as a picture and as a page, and where on it a picture fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser

from dmnil_maps.commands.printing import print_line
from dmnil_maps.preview.layers import layers_of
from dmnil_maps.preview.page import Expected, write_page
from dmnil_maps.preview.still import write_preview_png
from dmnil_maps.preview.view import ViewConfig
from dmnil_maps.preview.view_search import ViewSearch, search_view
from dmnil_maps.preview.view_verdict import verdict_of
from edge_runtime.command_line import Action
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.region_map import RegionMap, load_region_map

_PLACES_PRINTED = 3


def preview(parser: ArgumentParser) -> Action:
    """Show a region map as a picture or a page, and how much it looks like an image."""
    parser.add_argument("map", type=Path, help="region map")
    parser.add_argument("-o", "--output", type=Path | None, help="picture to write, NAME.png")
    parser.add_argument("--html", type=Path | None, help="self-contained page to write, NAME.html")
    parser.add_argument(
        "--image", type=Path | None, help="camera frame, or picture already rectified: north up"
    )
    parser.add_argument(
        "--expected", type=str | None, help="LAT,LON where the drone was, to mark: --expected=47,8"
    )
    parser.add_class_arguments(ViewConfig, None, skip={"image"})

    def run(options: Any) -> None:
        values = parser.instantiate(options).as_dict()
        image, expected = values.pop("image"), _expected(values.pop("expected"))
        written = [path for path in (values.pop("output"), values.pop("html")) if path is not None]
        region_map = load_region_map(values.pop("map"))
        if not written:
            raise ConfigError("give -o preview.png, --html page.html, or both")
        if options.output is not None and options.output.suffix.lower() != ".png":
            raise ConfigError(f"{options.output} is not named .png: pages are --html")
        search = None
        if image is not None:
            search = search_view(region_map, ViewConfig(image=image, **values))
        views = {} if search is None else {view.level: view for view in search.levels}
        levels = [
            layers_of(region_map, number, views.get(number))
            for number in range(len(region_map.levels))
        ]
        if options.output is not None:
            write_preview_png(options.output, region_map, levels, search, expected)
        if options.html is not None:
            write_page(options.html, region_map, levels, search, expected)
        if search is not None:
            print_line(_found_text(region_map, search))
        print_line(", ".join(map(str, written)))

    return run


def _found_text(region_map: RegionMap, search: ViewSearch) -> str:
    view = search.best
    verdict = verdict_of(region_map, view)
    lines = [f"{search.name}: {verdict.headline.lower()}. {verdict.text}"]
    if view.fault:
        lines.append(f"a flight would not use this view: {view.fault}")
    for place in view.places[:_PLACES_PRINTED]:
        lines.append(f"  {place.score:6.2f}  {place.latitude_deg:.6f}, {place.longitude_deg:.6f}")
    return "\n".join(lines)


def _expected(text: str | None) -> Expected | None:
    if text is None:
        return None
    try:
        latitude_deg, longitude_deg = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--expected takes LAT,LON in degrees, not {text!r}") from None
    if not (np.isfinite(longitude_deg) and abs(latitude_deg) <= 90.0):
        raise ConfigError(f"--expected takes LAT,LON in degrees, not {text!r}")
    return Expected(latitude_deg, longitude_deg)
