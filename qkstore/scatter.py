"""Scatter plots of queries and keys: linked pairs of coordinates; a triangle is a query, a circle a key."""

from __future__ import annotations

import altair as alt
import polars as pl

from qkstore import palette
from qkstore.visible import visible

OTHERS = "others"
MOST_GROUPS = len(palette.CATEGORIES)
ORDINAL = ["#fde725", "#7ad151", "#22a884", "#2a788e", "#414487", "#440154"]  # viridis: for numbers, which have an order


def pairs(points: pl.DataFrame, names: tuple[str, str, str], title: str, dark: bool = False, size: int = 400) -> alt.HConcatChart:
    """Coordinates x–y and y–z of `points` (side, x, y, z, group, prompt_id, text), side by side.

    A brush in one dims everything else in both; a click in the legend dims the other groups.
    """
    groups, numbers = _groups(points["group"])
    shown = points.with_columns(
        group=pl.col("group") if numbers else pl.when(pl.col("group").is_in(groups)).then(pl.col("group")).otherwise(pl.lit(OTHERS)),
        text=pl.col("text").map_elements(visible, return_dtype=pl.String),
    )
    brush, pick = alt.selection_interval(name="brush", resolve="union"), alt.selection_point(name="legend", fields=["group"], bind="legend")
    flat = bool((points["z"] == 0).all())
    colour = _colour(groups, numbers, title, OTHERS in shown["group"], dark)
    charts = [_scatter(shown, a, b, names, colour, brush & pick, size) for a, b in [("x", "y")] + [("y", "z")] * (not flat)]
    return alt.hconcat(*charts, spacing=28).add_params(brush, pick).resolve_legend(color="shared", shape="shared")


def axes(method: str, explained: list[float] | None) -> tuple[str, str, str]:
    """Titles of x, y, z: components with the share of the variance they hold."""
    if not explained:
        return tuple(f"{method.upper()} {i}" for i in (1, 2, 3))
    return tuple(f"PC{i + 1} ({explained[i]:.0%})" if i < len(explained) else f"PC{i + 1}" for i in range(3))


def _scatter(rows, a: str, b: str, names, colour, lit, size: int) -> alt.Chart:
    title = dict(zip("xyz", names))
    grid = alt.Axis(tickCount=5, domain=False, ticks=False)
    return alt.Chart(rows).mark_point(filled=True, size=34).encode(
        x=alt.X(f"{a}:Q", title=title[a], axis=grid, scale=alt.Scale(zero=False)), y=alt.Y(f"{b}:Q", title=title[b], axis=grid, scale=alt.Scale(zero=False)),
        color=colour, shape=alt.Shape("side:N", title=None, scale=alt.Scale(domain=["query", "key"], range=["triangle-up", "circle"]), legend=alt.Legend(orient="bottom", symbolSize=90)),
        opacity=alt.condition(lit, alt.value(0.75), alt.value(0.06)),
        tooltip=["side:N", alt.Tooltip("group:N", title="label"), alt.Tooltip("text:N", title="token"), alt.Tooltip("prompt_id:Q", title="prompt", format="d")],
    ).properties(width=size, height=size * 0.85)


def _groups(column: pl.Series) -> tuple[list[str], bool]:
    """The groups that get a colour, and whether they are numbers: those are all drawn, on a ramp."""
    values = column.unique().drop_nulls().to_list()
    if all(v.lstrip("-").isdigit() for v in values):
        return sorted(values, key=int), True
    counts = column.value_counts(sort=True)["group"].to_list()
    return sorted(counts if len(counts) <= MOST_GROUPS else counts[: MOST_GROUPS]), False


def _colour(groups: list[str], numbers: bool, title: str, others: bool, dark: bool) -> alt.Color:
    legend = alt.Legend(orient="bottom", columns=10, symbolType="square", symbolSize=90, labelLimit=120)
    if numbers:
        return alt.Color("group:O", title=title, sort=groups, scale=alt.Scale(domain=groups, range=_ramp(len(groups))), legend=legend)
    domain, colours = groups + [OTHERS] * others, list(palette.CATEGORIES[: len(groups)]) + [palette.quiet(dark)] * others
    return alt.Color("group:N", title=title, scale=alt.Scale(domain=domain, range=colours), legend=legend)


def _ramp(n: int) -> list[str]:
    """n colours along the ordinal ramp."""
    def mix(at: float) -> str:
        i = min(int(at), len(ORDINAL) - 2)
        low, high = ([int(ORDINAL[j][c : c + 2], 16) for c in (1, 3, 5)] for j in (i, i + 1))
        return "#" + "".join(f"{round(a + (b - a) * (at - i)):02x}" for a, b in zip(low, high))

    return [mix((len(ORDINAL) - 1) * (i / max(n - 1, 1))) for i in range(n)]
