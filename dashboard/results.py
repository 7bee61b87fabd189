"""The library's results, kept between the runs of a page: one entry for each run file, contrast, head and option."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import polars as pl
import streamlit as st

from dashboard import job, shell
from dashboard.points import scatter
from qkstore import analysis, charts, contrast, toy
from qkstore.analysis import attribution as analysis_attribution
from qkstore.analysis import evidence, pairs, variations
from qkstore.analysis import heads as analysis_heads
from qkstore.analysis import moved as analysis_moved
from qkstore.analysis import swaps as analysis_swaps
from qkstore.analysis.head import Split
from qkstore.analysis.heads import HeadScore
from qkstore.analysis.points import Method, Points, context, selection
from qkstore.contrast import Contrast, check, example
from qkstore.errors import QKStoreError
from qkstore.run import Run
from qkstore.store import inventory
from qkstore.store.catalog import full_name
from qkstore.store.source import code_key
from qkstore.toy import points as toy_points

if TYPE_CHECKING:
    from qkstore.score import Score


def identity(run: Run) -> tuple:
    """Names a run file's contents by path, inode, time and size: a file that was replaced is another run.

    Of a file that was removed only the path; whatever reads it next raises the error. With the key of the code:
    Streamlit loads a changed source anew, and keeps results whose outermost function stayed.
    """
    try:
        stat = run.path.stat()
    except OSError:
        return str(run.path.resolve()), code_key()
    return str(run.path.resolve()), code_key(), stat.st_ino, stat.st_mtime_ns, stat.st_size


# Of each function, one person's afternoon of heads; an entry has some MB at most, mostly far less.
MOST_ENTRIES = 64
MOST_POINTS = 16  # of 30,000 points, 3 MB each
MOST_SCORES = 64  # of contrasts on runs, half a MB each for a model of 1,000 heads; the catalogue has them too
MOST_RANKS = 10_000  # of toy heads, 1 kB each: all grids of the paper, several times


def _kept(function, most: int = MOST_ENTRIES):
    hashes = {Run: identity, Contrast: lambda c: (c.name, c.key)}
    return st.cache_data(show_spinner=False, max_entries=most, hash_funcs=hashes)(function)


covariance = _kept(analysis.covariance)
intervene = _kept(analysis.intervene)
query_swaps = _kept(analysis_swaps.intervene_queries)
doses = _kept(variations.response)
moved = _kept(analysis_moved.moved)
gaps = _kept(analysis_attribution.gaps)
grown = _kept(evidence.growth)
attribute = _kept(analysis.attribute)
project = _kept(analysis.project, MOST_POINTS)
told_apart = _kept(selection.rules)
prompt_texts = _kept(context.texts)
findings = _kept(check.check)
compared = _kept(evidence.compare)
prompts = _kept(example.prompts)
labels = _kept(contrast.labels)
sizes = _kept(inventory.sizes)
label_values = _kept(inventory.labels)
permuted = _kept(evidence.null)
swaps = _kept(toy.swaps)
points = _kept(toy_points.points)
centroids = _kept(toy_points.centroids)
interaction = _kept(toy.interaction)
dimensions = _kept(evidence.dimension)
strongest = _kept(pairs.strongest)


@_kept
def judged(run: Run, asked: Contrast, layer: int, head: int) -> Score:
    """What one head attends to on the judged split, without the scores of the others."""
    return analysis.Head(run, layer, head).read(asked, "judge").score()


def _sent(
    run: Run,
    contrasts: tuple[Contrast, ...],
    layer: int,
    head: int,
    q_label: str,
    k_label: str,
    method: Method,
    split: Split,
    dark: bool,
    _points: Points,
) -> dict:
    """What the browser is sent of points, which all that comes before decides."""

    def told(table: pl.DataFrame, reach: int) -> context.Context:
        return context.around(run, table["prompt_id"].to_numpy(), table["pos"].to_numpy(), reach)

    axes = charts.axes(method, _points.explained)
    return scatter.payload(_points.table, axes, f"{q_label} / {k_label}", dark, _points.groups, told)


sent = _kept(_sent, MOST_POINTS)


@_kept
def examples(
    run: Run,
    asked: Contrast,
    split: str | None,
    n: int,
    skip: int = 0,
    only: tuple | None = None,
    by: tuple[int, int, str] | None = None,
) -> list[example.Example]:
    """Pairs of a contrast; by: (layer, head, logit or attention), whose highest come first, or after "-" the lowest."""
    if by is None:
        return example.examples(run, asked, split, n, skip=skip, only=only)
    layer, head, what = by
    data = analysis.Rows.of(run, asked, split).read(analysis.Head(run, layer, head))
    logits = data.logits()
    ordered = data.attention(logits) if what.endswith("attention") else logits
    lowest = what.startswith("-")
    return example.examples(run, asked, split, n, skip=skip, only=only, values=ordered, lowest=lowest)


@_kept
def values(run: Run, most: int = 50) -> dict[tuple[str, str], list]:
    """{(q or k, column): its first distinct values} of a run."""
    return {(side, name): run.values(name, side, most) for side in ("q", "k") for name in run.columns[side]}


@_kept
def texts(run: Run, prompt_id: int) -> tuple[list[int], list[str]]:
    """(positions, texts) of a prompt's tokens."""
    tokens = run.tokens(prompt_id)
    return [t["pos"] for t in tokens], [t["text"] for t in tokens]


@_kept
def counts(run: Run, asked: Contrast, split: str | None = None) -> tuple[int, int, int, int]:
    """(n_q, n_k, n_+, n_−) of a contrast on a split."""
    return tuple(contrast.pairs(run, asked, split).counts)


@_kept
def warned(run: Run, asked: Contrast, split: str | None = None) -> list[str]:
    """What the check warns of, each in short; nothing where it fails, as then the page itself says why."""
    with suppress(QKStoreError):
        return [finding.short for finding in findings(run, asked, split) if finding.warns]
    return []


def remember(kept: dict, most: int, key: tuple, value):
    """Keep a value and let the oldest ones beyond `most` go; returns it. Other sessions may do the same meanwhile."""
    kept[key] = value
    for old in list(kept)[:-most]:
        kept.pop(old, None)
    return value


@st.cache_resource(max_entries=1)
def _scores() -> dict:
    return {}


def heads(run: Run, asked: Contrast) -> list[HeadScore]:
    """Every head's scores; the first time with a progress bar that counts, and a button that ends it.

    Their nulls may come later: `pending` tells of how many heads, and `scoring` is what computes them.
    """
    key, store, place = (identity(run), asked.key), shell.store(), st.empty()
    if (known := _scores().get(key)) is not None:
        if not pending(run, asked) and not origin(run, asked):  # a viewer came first, and may not keep them
            with suppress(QKStoreError):
                analysis_heads.keep(store, run, asked, known, analysis_heads.key(run, asked))
        return known
    with place.container():  # which is there also where they are known: the page has the same places each time
        scores = job.done(
            *scoring(run, asked),
            f"Scoring the heads of {run.name} under {full_name(asked)}",
            "Scored {done} of {of} heads",
            "Cancelled. Choose a run and a contrast to score its heads.",
            enough=lambda: _scores().get(key),
        )
    place.empty()
    return scores


def best(run: Run, asked: Contrast) -> tuple[int, int]:
    """(layer, head): the head whose subspace the contrast carries, or else the one that scores best under it."""
    top = asked.own or analysis_heads.best(heads(run, asked))
    return top.layer, top.head


def scoring(run: Run, asked: Contrast) -> tuple[tuple, Callable[[job.Progress], list[HeadScore]]]:
    """The name and the work (see dashboard.job) that scores all heads, then computes their nulls, a layer at a time."""
    key, store, pool = (identity(run), asked.key), shell.store(), job.pool()
    kept, n = _scores(), len(run.layers) * run.n_heads

    def arrived(scores: Sequence[HeadScore]) -> None:
        if len(scores) == n:
            remember(kept, MOST_SCORES, key, list(scores))

    def work(progress: job.Progress) -> list[HeadScore]:
        scores = analysis_heads.kept(store, run, asked, progress=progress, arrived=arrived, pool=pool)
        return remember(kept, MOST_SCORES, key, scores)

    return ("heads", key), work


def pending(run: Run, asked: Contrast) -> int:
    """How many heads have scores and no null yet."""
    return sum(s.pending for s in _scores().get((identity(run), asked.key), ()))


def origin(run: Run, asked: Contrast) -> str:
    """When and by whom the scores of a contrast were computed, as the catalogue tells; '' where it keeps none."""
    at = (identity(run), asked.key)
    if not (made := _made().get(at)) and (made := shell.store().catalog.made(analysis_heads.key(run, asked))):
        remember(_made(), MOST_SCORES, at, made)
    return f"Computed {made['created']:%Y-%m-%d %H:%M} by {made['author'] or 'somebody'}." if made else ""


@st.cache_resource(max_entries=1)
def _made() -> dict:
    return {}


def recovered(toys: Sequence[toy.Toy]) -> list[toy.Recovered]:
    """The recovered ranks of toy runs, in their order; the first time with a progress bar and a button that ends it."""
    keys = [identity(t.run) for t in toys]
    kept = _ranks()
    found = {key: kept.get(key) for key in keys}
    missing = {key: t.run for key, t in zip(keys, toys, strict=True) if found[key] is None}
    if missing:
        found |= job.done(
            ("ranks", *missing),
            lambda progress: _recover(missing, kept, progress),
            "Recovering ranks",
            "Recovered the ranks of {done} of {of} heads",
            "Cancelled. Choose another grid, or reload this page to recover its ranks.",
        )
    return [found[key] for key in keys]


def _recover(missing: Mapping[tuple, Run], kept: dict, progress: job.Progress) -> dict[tuple, toy.Recovered]:
    """The ranks of heads, each remembered as soon as it is there: a wait that is ended loses none."""
    found = {}
    for i, (key, run) in enumerate(missing.items()):
        progress(i, len(missing))
        found[key] = remember(kept, MOST_RANKS, key, toy.recovered(run))
    return found


@st.cache_resource(max_entries=1)
def _ranks() -> dict:
    return {}
