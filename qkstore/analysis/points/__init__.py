"""Queries and keys as points: drawn in a feature's coordinates, all heads of a layer, chosen by hand, and matched."""

from qkstore.analysis.points.cloud import Chosen, Cloud, Method, Places, Points, Sample, Side, cloud, held, project
from qkstore.analysis.points.context import Context, around
from qkstore.analysis.points.layer import layer_points
from qkstore.analysis.points.match import Match, matches

__all__ = [
    "Chosen",
    "Cloud",
    "Context",
    "Match",
    "Method",
    "Places",
    "Points",
    "Sample",
    "Side",
    "around",
    "cloud",
    "held",
    "layer_points",
    "matches",
    "project",
]
