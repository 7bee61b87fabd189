"""Components of a head of a run: found without labels, named by labels afterwards, swapped, and set beside others."""

from qkstore.analysis.decomposition.across import (
    COUNTED,
    Clusters,
    HeadCount,
    clusters,
    counts,
    kept_clusters,
    kept_counts,
    statement,
    table,
)
from qkstore.analysis.decomposition.found import HeadComponents, components
from qkstore.analysis.decomposition.labels import Untried
from qkstore.analysis.decomposition.names import UNNAMED, Best, Name, Names, names
from qkstore.analysis.decomposition.prompts import Prompts, prompts
from qkstore.analysis.decomposition.scored import Scored
from qkstore.analysis.decomposition.sight import LeftOut, Sight, default_where, untested
from qkstore.analysis.decomposition.study import Study, kept_study, study
from qkstore.analysis.decomposition.swaps import ComponentSwaps, swaps

__all__ = [
    "COUNTED",
    "UNNAMED",
    "Best",
    "Clusters",
    "ComponentSwaps",
    "HeadComponents",
    "HeadCount",
    "LeftOut",
    "Name",
    "Names",
    "Prompts",
    "Scored",
    "Sight",
    "Study",
    "Untried",
    "clusters",
    "components",
    "counts",
    "default_where",
    "kept_clusters",
    "kept_counts",
    "kept_study",
    "names",
    "prompts",
    "statement",
    "study",
    "swaps",
    "table",
    "untested",
]
