"""From a run and a contrast to its covariance, subspace, head scores, projection, swaps and attribution; without a
contrast, to the components of a head, and to what labels match in every head.

Everything is built on the train split and judged on the test split, where a run has them; each result says which
prompts it comes from, and how many.
"""

from qkstore.analysis.attribution import PromptAttribution, PromptShares, attribute, shares
from qkstore.analysis.decomposition import HeadComponents, components
from qkstore.analysis.discovery import Discovery, discover
from qkstore.analysis.head import (
    Contrasts,
    Covariance,
    Head,
    HeadData,
    Rows,
    build_split,
    covariance,
    judge_split,
    subspace,
    subspaces,
)
from qkstore.analysis.points import Points, layer_points, project
from qkstore.analysis.swaps import Intervention, conditions, intervene, swapper

__all__ = [
    "Contrasts",
    "Covariance",
    "Discovery",
    "Head",
    "HeadComponents",
    "HeadData",
    "Intervention",
    "Points",
    "PromptAttribution",
    "PromptShares",
    "Rows",
    "attribute",
    "build_split",
    "components",
    "conditions",
    "covariance",
    "discover",
    "intervene",
    "judge_split",
    "layer_points",
    "project",
    "shares",
    "subspace",
    "subspaces",
    "swapper",
]
