"""Signed symmetric 8-bit rounding: scales of activations and weights, and what they leave."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
LARGEST_CODE = 127
_BINS = 2048
_SAMPLES = 1 << 20
_SHARES = np.linspace(0.2, 1.0, 81)
_SEED = 20_250_213
_SMALLEST_RANGE = 1e-6


def rounded(values: FloatArray, scale: FloatArray | float) -> FloatArray:
    """Values as 8 bits hold them: -128 to 127 times the scale."""
    codes = _codes(values, scale)
    codes *= scale
    return codes


def activation_scale(values: FloatArray) -> float:
    """The scale whose rounding has the least mean squared error on these values.

    What lies beyond 127 scales is cut off: for a few large values it pays to lose them, so that
    all others get finer steps. Large tensors are judged by a million of their values.
    """
    largest = max(float(np.abs(values).max()), _SMALLEST_RANGE)
    flat = values.reshape(-1)
    if flat.size > _SAMPLES:
        flat = flat[np.random.default_rng(_SEED).integers(0, flat.size, _SAMPLES)]
    counts, edges = np.histogram(np.abs(flat), _BINS, (0.0, largest))
    centres = (edges[:-1] + edges[1:]) / 2
    scales = (_SHARES * largest / LARGEST_CODE)[:, None]
    codes = np.minimum(np.rint(centres / scales), LARGEST_CODE)
    errors = np.sum(counts * np.square(codes * scales - centres), axis=1)
    return float(scales[np.argmin(errors), 0])


def weight_scales(weights: FloatArray, channel_axis: int) -> FloatArray:
    """One scale (C,) an output channel: its largest weight gets the largest code."""
    others = tuple(axis for axis in range(weights.ndim) if axis != channel_axis)
    largest = np.maximum(np.abs(weights).max(axis=others), _SMALLEST_RANGE)
    return np.asarray(largest / LARGEST_CODE, np.float32)


def rounded_weights(weights: FloatArray, channel_axis: int) -> FloatArray:
    """Weights as 8 bits hold them, each output channel by its own scale."""
    return rounded(weights, _scales_beside(weights, channel_axis))


def weight_codes(weights: FloatArray, channel_axis: int) -> npt.NDArray[np.int8]:
    """The 8 bits themselves: times the scales they are the rounded weights."""
    return _codes(weights, _scales_beside(weights, channel_axis)).astype(np.int8)


def _scales_beside(weights: FloatArray, channel_axis: int) -> FloatArray:
    shape = [1] * weights.ndim
    shape[channel_axis] = -1
    return weight_scales(weights, channel_axis).reshape(shape)


def _codes(values: FloatArray, scale: FloatArray | float) -> FloatArray:
    """Whole numbers from -128 to 127, in the rounding of ONNX's QuantizeLinear."""
    codes = np.asarray(values / scale, np.float32)
    np.rint(codes, out=codes)  # in place: the largest maps of a network take gigabytes
    np.clip(codes, -LARGEST_CODE - 1, LARGEST_CODE, out=codes)
    return codes
