"""Drone clusters for satellite images, without any pair (DMNIL, pseudo-label enhancement)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dmnil_train.encoder.heads import unit_length
from dmnil_train.pseudo_labels.neighbours import nearest_both_ways, nearest_neighbours
from edge_runtime.contract.errors import TrainingError

LabelArray = npt.NDArray[np.int64]


def enhanced_satellite_labels(
    satellite_features: Tensor,
    drone_features: Tensor,
    drone_labels: LabelArray,
    satellite_noise: Tensor,
    drone_noise: Tensor,
    noise_scale: float = 0.05,
    candidates: int = 10,
    smoothing_neighbours: int = 5,
) -> LabelArray:
    """A drone label for every satellite image, where the two pools cover one another.

    Of the labels of its nearest drone images, a satellite image takes the one that the same
    search among noisy features finds most often; then the one most frequent among its nearest
    satellite images. Ties go to the more similar. Where the pools do not cover one another, most
    of these labels are wrong: see `mutual_matches`.

    Args:
        satellite_features: (N, D), of any length.
        drone_features: (M, D), of any length.
        drone_labels: (M,), -1 for outliers, which count as a label of their own.
        satellite_noise: (N, D) standard normal numbers.
        drone_noise: (M, D) standard normal numbers.
        noise_scale: Standard deviation of the noise added to every value of a unit-length
            feature, which is not brought back to unit length.
        candidates: Drone images looked up, or as many as there are.
        smoothing_neighbours: Satellite images looked up, itself counted, or as many as there are.
    Returns:
        (N,) labels out of `drone_labels`.
    Raises:
        TrainingError: If sizes contradict each other or a feature is not finite.
    """
    _check_labels(drone_labels, drone_features)
    satellite = unit_length(satellite_features.detach().float())
    drone = unit_length(drone_features.detach().float())
    noisy_satellite = satellite + noise_scale * satellite_noise
    noisy_drone = drone + noise_scale * drone_noise

    looked_up = min(candidates, len(drone))
    clean, _ = nearest_both_ways(satellite, drone, looked_up, 0)
    noisy, _ = nearest_both_ways(noisy_satellite, noisy_drone, looked_up, 0)
    found = _most_frequent(drone_labels[clean.cpu().numpy()], drone_labels[noisy.cpu().numpy()])

    # The inner product of the joined features is the sum of both similarities.
    joined = torch.cat((satellite, noisy_satellite), dim=1)
    _, similar = nearest_neighbours(joined, min(smoothing_neighbours, len(joined)))
    around = found[similar.cpu().numpy()]
    return _most_frequent(around, around)


def mutual_neighbours(
    queries: Tensor, gallery: Tensor, k_query: int, k_gallery: int
) -> npt.NDArray[np.int64]:
    """Pairs of a query and a gallery image that are among each other's nearest.

    Each view's own mean is taken off first, which removes most of what sets the views apart.

    Args:
        queries: (Q, D), of any length.
        gallery: (G, D), of any length; (G, V, D) for V views of each image.
        k_query: Gallery images that a query may choose, or as many as there are.
        k_gallery: Queries that a gallery image may choose, or as many as there are.
    Returns:
        (P, 2) query and gallery indices, by query, most similar first.
    Raises:
        TrainingError: If there are no queries or no gallery, or a feature is not finite.
    """
    if len(queries) == 0 or len(gallery) == 0:
        raise TrainingError(
            f"{len(queries)} queries and {len(gallery)} gallery images cannot be matched: "
            "both views need images"
        )
    by_query, by_gallery = nearest_both_ways(
        _centred(queries),
        _centred(gallery),
        min(k_query, len(gallery)),
        min(k_gallery, len(queries)),
    )
    chosen_tiles = by_query.cpu().numpy()
    choosers = by_gallery.cpu().numpy()
    query_of = np.broadcast_to(np.arange(len(chosen_tiles))[:, None], chosen_tiles.shape)
    tile_of = np.broadcast_to(np.arange(len(choosers))[:, None], choosers.shape)
    chosen = query_of * len(gallery) + chosen_tiles
    returned = choosers * len(gallery) + tile_of
    mutual = np.isin(chosen, returned)
    return np.stack((query_of[mutual], chosen_tiles[mutual]), axis=1)


def mutual_matches(
    satellite_features: Tensor,
    drone_features: Tensor,
    drone_labels: LabelArray,
    k_drone: int = 1,
    k_satellite: int = 10,
    min_votes: int = 3,
    min_share: float = 0.6,
) -> LabelArray:
    """A drone label for those satellite images alone that the drone images agree upon.

    On one's own region most satellite images have no drone view. A label is taken only where
    several drone images and the satellite image choose each other, and where those drone images
    lie in one cluster. No cluster is told to find a tile: it may have none or several.

    Args:
        satellite_features: (N, D), of any length; (N, V, D) for V views of each image.
        drone_features: (M, D), of any length.
        drone_labels: (M,), -1 for outliers, which vote against every cluster.
        k_drone: Satellite images that a drone image may choose.
        k_satellite: Drone images that a satellite image may choose.
        min_votes: Drone images of one cluster that must choose the satellite image, mutually.
        min_share: Their least share, above one half, of all drone images that do.
    Returns:
        (N,) labels out of `drone_labels`; -1 takes none.
    Raises:
        TrainingError: If sizes contradict each other, a setting is out of range, or a feature is
            not finite.
    """
    _check_labels(drone_labels, drone_features)
    if min_votes < 1 or not 0.5 < min_share <= 1.0:
        raise TrainingError(
            f"min_votes = {min_votes}, min_share = {min_share}: choose 1 or more votes and a share "
            "above 0.5, up to 1"
        )
    pairs = mutual_neighbours(drone_features, satellite_features, k_drone, k_satellite)
    voted, tiles = drone_labels[pairs[:, 0]], pairs[:, 1]
    voters = np.bincount(tiles, minlength=len(satellite_features))
    ballots, votes = np.unique(np.stack((tiles, voted), axis=1), axis=0, return_counts=True)
    tile, label = ballots[:, 0], ballots[:, 1]
    # A share above one half leaves one winner at most; where outliers win, the label is -1.
    won = (votes >= min_votes) & (votes >= min_share * voters[tile])
    labels = np.full(len(satellite_features), -1, dtype=np.int64)
    labels[tile[won]] = label[won]
    return labels


def _most_frequent(choices: LabelArray, ballots: LabelArray) -> LabelArray:
    """Of each row of choices (N, k) the one most frequent in that row of ballots, first on ties."""
    votes = (choices[:, :, None] == ballots[:, None, :]).sum(axis=2)
    return np.take_along_axis(choices, votes.argmax(axis=1)[:, None], axis=1)[:, 0]


def _centred(features: Tensor) -> Tensor:
    """Unit-length features (..., D) without their mean, unit length again."""
    vectors = unit_length(features.detach().float().flatten(0, -2))
    return unit_length(vectors - vectors.mean(dim=0)).view(features.shape)


def _check_labels(drone_labels: LabelArray, drone_features: Tensor) -> None:
    if len(drone_labels) != len(drone_features):
        raise TrainingError(
            f"{len(drone_labels)} drone labels for {len(drone_features)} drone features: "
            "label the pool that the features come from"
        )
