"""`qkstore.show`: the chart that a page draws of a result, in a notebook."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import altair as alt

from qkstore import analysis, charts
from qkstore.analysis import attribution, evidence, variations
from qkstore.analysis import heads as analysis_heads
from qkstore.analysis import swaps as analysis_swaps
from qkstore.charts.palette import WIDTH
from qkstore.contrast import Contrast, labels
from qkstore.contrast.builtin import feature, features
from qkstore.contrast.example import prompts
from qkstore.errors import ContrastError, RunError, near
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store import open as open_store

What = Literal[
    "heads",
    "singular_values",
    "correlations",
    "matrix",
    "null",
    "growth",
    "angles",
    "projection",
    "swaps",
    "query_swaps",
    "doses",
    "attribution",
]
SQUARE = 360  # pixels, a side of a matrix in a notebook


def show(
    run: Run | str,
    contrast: Contrast | str,
    layer: int,
    head: int,
    what: What = "swaps",
    *,
    other: Contrast | str | None = None,
    prompt: int | None = None,
    store: Store | str | os.PathLike | None = None,
    dark: bool = False,
) -> alt.TopLevelMixin:
    """The page's chart of one head under one contrast, as an Altair chart that a notebook displays.

    what:
        heads            all heads by accuracy, this one ringed (page Heads)
        singular_values  of ΔC; those that hold 99 % of ‖ΔC‖² are blue (page Subspaces, as the next five)
        correlations     canonical correlations of queries and key contrasts, beside chance
        matrix           ΔC itself
        null             ‖ΔC‖ beside random deals of the signs
        growth           99 % rank against the number of label values that go in
        angles           principal angles to the subspace of `other`
        projection       queries on U and keys on V, then PCA of both (page Projections)
        swaps            attention before and after two keys exchange their coordinates (page Interventions)
        query_swaps      the same where a query takes on another's coordinates
        doses            attention as the keys exchange their coordinates step by step
        attribution      the parts of the logits of one prompt, `prompt` or the first judged one (page Attributions)

    other: a second contrast, which angles needs; swaps, query_swaps and attribution take both where there are two.
    store: where names of runs and saved contrasts are looked up, a Store or its directory; by default the one that
    holds the Run, or for a name $QKSTORE, then ./store.

    Raises a QKStoreError of one line for a `what`, run, contrast, layer, head or prompt that is not there.
    """
    if what not in _CHARTS:
        raise RunError(f"no chart {what!r} to show; {near(str(what), _CHARTS, most=len(_CHARTS))}")
    asked = _ask(run, contrast, layer, head, other, prompt, _store(run, store), dark)
    chart = _CHARTS[what](asked)
    if getattr(chart, "width", None) == "container":  # a page's place has a width, a notebook's cell has none
        chart = chart.properties(width=WIDTH)
    return chart


@dataclass(frozen=True)
class _Asked:
    """features: {name: contrasts} of the contrast, then of the other. one: the contrast; of a span, the pooled one."""

    store: Store | None
    run: Run
    features: dict[str, analysis.Contrasts]
    one: Contrast
    layer: int
    head: int
    prompt: int | None
    dark: bool

    @property
    def at(self) -> tuple[Run, Contrast, int, int]:
        return self.run, self.one, self.layer, self.head

    @property
    def contrasts(self) -> analysis.Contrasts:
        return next(iter(self.features.values()))


def _store(run: Run | str, store: Store | str | os.PathLike | None) -> Store | None:
    """The store that was named, or else the one that the run lies in; None for a run file that lies in none."""
    if isinstance(store, Store):
        return store
    if store is not None or isinstance(run, str):
        return open_store(store)
    return open_store(run.path.parent.parent) if run.path.parent.name == "runs" else None


def _ask(run, contrast, layer, head, other, prompt, store: Store | None, dark: bool) -> _Asked:
    run = store.run(run) if isinstance(run, str) else run
    run.layer(layer, head)
    saved = store.catalog.contrasts() if store else []
    named = {
        **({contrast: feature(run, contrast, saved)} if isinstance(contrast, str) else {contrast.name: (contrast,)}),
        **({other: feature(run, other, saved)} if isinstance(other, str) else {other.name: (other,)} if other else {}),
    }
    one = analysis_heads.scored_by(features(run, saved), contrast) if isinstance(contrast, str) else contrast
    return _Asked(store, run, named, one, layer, head, prompt, dark)


def _heads(a: _Asked):
    scores = analysis_heads.kept(a.store, a.run, a.one) if a.store else analysis_heads.heads(a.run, a.one)
    return charts.head_map(analysis_heads.table(scores, "accuracy"), "accuracy", (a.layer, a.head), a.dark)


def _singular_values(a: _Asked):
    space = analysis.covariance(*a.at).subspace
    return charts.singular_values(space.S, space.rank, a.dark, height=220)


def _correlations(a: _Asked):
    of = evidence.dimension(*a.at).canonical
    return charts.canonical_correlations(of.values, of.chance, a.dark)


def _matrix(a: _Asked):
    return charts.matrix(analysis.covariance(*a.at).delta, "ΔC", a.dark, size=SQUARE).properties(width=SQUARE)


def _null(a: _Asked):
    null = evidence.null(*a.at)
    if not null.dealt:
        raise ContrastError(f"contrast {a.one.name!r} gives each query keys of one sign only: there is none to deal")
    return charts.null_strip(null.norm, null.norms, a.dark)


def _growth(a: _Asked):
    grown = evidence.growth(*a.at)
    return charts.rank_growth(grown.table, grown.label, a.dark)


def _angles(a: _Asked):
    if len(a.features) < 2:
        raise ContrastError(
            f"angles are between two subspaces: name a second contrast beside {a.one.name!r} as `other`"
        )
    return charts.angles(evidence.compare(a.run, *a.features.values(), a.layer, a.head).angles, a.dark)


def _projection(a: _Asked):
    q_label, k_label = labels(a.run, a.one)
    points = analysis.project(a.run, a.contrasts, a.layer, a.head, q_label, k_label)
    return charts.point_pairs(points.table, charts.axes("pca", points.explained), f"{q_label} / {k_label}", a.dark)


def _swaps(a: _Asked, swap: Callable = analysis.intervene):
    return charts.swap_bars(swap(a.run, a.features, a.layer, a.head).to_dict()["conditions"], a.dark)


def _query_swaps(a: _Asked):
    return _swaps(a, analysis_swaps.intervene_queries)


def _doses(a: _Asked):
    return charts.dose_curves(variations.response(a.run, a.contrasts, a.layer, a.head).table, a.dark)


def _attribution(a: _Asked):
    prompt = a.prompt
    if prompt is None:
        split = analysis.judge_split(a.run)
        first = prompts(a.run, split, 1)
        if not first:
            raise RunError(f"run {a.run.name!r} has no {split or ''} prompt with a stored query")
        prompt = first[0]["prompt_id"]
    parts = attribution.attribute(a.run, a.features, a.layer, a.head, prompt)
    return charts.attribution_bars(parts.tokens, parts.order, a.dark)


_CHARTS: dict[str, Callable[[_Asked], alt.TopLevelMixin]] = {
    "heads": _heads,
    "singular_values": _singular_values,
    "correlations": _correlations,
    "matrix": _matrix,
    "null": _null,
    "growth": _growth,
    "angles": _angles,
    "projection": _projection,
    "swaps": _swaps,
    "query_swaps": _query_swaps,
    "doses": _doses,
    "attribution": _attribution,
}
