"""Charts of every result, for pages, reports and notebooks."""

from qkstore.charts.attribution import attribution_bars, logit_distribution
from qkstore.charts.components import elbow, score_histogram, score_scatter
from qkstore.charts.covariance import (
    MOST_CELLS,
    angles,
    canonical_correlations,
    matrix,
    null_strip,
    rank_growth,
    rank_growths,
    shrunk,
    singular_values,
)
from qkstore.charts.heads import FEW_CELLS, FORMATS, component_map, difference_map, head_map
from qkstore.charts.intervals import head_intervals
from qkstore.charts.points import MOST_GROUPS, ORDINAL, OTHERS, axes, clusters, grouped, point_pairs
from qkstore.charts.prompts import before_and_after, gain_curves, key_bars, stretches
from qkstore.charts.small import HEIGHT, small_attribution, small_points, small_swap
from qkstore.charts.swaps import (
    LIVE_COLOURS,
    LIVE_MEASURES,
    SWAP_KEYS,
    dose_curves,
    dose_panels,
    gap_bars,
    live_bars,
    live_rows,
    swap_bars,
)
from qkstore.charts.toy import CELL, FAR, LOW, accuracy_map, cell_table, interaction_matrix, rank_map

__all__ = [
    "CELL",
    "FAR",
    "FEW_CELLS",
    "FORMATS",
    "HEIGHT",
    "LIVE_COLOURS",
    "LIVE_MEASURES",
    "LOW",
    "MOST_CELLS",
    "MOST_GROUPS",
    "ORDINAL",
    "OTHERS",
    "SWAP_KEYS",
    "accuracy_map",
    "angles",
    "attribution_bars",
    "axes",
    "before_and_after",
    "canonical_correlations",
    "cell_table",
    "clusters",
    "component_map",
    "difference_map",
    "dose_curves",
    "dose_panels",
    "elbow",
    "gain_curves",
    "gap_bars",
    "grouped",
    "head_intervals",
    "head_map",
    "interaction_matrix",
    "key_bars",
    "live_bars",
    "live_rows",
    "logit_distribution",
    "matrix",
    "null_strip",
    "point_pairs",
    "rank_growth",
    "rank_growths",
    "rank_map",
    "score_histogram",
    "score_scatter",
    "shrunk",
    "singular_values",
    "small_attribution",
    "small_points",
    "small_swap",
    "stretches",
    "swap_bars",
]
