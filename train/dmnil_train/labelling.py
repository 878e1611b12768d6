"""The labels of one epoch, from its features: clusters, shared labels, matched tiles."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dmnil_train.config import PseudoLabelConfig
from dmnil_train.data.pool import TrainingData
from dmnil_train.occurrence import occurrence
from dmnil_train.pseudo_labels import (
    cluster,
    enhanced_satellite_labels,
    mutual_matches,
    mutual_neighbours,
    singletons,
)
from edge_runtime.contract.errors import TrainingError

logger = logging.getLogger(__name__)

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EpochLabels:
    """What stands in for labels in one epoch; -1 leaves an image out.

    Args:
        satellite: (Ns,) cluster of each satellite image.
        drone: (Nd,) cluster of each drone image; none without a drone pool.
        shared: Both views' labels mean the same clusters.
    """

    satellite: Labels
    drone: Labels | None
    shared: bool

    def figures(self) -> dict[str, float]:
        """By view, how many clusters there are, and the share of images in none (0-1)."""
        found: dict[str, float] = {}
        for view, labels in (("drone", self.drone), ("satellite", self.satellite)):
            if labels is not None:
                found[f"{view}_clusters"] = float(len(np.unique(labels[labels >= 0])))
                found[f"{view}_outlier_share"] = float((labels < 0).mean())
        return found


@dataclass(frozen=True)
class MatchingFeatures:
    """What the two views are matched by, of any length.

    Args:
        satellite: (Ns, D), or (Ns, V, D) for V views of each image, the most similar counts.
        drone: (R, D), of drone images as they are or as rectified.
        drone_rows: (R,) which image of the drone pool each belongs to, -1 none.
    """

    satellite: Tensor
    drone: Tensor
    drone_rows: Labels


@dataclass(frozen=True)
class TileMatches:
    """Drone images and the tiles that are their mutual neighbours.

    Args:
        tiles: (Nd, K) tiles of each drone image, -1 where there are fewer.
    """

    tiles: Labels

    @property
    def matched(self) -> npt.NDArray[np.bool_]:
        """(Nd,) which drone images have a tile."""
        return np.asarray(self.tiles[:, 0] >= 0)

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return int(np.count_nonzero(self.tiles >= 0))


def clustered_labels(
    config: PseudoLabelConfig,
    data: TrainingData,
    satellite_features: Tensor,
    drone_features: Tensor,
    previous: dict[str, list[int]],
) -> EpochLabels:
    """Clusters inside each view.

    Args:
        previous: Clusters of each view in an earlier epoch, kept where nothing clusters; those
            found now take their place.

    Raises:
        TrainingError: If nothing clusters and there are no previous clusters.
    """
    satellite = (
        singletons(len(satellite_features)).labels
        if data.single_satellite_images
        else _clusters(config, satellite_features, config.satellite_eps, "satellite", previous)
    )
    drone = _clusters(config, drone_features, config.drone_eps, "drone", previous)
    return EpochLabels(satellite, drone, shared=False)


def _clusters(
    config: PseudoLabelConfig,
    features: Tensor,
    eps: float,
    view: str,
    previous: dict[str, list[int]],
) -> Labels:
    found = cluster(features, config.k1, config.k2, eps, config.min_samples)
    if found.count:
        previous[view] = found.labels.tolist()
        return found.labels
    advice = (
        f"none of {len(features)} {view} images clusters: raise pseudo_labels.{view}_eps above "
        f"{eps:g}, lower pseudo_labels.min_samples, or lower pseudo_labels.k1"
    )
    if view not in previous:
        raise TrainingError(advice)
    logger.warning("%s; going on with the labels of an earlier epoch", advice)
    return np.array(previous[view], np.int64)


def enhanced_labels(
    config: PseudoLabelConfig,
    within: EpochLabels,
    satellite_features: Tensor,
    drone_features: Tensor,
    seed: int,
) -> EpochLabels:
    """Drone clusters given to all satellite images, as the paper does; see `_shared`."""
    if within.drone is None:
        return within
    generator = torch.Generator().manual_seed(seed)
    satellite_noise, drone_noise = (
        torch.randn(features.shape, generator=generator).to(features.device)
        for features in (satellite_features, drone_features)
    )
    satellite = enhanced_satellite_labels(
        satellite_features,
        drone_features,
        within.drone,
        satellite_noise,
        drone_noise,
        config.enhancement_noise,
    )
    return _shared(within, satellite)


def mutual_labels(within: EpochLabels, features: MatchingFeatures) -> EpochLabels:
    """Drone clusters given to those satellite images that they agree upon; see `_shared`."""
    if within.drone is None:
        return within
    labels = np.where(features.drone_rows >= 0, within.drone[features.drone_rows], -1)
    return _shared(within, mutual_matches(features.satellite, features.drone, labels))


def _shared(within: EpochLabels, satellite: Labels) -> EpochLabels:
    """Both views' labels meaning the same clusters; as they were where no satellite takes one."""
    if (satellite < 0).all():
        logger.warning("no satellite image takes a drone label: both views keep their own")
        return within
    return EpochLabels(satellite, within.drone, shared=True)


def true_labels(data: TrainingData) -> EpochLabels:
    """The true places of both pools, for the supervised upper bound.

    Raises:
        TrainingError: If the images carry none.
    """
    if data.drone is None or (data.drone.places < 0).all() or (data.satellite.places < 0).all():
        raise TrainingError("supervised needs the true places of both pools: these carry none")
    both = np.concatenate([data.satellite.places, data.drone.places])
    known, compact = np.unique(both, return_inverse=True)
    compact = compact - int(known[0] < 0)
    count = len(data.satellite.places)
    return EpochLabels(compact[:count], compact[count:], shared=True)


def true_tiles(data: TrainingData) -> TileMatches:
    """The satellite images of each drone image's true place, for the supervised upper bound.

    Raises:
        TrainingError: If the images carry none.
    """
    labels = true_labels(data)
    if labels.drone is None:
        raise TrainingError("supervised needs drone images")
    known = np.flatnonzero(labels.satellite >= 0)
    places = labels.satellite[known]
    nth = occurrence(torch.from_numpy(places)).numpy()
    # One place more, so that an unknown one, -1, has no tile either.
    count = 2 + int(max(labels.satellite.max(), labels.drone.max()))
    tiles_of_place = np.full((count, 1 + int(nth.max())), -1, np.int64)
    tiles_of_place[places, nth] = known
    return TileMatches(tiles_of_place[labels.drone])


def matched_tiles(
    features: MatchingFeatures, drone_count: int, nearest_tiles: int, nearest_images: int
) -> TileMatches:
    """Tiles and drone images that are among each other's nearest, each view's mean removed."""
    pairs = mutual_neighbours(features.drone, features.satellite, nearest_tiles, nearest_images)
    rows = features.drone_rows[pairs[:, 0]]
    rows, tile = rows[rows >= 0], pairs[rows >= 0, 1]
    tiles = np.full((drone_count, nearest_tiles), -1, np.int64)
    tiles[rows, occurrence(torch.from_numpy(rows)).numpy()] = tile
    return TileMatches(tiles)
