"""Pairs of one head: the strongest ones of a query and a key, and the heads that are nearest to it."""

from qkstore.analysis.pairs.angle import Near, Nearest, nearest
from qkstore.analysis.pairs.strength import AMONG, RANKINGS, Among, Ranking, Strongest, strongest

__all__ = ["AMONG", "RANKINGS", "Among", "Near", "Nearest", "Ranking", "Strongest", "nearest", "strongest"]
