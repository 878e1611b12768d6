"""Pseudo labels: clusters inside a view, and drone clusters for satellite images."""

from dmnil_train.pseudo_labels.clustering import PseudoLabels, cluster, singletons
from dmnil_train.pseudo_labels.cross_view import (
    enhanced_satellite_labels,
    mutual_matches,
    mutual_neighbours,
)

__all__ = [
    "PseudoLabels",
    "cluster",
    "enhanced_satellite_labels",
    "mutual_matches",
    "mutual_neighbours",
    "singletons",
]
