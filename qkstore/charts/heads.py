"""The map of all heads by any of their scores, and the map of how two tables of scores differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np
import polars as pl

from qkstore.analysis.decomposition import COUNTED
from qkstore.analysis.heads import MEASURES
from qkstore.analysis.heads.measure import WITH_INTERVAL, reference
from qkstore.charts import palette
from qkstore.text import number, percent, visible

FORMATS = {
    "accuracy": ".0%",
    "selectivity": ",.1f",
    "attention_positive": ".0%",
    "attention_negative": ".0%",
    "strength": ",.1f",
    "p_value": ".2~g",
    "rank": "d",
    "number": "d",
    "clear": "d",
    "carried": ".0%",
    "explained": ".0%",
    "unnamed": ".0%",
}
FEW_CELLS = 80  # up to this many heads, each cell has room for its value
MOST_RATIO = 1000.0  # a selectivity beyond has no colour of its own
STROKE = "\N{BOX DRAWINGS LIGHT DIAGONAL UPPER RIGHT TO LOWER LEFT}"  # through a cell without a value


@dataclass(frozen=True)
class Shading:
    """Colours of a measure: `colours` at the values `domain`, on a log scale or not; `named`: {value: its label}."""

    domain: list[float]
    colours: list[str]
    named: Mapping[float, str]
    log: bool = False

    def scale(self) -> alt.Scale:
        kind = {"type": "log"} if self.log else {}
        return alt.Scale(domain=self.domain, range=self.colours, clamp=True, interpolate="rgb", **kind)

    def dark(self, values: Sequence[float | None]) -> list[bool]:
        """Whether the colour of each value is a dark one, so that text on it is light."""
        found = np.array([np.nan if v is None else v for v in values], float)
        domain = np.array(self.domain, float)
        if self.log:
            found, domain = np.log(np.maximum(found, domain[0])), np.log(domain)
        parts = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in self.colours], float)
        light = sum(w * np.interp(found, domain, parts[:, i]) for i, w in enumerate((0.299, 0.587, 0.114)))
        return (light < 140).tolist()


def shading(by: str, tables: Sequence[pl.DataFrame], dark: bool = False) -> Shading:
    """The colours of a measure, the same for all tables: white or grey where it is what chance gives.

    Where the tables have different levels of chance, there is one ramp from 0, and `named` is the first one's.
    """
    values = [v for t in tables for v in t[by].drop_nulls().to_list()]
    chances = [next(iter(t["chance"].drop_nulls()), None) if "chance" in t.columns else None for t in tables]
    place, top = reference(by, chances[0]), max(values, default=1.0)
    named = {place[0]: place[1]} if place else {}
    low, *rest = palette.ramp(dark)
    if by == "accuracy":
        if place and len(set(chances)) == 1:
            return Shading([0.0, place[0], 1.0], palette.signed(dark), named)
        return Shading([0.0, 0.33, 0.67, 1.0], [low, *rest], named)
    if by == "selectivity":
        least = min((v for v in values if v > 0), default=1.0)
        far = min(max(top, 1 / least, 2.0), MOST_RATIO)
        return Shading([1 / far, 1.0, far], palette.signed(dark), named, log=True)
    if by == "strength":
        return Shading([0.0, 1.0, max(top, 2.0)], [low, palette.quiet(dark), palette.BLUE], named)
    if by == "p_value":
        return Shading([0.0, place[0] if place else 0.05, 1.0], [palette.BLUE, palette.SKY, low], named)
    top = float(top) or 1.0
    return Shading([0.0, top / 3, 2 * top / 3, top], [low, *rest], named)


def head_map(
    scores: pl.DataFrame,
    by: str,
    chosen: tuple[int, int],
    dark: bool = False,
    beside: pl.DataFrame | None = None,
) -> alt.LayerChart:
    """A cell for each head, layer by head, coloured by a column of MEASURES; the chosen head is ringed.

    A strong edge is a head clear of chance, a diamond a selected one, a stroke one without a value. Clicking selects
    layer and head. beside: another table, to share the colours with.
    """
    shades = shading(by, [scores] if beside is None else [scores, beside], dark)
    columns = {
        "value": scores[by],
        "shown": [_shown(by, v) for v in scores[by].to_list()],
        "interval": _intervals(by, scores),
        "is_clear": _column(scores, "clear", False),
        "kind": _column(scores, "selected", ""),
        "why": _column(scores, "missing", ""),
        "queries": _column(scores, "n_queries", 0),
    }
    named, name = [f"{label} {_shown(by, at)}" for at, label in shades.named.items()], MEASURES[by][0]
    tips = {"shown": name, "interval": "95 % interval", "queries": "Queries", "kind": "Selected", "why": "No value"}
    about, told = _about(scores, by, name, named), ", ".join([name, *named])
    return _grid(scores, columns, tips, shades, told, FORMATS[by], chosen, dark, about, narrow=beside is not None)


def component_map(rows: pl.DataFrame, by: str, chosen: tuple[int, int], dark: bool = False) -> alt.LayerChart:
    """A cell for each head, layer by head, coloured by one of COUNTED; the chosen head is ringed.

    rows: of qkstore.analysis.decomposition.table. A strong edge is a head whose number's interval leaves 0 out, a
    stroke one that has no value. Clicking selects layer and head.
    """
    name = COUNTED[by][0]
    interval = [
        "" if by != "number" or low is None else f"{low} to {high}" for low, high in rows[["low", "high"]].iter_rows()
    ]
    columns = {
        "value": rows[by],
        "shown": [_shown(by, v) for v in rows[by].to_list()],
        "interval": interval,
        "is_clear": (rows["low"].fill_null(0) > 0).to_list(),
        "kind": [""] * len(rows),
        "label": _column(rows, "label", ""),
        "why": _column(rows, "why", ""),
        "queries": rows["n_built"],
    }
    tips = {"shown": name, "interval": "95 % interval", "label": "Label", "queries": "Queries", "why": "No value"}
    shades = shading(by, [rows], dark)
    if FORMATS[by] == ".0%":
        shades = Shading([0.0, 0.33, 0.67, 1.0], shades.colours, {})
    about = _about(rows, by, name, [])
    return _grid(rows, columns, tips, shades, name, FORMATS[by], chosen, dark, about, narrow=False)


def difference_map(
    differences: pl.DataFrame, by: str, chosen: tuple[int, int], labels: tuple[str, str], dark: bool = False
) -> alt.LayerChart:
    """The difference of a measure head by head (see qkstore.analysis.heads.compare): blue where the first has more.

    A strong edge is a difference clear of 0 for all heads together.
    """
    values = differences["difference"].to_list()
    far = max((abs(v) for v in values if v is not None), default=0.0) or 1.0
    share = FORMATS[by] == ".0%"
    spec = "+.0%" if share else "+,.2f"
    shades = Shading([-far, 0.0, far], palette.signed(dark), {0.0: "equal"})
    columns = {
        "value": differences["difference"],
        "shown": [_signed(v, share) for v in values],
        "first": [_shown(by, v) for v in differences["first"].to_list()],
        "second": [_shown(by, v) for v in differences["second"].to_list()],
        "interval": [
            "" if low is None else f"{_signed(low, share)} to {_signed(high, share)}"
            for low, high in differences.select("low", "high").iter_rows()
        ],
        "is_clear": differences["clear"].fill_null(False),
        "kind": [""] * len(differences),
        "why": ["" if v is not None else "one of the two has none" for v in values],
    }
    first, second = labels
    tips = {"shown": "Difference", "first": first, "second": second, "interval": "95 % interval", "why": "No value"}
    title = f"{MEASURES[by][0]}, difference"
    about = f"{title} of {first} less {second}, of {len(differences):,} heads; {sum(columns['is_clear']):,} clear of 0."
    return _grid(differences, columns, tips, shades, title, spec, chosen, dark, about, narrow=True)


def _grid(
    table: pl.DataFrame,
    columns: Mapping[str, object],
    tips: Mapping[str, str],
    shades: Shading,
    title: str,
    spec: str,
    chosen: tuple[int, int],
    dark: bool,
    about: str,
    narrow: bool,
) -> alt.LayerChart:
    """The cells, what marks them, and the ring. narrow: the chart has about 300 pixels."""
    cells = pl.DataFrame({"layer": table["layer"], "head": table["head"], **columns})
    layers, heads = (sorted(set(table[name].to_list())) for name in ("layer", "head"))
    few, ink = len(cells) <= FEW_CELLS, palette.ink(dark)
    at = {
        "x": alt.X("head:O", title="Head", axis=sparse_axis(heads)),
        "y": alt.Y("layer:O", title="Layer", sort=layers[::-1], axis=sparse_axis(layers)),
    }
    legend = alt.Legend(
        orient="top",
        titleOrient="top" if narrow else "left",
        titleFontWeight="normal",
        gradientLength=160,
        gradientThickness=9,
        format=spec,
        values=_ticks(shades),
    )
    colour = alt.Color("value:Q", title=title, scale=shades.scale(), legend=legend)
    there, clear = "isValid(datum.value)", "datum.is_clear"
    pick = alt.selection_point(name="pick", fields=["layer", "head"], toggle=False, empty=False)
    told = {"layer": "Layer", "head": "Head", **tips}
    tooltip = [alt.Tooltip(f"{name}:N", title=visible(text)) for name, text in told.items()]
    base = alt.Chart(cells)
    drawn = base.mark_rect(cornerRadius=2 if few else 0, cursor="pointer", invalid="show").encode(
        **at,
        color=colour,
        # a cell at chance has the page's own colour: its edge alone is seen
        stroke=alt.condition(clear, alt.value(ink), alt.value(palette.quiet(dark))),
        strokeWidth=alt.condition(clear, alt.value(1.4 if few else 0.8), alt.value(0.7 if few else 0.4)),
        tooltip=tooltip,
    )
    parts = [drawn.add_params(pick)]
    if cells["value"].null_count():
        strokes = base.transform_filter(f"!{there}").mark_text(text=STROKE, fontSize=16 if few else 8, color=ink)
        parts.append(strokes.encode(**at))
    if few:
        light = pl.Series("light", shades.dark(cells["value"].to_list()))
        text = alt.condition("datum.light", alt.value("#ffffff"), alt.value("#10161d"))
        words = alt.Chart(cells.with_columns(light)).transform_filter(there)
        parts.append(words.mark_text(fontSize=13).encode(**at, text=alt.Text("value:Q", format=spec), color=text))
    inside = {name: at[name].copy() for name in at}
    if few:
        inside["x"].bandPosition, inside["y"].bandPosition = 0.9, 0.16
    marks = base.transform_filter("datum.kind != ''").mark_point(
        shape="diamond", filled=True, size=90 if few else 22, fill=palette.ramp(dark)[0], stroke=ink, strokeWidth=1
    )
    ring = base.transform_filter((alt.datum.layer == chosen[0]) & (alt.datum.head == chosen[1])).mark_rect(
        filled=False, stroke=palette.CHOSEN, strokeWidth=3 if few else 2, cornerRadius=2
    )
    parts += [marks.encode(**inside), ring.encode(**at)]
    tall = len(layers) * (72 if len(heads) <= 16 else 34)
    return (
        alt.layer(*parts)
        .properties(height=min(tall, max(480, 8 * len(layers))) + 110, width="container", description=about)
        .configure_axis(grid=False)
        .configure_scale(
            bandPaddingInner=0.06 if few else 0.02,
            invalid=alt.ScaleInvalidDataConfig(color=alt.ScaleInvalidDataShowAsValuecolor(palette.quiet(dark))),
        )
    )


def _ticks(shades: Shading) -> list[float]:
    """The legend's values: its ends, and where chance lies if that is not near either."""
    low, high = shades.domain[0], shades.domain[-1]
    place = {v: np.log(v / low) / np.log(high / low) if shades.log else (v - low) / (high - low) for v in shades.named}
    return [low, *(v for v, share in place.items() if 0.2 < share < 0.8), high]


def _shown(by: str, value: float | None) -> str:
    if FORMATS[by] == ".0%":
        return percent(value)
    if value is None or by == "p_value":
        return "–" if value is None else format(value, ".2g")
    return number(value, 0 if FORMATS[by] == "d" else 2)


def _signed(value: float | None, share: bool) -> str:
    return "–" if value is None else f"{100 * value:+.0f} %" if share else f"{value:+,.2f}"


def _intervals(by: str, scores: pl.DataFrame) -> list[str]:
    ends = [f"{by}_low", f"{by}_high"]
    if by not in WITH_INTERVAL or not set(ends) <= set(scores.columns):
        return [""] * len(scores)
    return ["" if low is None else f"{_shown(by, low)} to {_shown(by, high)}" for low, high in scores[ends].iter_rows()]


def _column(scores: pl.DataFrame, name: str, default: object) -> list:
    return scores[name].fill_null(default).to_list() if name in scores.columns else [default] * len(scores)


def _about(scores: pl.DataFrame, by: str, name: str, named: Sequence[str]) -> str:
    """What the map says, for those who do not see it."""
    there = scores.filter(pl.col(by).is_not_null()).sort(by)
    if not len(there):
        return f"{name} of {len(scores):,} heads: none has a value."
    (least, *_), (*_, most) = there.head(1).to_dicts(), there.tail(1).to_dicts()
    ends = [f"{_shown(by, row[by])} (layer {row['layer']}, head {row['head']})" for row in (least, most)]
    return f"{name} of {len(scores):,} heads, from {ends[0]} to {ends[1]}{'; ' if named else ''}{', '.join(named)}."


def sparse_axis(values: Sequence[int]) -> alt.Axis:
    """Every label where there are few, every fourth or so where there are many."""
    return alt.Axis(values=values[:: max(1, len(values) // 8)], labelAngle=0, domain=False, ticks=False, labelPadding=6)
