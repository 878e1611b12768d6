"""From the last feature map to one vector an image, before it is brought to unit length."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class GlobalAverage(nn.Module):
    """The paper's feature: the average over all positions, then the backbone's normalisation."""

    def __init__(self, channels: int, norm: nn.Module) -> None:
        super().__init__()
        self.channels = self.size = channels
        self.norm = norm

    def forward(self, feature_map: Tensor) -> Tensor:
        """Vectors (N, C) of maps (N, C, h, w)."""
        vectors: Tensor = self.norm(feature_map.mean(dim=(2, 3)))
        return vectors


class GridAverage(nn.Module):
    """Averages over a G x G grid of cells, so that the vector keeps where things lie.

    Each cell is normalised as the global average would be; with G = 1 the two heads agree.
    """

    def __init__(self, channels: int, norm: nn.Module, grid_size: int) -> None:
        super().__init__()
        self.channels = channels
        self.size = channels * grid_size * grid_size
        self.grid_size = grid_size
        self.norm = norm

    def forward(self, feature_map: Tensor) -> Tensor:
        """Vectors (N, G * G * C) of maps (N, C, h, w): cells row by row, channels innermost."""
        cells = grid_average(feature_map, self.grid_size).permute(0, 2, 3, 1)
        # Not flatten(): its graph would read the batch size off the uint8 input, which TensorRT
        # lets nothing but a cast do.
        vectors: Tensor = self.norm(cells).reshape(-1, self.size)
        return vectors


class RingAverage(nn.Module):
    """Averages over R concentric rings: what lies near the middle and what far, in any heading.

    The partition of LPN (Wang et al. 2021, arXiv 2008.11646), here of one width and round, so that
    turning the image changes little but its corners, which belong to the outermost ring.
    """

    def __init__(self, channels: int, norm: nn.Module, ring_count: int) -> None:
        super().__init__()
        self.channels = channels
        self.size = channels * ring_count
        self.ring_count = ring_count
        self.norm = norm

    def forward(self, feature_map: Tensor) -> Tensor:
        """Vectors (N, R * C) of maps (N, C, h, w): rings from the middle on, channels innermost."""
        height, width = feature_map.shape[2:]
        weights = _ring_weights(height, width, self.ring_count).to(feature_map)
        positions = feature_map.reshape(-1, self.channels, height * width)
        rings = (positions @ weights).transpose(1, 2)
        vectors: Tensor = self.norm(rings).reshape(-1, self.size)
        return vectors


Head = GlobalAverage | GridAverage | RingAverage


class Projection(nn.Module):
    """Principal components: unit length, minus the mean, onto the components' rows."""

    mean: Tensor
    components: Tensor

    def __init__(self, size_in: int, size_out: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size_in))
        self.register_buffer("components", torch.eye(size_out, size_in))

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors (N, size_out) of vectors (N, size_in)."""
        return functional.linear(unit_length(vectors) - self.mean, self.components)


def unit_length(vectors: Tensor) -> Tensor:
    """Vectors (N, D) divided by their Euclidean norms."""
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / lengths.clamp_min(1e-12)


def grid_average(feature_map: Tensor, grid_size: int) -> Tensor:
    """Averages (N, C, G, G) of a map, over the windows of adaptive average pooling.

    Written with fixed windows, or two small constant matrices where the side is no multiple of G,
    because inference engines have no adaptive pooling.
    """
    height, width = feature_map.shape[2:]
    if height % grid_size == 0 and width % grid_size == 0:
        return functional.avg_pool2d(feature_map, (height // grid_size, width // grid_size))
    rows = _window_weights(height, grid_size).to(feature_map)
    columns = _window_weights(width, grid_size).to(feature_map)
    return rows @ feature_map @ columns.T


def _ring_weights(height: int, width: int, ring_count: int) -> Tensor:
    """Matrix (h w, R): the share of each ring's area that lies in each position.

    Rings are 1/R of half the shorter side wide; the last one reaches to the corners. Computed by
    numpy, so that an exported graph holds the numbers and not their computation.
    """
    fine = 16  # points a position and side, by which areas are measured
    rows, columns = ((np.arange(side * fine) + 0.5) / fine - side / 2 for side in (height, width))
    radii = np.hypot(rows[:, None], columns) / (min(height, width) / 2)
    ring = np.minimum(radii * ring_count, ring_count - 1).astype(np.intp)
    areas = np.eye(ring_count)[ring].reshape(height, fine, width, fine, ring_count)
    weights = areas.sum(axis=(1, 3)).reshape(height * width, ring_count)
    return torch.from_numpy((weights / weights.sum(axis=0)).astype(np.float32))


def _window_weights(side: int, grid_size: int) -> Tensor:
    """Matrix (G, side): row g averages positions floor(g side / G) to ceil((g + 1) side / G)."""
    weights = torch.zeros(grid_size, side)
    for cell in range(grid_size):
        start, end = cell * side // grid_size, -(-(cell + 1) * side // grid_size)
        weights[cell, start:end] = 1.0 / (end - start)
    return weights
