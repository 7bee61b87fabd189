"""The choice of a second contrast, or a second run, to set beside the first, and how the two differ."""

from __future__ import annotations

from functools import partial

import polars as pl
import streamlit as st

from dashboard import job, panel, results, shell, state
from dashboard.contrasts import offered
from dashboard.heads import map as maps
from dashboard.heads.ranked import ranked
from dashboard.state import View
from dashboard.text import line, plain
from qkstore import charts
from qkstore.analysis import heads
from qkstore.analysis.heads import Comparison, HeadScore
from qkstore.contrast import Contrast
from qkstore.run import Run
from qkstore.store.catalog import full_name
from qkstore.text import visible

Asked = tuple[Run, Contrast]


def choice(view: View, contrast_place, run_place) -> Asked | None:
    """What to compare with, in these two places; None where it is what the page shows already."""
    runs = {run.name: run for run in view.store.scan()[0]}
    with run_place:
        name = state.select("on run", "on", list(runs), view.run.name, shown=lambda r: _own(r, view.run.name))
    run = runs[name]
    named = view.named if name == view.run.name else offered.versioned(view.store, run)[0]
    options = list(named) if view.name in named else [state.NONE, *named]
    with contrast_place:
        contrast = state.select(
            "Compare with",
            "with",
            options,
            view.name if view.name in named else state.NONE,
            shown=lambda c: _own(c, view.name),
            also=offered.newest(named),
            help="A second contrast, the same one on another run, or both: two maps and their difference.",
        )
    if contrast == state.NONE:
        line(f"Run {name} has no contrast {view.name}: choose another one to compare with.")
        return None
    asked = run, heads.scored_by(named, contrast)
    return None if (name, contrast) == (view.run.name, view.name) else asked


def _own(option: str, own: str) -> str:
    return f"{option} (this one)" if option == own else option


def compared(view: View, asked: Asked, others: list[HeadScore], by: str) -> Comparison | None:
    """How the view's heads differ from another contrast's, or another run's; None where heads cannot be matched."""
    first = view.run, view.contrast
    if heads.unmatched(view.run, asked[0]):
        return None
    return heads.compare(first, asked, results.heads(*first), others, _pairing(first, asked), by)


def _pairing(first: Asked, second: Asked) -> heads.Pairing:
    """What the two have in common; the first time with a progress bar that counts, and a button that ends it."""
    key, place = tuple((results.identity(run), contrast.key) for run, contrast in (first, second)), st.empty()
    if (known := _pairings().get(key)) is not None:
        return known
    store = shell.store()
    with place.container():
        found = job.done(
            ("pairing", key),
            lambda progress: heads.kept_pairing(store, first, second, progress),
            f"Comparing the heads of {first[0].name}",
            "Compared {done} of {of} heads",
            "Cancelled. Choose a run and a contrast to compare with.",
        )
    place.empty()
    return results.remember(_pairings(), results.MOST_SCORES, key, found)


@st.cache_resource(max_entries=1)
def _pairings() -> dict:
    return {}


def figures(comparison: Comparison, scores: list[HeadScore], others: list[HeadScore]) -> list[tuple[str, str, str]]:
    """The cards of a comparison: whose heads carry it, and what the largest difference is."""
    (first, second), n = comparison.labels, len(scores)
    row, differ = comparison.largest, int(comparison.table["clear"].fill_null(False).sum())
    told = (
        f"{comparison.value(row['first'])} for {first}, {comparison.value(row['second'])} for {second}" if row else ""
    )
    of = "points" if comparison.unit else heads.MEASURES[comparison.by][0].lower()
    return [
        (f"Selected, {first}", f"{len(heads.selected(scores)):,}", f"of {n:,}, clear of chance"),
        (f"Selected, {second}", f"{len(heads.selected(others)):,}", f"of {n:,}, clear of chance"),
        ("Heads that differ", f"{differ:,}", f"of {n:,}, clear of 0 for all together"),
        (
            "Largest difference",
            f"L{row['layer']} H{row['head']} {comparison.points(row['difference'])}" if row else "none",
            f"{of}: {told}" if row else f"no head is clear of 0 for all {n:,} together",
        ),
    ]


def maps_beside(view: View, by: str, asked: Asked, others: list[HeadScore], comparison: Comparison | None) -> None:
    """The two maps on one scale, and that of the difference where heads can be matched."""
    scores, other = heads.table(results.heads(view.run, view.contrast), by), heads.table(others, by)
    chosen = view.layer, view.head
    labels = comparison.labels if comparison else (view.run.name, asked[0].name)
    drawn = {
        "map": partial(charts.head_map, scores, by, chosen, beside=other),
        "map beside": partial(charts.head_map, other, by, chosen if comparison else (-1, -1), beside=scores),
    }
    told = dict(zip(drawn, labels, strict=True))
    if comparison:
        drawn["difference map"] = partial(charts.difference_map, comparison.table, by, chosen, labels)
        told["difference map"] = f"{labels[0]} less {labels[1]}"
    for place, (what, chart) in zip(st.columns(len(drawn), border=True), drawn.items(), strict=True):
        with place:
            st.subheader(plain(told[what]), anchor=False)
            maps.draw(view, chart, what, by, chosen=comparison is not None or what == "map")
    if comparison:
        line(comparison.sentence, "sentence")
        line(comparison.statement)
    else:
        line(f"{heads.unmatched(view.run, asked[0])}. The two stand side by side.")
    line(maps.MARKS)
    maps.keyboard(view, [maps.key(view, what, by) for what in drawn if comparison or what == "map"])


def differences(view: View, comparison: Comparison) -> None:
    """The table of differences, those clear of 0 first."""
    first, second = comparison.labels
    share = {"format": "percent"} if comparison.unit else {"format": "%.2f"}
    ends = [
        None if low is None else f"{comparison.points(low)} to {comparison.points(high)}"
        for low, high in comparison.table.select("low", "high").iter_rows()
    ]
    shown = comparison.table.select("layer", "head", "first", "second", "difference").with_columns(
        interval=pl.Series(ends, dtype=pl.String), clear=comparison.table["clear"]
    )
    number = st.column_config.NumberColumn
    columns = {
        "first": number(visible(first), **share),
        "second": number(visible(second), **share),
        "difference": number("Difference", **share),
        "interval": st.column_config.TextColumn(f"95 % interval{comparison.unit and ', points'}", help=ONE),
        "clear": st.column_config.CheckboxColumn("Clear of 0", help=TOGETHER),
    }
    ranked(view, shown, columns, "by difference")
    panel.csv(view, comparison.table, "differences")


ONE = "Of this one head."
TOGETHER = "Whether 0 lies outside the interval when it is widened for all heads together (Bonferroni)."


def reproduce(view: View, by: str, asked: Asked | None, matched: bool) -> None:
    """The page without the dashboard: its scores, and of two that can be matched head by head their comparison."""
    at, options, lines = (view.layer, view.head), {}, ["scores = heads.heads(run, contrast)"]
    drawn = f"charts.head_map(heads.table(scores, {by!r}), {by!r}, {at})"
    if asked:
        run, contrast = asked
        name, same = full_name(contrast), run.name == view.run.name
        other = "run" if same else f"store.run({run.name!r})"
        lines = [f"other_run = {other}", f"(other,) = store.feature(other_run, {name!r})", *lines]
    if asked and matched:
        lines[-1] = f"comparison = heads.compared(store, (run, contrast), (other_run, other), {by!r})"
        lines += ["print(comparison.sentence)", "print(comparison.table)"]
        with_ = None if name == view.one else name
        options = {"compare-with": with_, "compare-run": None if same else run.name, "by": by}
        drawn = f"charts.difference_map(comparison.table, {by!r}, {at}, comparison.labels)"
    elif asked:
        lines += ["others = heads.heads(other_run, other)", f"print(heads.table(others, {by!r}))"]
    else:
        lines += [f"print(heads.table(scores, {by!r}))"]
    command = panel.command("heads", view, view.one, head=False, **options)
    panel.reproduce(command, panel.python(view, "from qkstore.analysis import heads", *lines), view, drawn)
