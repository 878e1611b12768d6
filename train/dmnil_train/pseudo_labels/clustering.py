"""From features of one view to pseudo labels: which images show one place."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.cluster import DBSCAN
from torch import Tensor

from dmnil_train.pseudo_labels.jaccard import jaccard_graph
from edge_runtime.contract.errors import TrainingError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PseudoLabels:
    """A cluster an image.

    Args:
        labels: (N,) int64 in 0..count-1; -1 is an outlier, which is not trained on.
        count: Number of clusters.
    """

    labels: npt.NDArray[np.int64]
    count: int

    @property
    def outliers(self) -> int:
        """Number of images without a cluster."""
        return int((self.labels < 0).sum())


def cluster(
    features: Tensor, k1: int = 30, k2: int = 6, eps: float = 0.4, min_samples: int = 4
) -> PseudoLabels:
    """DBSCAN on the k-reciprocal Jaccard distance (DMNIL, "One epoch").

    A pool of no more than k1 images, where everything would neighbour everything, is clustered
    with half its size for k1, and a warning says so.

    Args:
        features: (N, D), of any length, on any device.
        k1: Neighbours among which reciprocity is asked for.
        k2: Neighbours over which an image's weights are averaged.
        eps: Jaccard distance, 0-1, up to which two images are neighbours: 0.4 for drone images,
            0.3 for satellite images.
        min_samples: Neighbours, itself counted, that make an image the core of a cluster.
    Raises:
        TrainingError: If there is no image, a setting is out of range or a feature not finite.
    """
    count = len(features)
    if count == 0:
        raise TrainingError("there are no images to cluster: check the folder of this view")
    if not 1 <= k2 <= k1:
        raise TrainingError(f"k1 = {k1} and k2 = {k2}: choose 1 <= k2 <= k1")
    if not 0.0 < eps < 1.0 or min_samples < 1:
        raise TrainingError(
            f"eps = {eps}, min_samples = {min_samples}: choose 0 < eps < 1 and 1 or more samples"
        )
    if count <= k1:
        fitting = max(1, count // 2)
        logger.warning(
            "%d images are too few for k1 = %d: clustered with k1 = %d; "
            "add images or set k1 to about the number of images that a place has",
            count,
            k1,
            fitting,
        )
        k1, k2 = fitting, min(k2, fitting)
    graph = jaccard_graph(features, k1, k2, minimum_similarity=1.0 - eps)
    # Distances in place; those of 0, an image's to itself and to its duplicates, stay stored.
    graph.data = np.maximum(np.float32(1.0) - graph.data, np.float32(0.0))
    found = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit_predict(graph)
    labels = np.asarray(found, dtype=np.int64)
    return PseudoLabels(labels, int(labels.max()) + 1)


def singletons(count: int) -> PseudoLabels:
    """Every image its own cluster: for satellite pools with one image a place."""
    return PseudoLabels(np.arange(count, dtype=np.int64), count)
