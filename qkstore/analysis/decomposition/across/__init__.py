"""Components of all heads of a run beside each other: how many each has, and which heads share them."""

from qkstore.analysis.decomposition.across.called import Cluster, called, cluster_table, clusters_statement
from qkstore.analysis.decomposition.across.counted import COUNTED, HeadCount, refusals, statement, table
from qkstore.analysis.decomposition.across.shared import Clusters, clusters, kept_clusters, known_clusters
from qkstore.analysis.decomposition.across.sweep import ROUGH, counts, kept_counts, known_counts

__all__ = [
    "COUNTED",
    "ROUGH",
    "Cluster",
    "Clusters",
    "HeadCount",
    "called",
    "cluster_table",
    "clusters",
    "clusters_statement",
    "counts",
    "kept_clusters",
    "kept_counts",
    "known_clusters",
    "known_counts",
    "refusals",
    "statement",
    "table",
]
