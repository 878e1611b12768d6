"""Curves and smooth bends of the plane, for roads, rivers and everything that follows them."""

import numpy as np

from dmnil_maps.sample_world.scene import FloatArray


class SmoothBend:
    """A smooth displacement of the plane: a few random plane waves per axis."""

    def __init__(self, rng: np.random.Generator, wavelength_m: float, amplitude_m: float) -> None:
        waves = 5
        heading = rng.uniform(0, 2 * np.pi, (2, waves))
        number = 2 * np.pi / (wavelength_m * rng.uniform(0.7, 1.5, (2, waves)))
        self._vectors = np.stack([np.cos(heading), np.sin(heading)], -1) * number[..., None]
        self._phases = rng.uniform(0, 2 * np.pi, (2, waves))
        self._amplitude_m = amplitude_m / np.sqrt(waves / 2)

    def __call__(self, points: FloatArray) -> FloatArray:
        """(N, 2) points, displaced."""
        phase = np.einsum("nk,awk->naw", points, self._vectors) + self._phases
        bent: FloatArray = points + self._amplitude_m * np.sin(phase).sum(-1)
        return bent


def resample(points: FloatArray, step_m: float) -> FloatArray:
    """The same polyline with points about every `step_m` metres."""
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    count = max(2, int(np.ceil(lengths[-1] / step_m)) + 1)
    at = np.linspace(0, lengths[-1], count)
    return np.stack([np.interp(at, lengths, points[:, 0]), np.interp(at, lengths, points[:, 1])], 1)


def directions(points: FloatArray) -> FloatArray:
    """(N, 2) unit tangents of a polyline at its points."""
    tangent = np.gradient(points, axis=0)
    unit: FloatArray = tangent / np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-9)[:, None]
    return unit


def offset(points: FloatArray, left_m: float | FloatArray) -> FloatArray:
    """The polyline moved sideways; positive is to the left of its direction."""
    tangent = directions(points)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    moved: FloatArray = points + normal * np.reshape(left_m, (-1, 1))
    return moved


def ribbon(points: FloatArray, width_m: float | FloatArray) -> FloatArray:
    """(2N, 2) outline of a strip of the given width about a polyline."""
    half = np.asarray(width_m) / 2
    return np.concatenate([offset(points, half), offset(points, -half)[::-1]])


def eased(points: FloatArray, window: int) -> FloatArray:
    """The polyline with bends sharper than a window of points rounded off; the ends are cut."""
    weights = np.convolve(np.ones(window), np.ones(window))
    weights /= weights.sum()
    return np.stack([np.convolve(points[:, axis], weights, "valid") for axis in (0, 1)], 1)


def length_m(points: FloatArray) -> float:
    """Length of a polyline."""
    return float(np.hypot(*np.diff(points, axis=0).T).sum())


def line(start: FloatArray, end: FloatArray, step_m: float = 6.0) -> FloatArray:
    """A straight polyline with points about every `step_m` metres."""
    return resample(np.stack([start, end]), step_m)
