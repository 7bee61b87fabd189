"""Components of a head of a run: found without labels, named by labels afterwards, swapped, and set beside others."""

from qkstore.analysis.decomposition.found import HeadComponents, components
from qkstore.analysis.decomposition.shared import Clusters, clusters, kept_clusters
from qkstore.analysis.decomposition.sight import LeftOut, Sight, default_where
from qkstore.analysis.decomposition.swaps import ComponentSwaps, swaps
from qkstore.analysis.decomposition.sweep import HeadCount, counts, kept_counts

__all__ = [
    "Clusters",
    "ComponentSwaps",
    "HeadComponents",
    "HeadCount",
    "LeftOut",
    "Sight",
    "clusters",
    "components",
    "counts",
    "default_where",
    "kept_clusters",
    "kept_counts",
    "swaps",
]
