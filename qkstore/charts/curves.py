"""Lines with bands about them, alone or in one panel a feature."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from qkstore.charts.palette import WIDTH


def band(base: alt.Chart, title: str) -> alt.Chart:
    """The area between the columns low and high of a chart that has x and colour. title: of the y axis."""
    return base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", title=title), y2="high:Q")


def by_feature(chart: alt.LayerChart, features: Sequence[str], free_x: bool = False) -> alt.FacetChart:
    """One panel for each value of the column `feature`, in this order, side by side on a figure's width.

    free_x: each panel has an x axis of its own.
    """
    width = (WIDTH - 60 * len(features)) // max(2, len(features))
    header = alt.Header(title=None, labelFontSize=12, labelFontWeight="bold")
    panels = chart.properties(width=width, height=200).facet(
        column=alt.Column("feature:N", sort=list(features), header=header)
    )
    return panels.resolve_scale(x="independent") if free_x else panels
