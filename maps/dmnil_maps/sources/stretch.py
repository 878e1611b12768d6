"""Deep pixels brought to 8 bits, in one way for the whole of the imagery."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import rasterio.windows
from rasterio.io import DatasetReader

from dmnil_maps.sources.layer import Layer, OpenLayers
from dmnil_maps.sources.reading_errors import READING_ERRORS

_PERCENTILES = (2.0, 98.0)
_SAMPLE_PX = 1024**2
_READ_WHOLE_PX = 2**24
_LAYERS_SAMPLED = 64
_WINDOWS_SAMPLED = 256
_WINDOW_PX = 64

DepthKey = tuple[str, int]


@dataclass(frozen=True)
class Stretch:
    """Band by band, the values (3,) that become 0 and 255."""

    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]

    def __call__(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
        """Scale and round values (..., 3); what is no number becomes 0."""
        scaled = (values.astype(np.float32) - self.low) * (255.0 / (self.high - self.low))
        return np.asarray(np.rint(np.clip(np.nan_to_num(scaled), 0.0, 255.0)), np.uint8)


def depth_of(layer: Layer) -> DepthKey:
    """Layers of the same type and bits are stretched alike."""
    return layer.dtype, layer.bits


def agreed_stretches(layers: Sequence[Layer], opened: OpenLayers) -> dict[DepthKey, Stretch]:
    """From the 2nd to the 98th percentile over all deep layers of a type together.

    They are fixed before anything is read, so no part of the imagery, and no order of sources,
    changes how another part looks.
    """
    stretches = {}
    deep = [layer for layer in layers if not layer.is_8_bit]
    for key in sorted({depth_of(layer) for layer in deep}):
        alike = sorted((layer for layer in deep if depth_of(layer) == key), key=lambda it: it.name)
        chosen = alike[:: math.ceil(len(alike) / _LAYERS_SAMPLED)]
        pixels = sum(layer.width * layer.height for layer in chosen)
        samples: list[list[npt.NDArray[np.float64]]] = [[], [], []]
        for layer in chosen:
            share = layer.width * layer.height / pixels
            with opened.borrow(layer) as dataset:
                for band, values in zip(samples, _sample(dataset, layer, share), strict=True):
                    band.append(values)
        limits = np.asarray([_limits(np.concatenate(band)) for band in samples], np.float32)
        stretches[key] = Stretch(limits[:, 0], limits[:, 1])
    return stretches


def _limits(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(values, _PERCENTILES) if values.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-6 * max(1.0, abs(low))))


def _sample(
    dataset: DatasetReader, layer: Layer, share: float
) -> tuple[npt.NDArray[np.float64], ...]:
    """Values of the three bands, about `share` of a million each, without nodata."""
    pixels = dataset.width * dataset.height
    if pixels <= _READ_WHOLE_PX or dataset.overviews(layer.bands.colours[0]):
        step = max(1.0, math.sqrt(pixels / (_SAMPLE_PX * share)))
        shape = tuple(max(1, round(side / step)) for side in (dataset.height, dataset.width))
        try:
            sample = dataset.read(list(layer.bands.colours), out_shape=(3, *shape), masked=True)
            return _numbers([sample])
        except READING_ERRORS:
            pass  # the windows below pass by what is damaged
    side = max(1, math.isqrt(round(_WINDOWS_SAMPLED * share)))
    found = []
    for row, column in np.ndindex(side, side):
        window = rasterio.windows.Window(
            max(0, round((column + 0.5) * dataset.width / side) - _WINDOW_PX // 2),
            max(0, round((row + 0.5) * dataset.height / side) - _WINDOW_PX // 2),
            min(_WINDOW_PX, dataset.width),
            min(_WINDOW_PX, dataset.height),
        )
        try:
            found.append(dataset.read(list(layer.bands.colours), window=window, masked=True))
        except READING_ERRORS:
            continue  # reading itself names damage and counts it
    return _numbers(found)


def _numbers(samples: Sequence[np.ma.MaskedArray]) -> tuple[npt.NDArray[np.float64], ...]:
    bands = []
    for number in range(3):
        values = [np.empty(0), *(sample[number].compressed() for sample in samples)]
        together = np.concatenate(values).astype(np.float64)
        bands.append(together[np.isfinite(together)])
    return tuple(bands)
