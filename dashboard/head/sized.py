"""The figures and charts of one head: accuracy, null, rank and swap, each of which may be what a contrast has not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import streamlit as st

from dashboard import panel, results, shell, state
from dashboard.state import View
from dashboard.text import line
from qkstore import charts
from qkstore.analysis import Covariance, Intervention, Points, PromptAttribution
from qkstore.analysis.evidence import Dimension, Null
from qkstore.errors import QKStoreError
from qkstore.text import p_value, percent, split_name

if TYPE_CHECKING:
    from qkstore.score import Score

T = TypeVar("T")
POINTS = 400  # of the small projection
NOT_HERE = "not here: see below"


@dataclass(frozen=True)
class Part(Generic[T]):
    """A result, or in one line why there is none."""

    value: T | None
    why: str = ""


@dataclass(frozen=True)
class Sized:
    """What the top of the page shows of a head."""

    score: Part[Score]
    fitted: Part[Covariance]
    null: Part[Null]
    dimension: Part[Dimension]
    swapped: Part[Intervention]
    points: Part[Points]


def of(view: View) -> Sized:
    """All of it, computed once for all sessions."""
    at = view.layer, view.head
    with st.spinner("Measuring the head"):
        return Sized(
            _part(results.judged, view.run, view.contrast, *at),
            _part(results.covariance, view.run, view.contrast, *at),
            _part(results.permuted, view.run, view.contrast, *at),
            _part(results.dimensions, view.run, view.contrast, *at),
            _part(results.intervene, view.run, {view.name: view.contrasts}, *at),
            _part(_points, view),
        )


def _points(view: View) -> Points:
    labels = results.labels(view.run, view.contrast)
    return results.project(view.run, view.contrasts, view.layer, view.head, *labels, most=POINTS)


def _part(compute: Callable[..., T], *given) -> Part[T]:
    try:
        return Part(compute(*given))
    except QKStoreError as error:
        return Part(None, str(error))


# -- figures ---------------------------------------------------------------------------------------------------------


def figures(of: Sized, d_head: int) -> None:
    """Four cards, and under them why one of them has no value."""
    cards = [_accuracy(of.score.value), _null(of.null.value), _rank(of, d_head), _swap(of.swapped.value)]
    panel.figures(cards)
    for why in dict.fromkeys(p.why for p in (of.score, of.null, of.dimension, of.swapped) if p.why):
        line(shell.public(why))


def _accuracy(score: Score | None) -> tuple[str, str, str]:
    if score is None:
        return "Accuracy", panel.MISSING, NOT_HERE
    if not score.n:
        return "Accuracy", panel.MISSING, "no query has keys of both signs"
    low, high = score.accuracy_ci
    return (
        "Accuracy",
        percent(score.accuracy),
        f"chance {percent(score.chance)}, n = {score.n:,}; 95 % interval {percent(low)}–{percent(high)}",
    )


def _null(null: Null | None) -> tuple[str, str, str]:
    title = "‖ΔC‖ ÷ null"
    if null is None:
        return title, panel.MISSING, NOT_HERE
    if null.ratio is None:
        return title, panel.MISSING, no_ratio(null)
    return title, f"{null.ratio:.2f}", p_value(null.p_value, len(null.norms))


def no_ratio(null: Null) -> str:
    """Why ‖ΔC‖ has no ratio to its null; one of 0 is that of queries, or key contrasts, that do not differ."""
    return "its null is 0: queries or key contrasts alike" if null.dealt else "no null: keys of one sign a query"


def _rank(of: Sized, d_head: int) -> tuple[str, str, str]:
    if of.fitted.value is None:
        return "Rank", panel.MISSING, NOT_HERE
    shown = f"{of.fitted.value.subspace.rank} of {d_head}"
    if of.dimension.value is None:
        return "Rank", shown, "too few queries to test it"
    tested = of.dimension.value.rank
    return "Rank", shown, f"cross-validated {tested.cross_validated}, statistical {tested.statistical}"


def _swap(swapped: Intervention | None) -> tuple[str, str, str]:
    title = "Swap moves attention"
    if swapped is None:
        return title, panel.MISSING, NOT_HERE
    own, at_random = swapped.conditions[0], swapped.conditions[-1]
    told = f"random {percent(at_random.delta_p, 1)} ({at_random.bases} of rank {at_random.rank}), n = {swapped.n:,}"
    return title, percent(own.delta_p, 1), told


# -- charts ----------------------------------------------------------------------------------------------------------


def small(view: View, of: Sized, attributed: Part[PromptAttribution]) -> None:
    """Four small charts, each with the line that says what it is of."""
    drawn = (
        ("Spectrum", of.fitted, _spectrum),
        ("Swap", of.swapped, _bars),
        ("Projection", of.points, _projection),
        ("Attribution", attributed, _attribution),
    )
    for place, (title, part, draw) in zip(st.columns(len(drawn), border=True), drawn, strict=True):
        with place:
            st.subheader(title, anchor=False)
            if part.value is None:
                line(shell.public(part.why))
            else:
                draw(view, part.value)


def _spectrum(view: View, fitted: Covariance) -> None:
    panel.chart(
        partial(charts.singular_values, fitted.subspace.S, fitted.subspace.rank, height=charts.HEIGHT), "spectrum"
    )
    line(f"Singular values of ΔC; blue ones hold 99 % of ‖ΔC‖². {split_name(fitted.split).capitalize()} split.")


def _bars(view: View, swapped: Intervention) -> None:
    rows = [c.to_dict() for c in swapped.conditions]
    panel.chart(partial(charts.small_swap, rows), "swap")
    line(f"Attention before (pale) and after. {split_name(swapped.split).capitalize()} split, n = {swapped.n:,}.")


def _projection(view: View, points: Points) -> None:
    names = charts.axes("pca", points.explained)
    panel.chart(partial(charts.small_points, points.table, names), "projection")
    line(
        f"Triangles are queries, circles keys: {points.shown:,} of {points.total:,}, {split_name(points.split)} split."
    )


def _attribution(view: View, parts: PromptAttribution) -> None:
    panel.chart(partial(charts.small_attribution, parts.tokens, parts.order), "attribution")
    line(f"Logits of prompt {parts.prompt_id}, chosen below, on its most attended keys of {len(parts.tokens)}.")


def attribution(view: View, prompt_id: int, query_row: int) -> Part[PromptAttribution]:
    """Of a query, by the contrast and its partner in the paper."""
    other = state.PARTNERS.get(view.name)
    beside = [other] if other in view.named and state.paired(view, other) else []
    features = {name: view.named[name] for name in (view.name, *beside)}
    return _part(results.attribute, view.run, features, view.layer, view.head, prompt_id, query_row)
