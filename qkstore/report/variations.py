"""Sections beside the swaps: the query side, dose and response, and the authors' variants."""

from __future__ import annotations

import polars as pl

from qkstore import charts
from qkstore.analysis import swaps as analysis_swaps
from qkstore.analysis.variations import Variant, response
from qkstore.report.document import Claim, Figure, Section, Table
from qkstore.report.study import LISTS, Study, after, head, named
from qkstore.report.swaps import _gained
from qkstore.text import estimate, number, spread


def queried(study: Study) -> Section:
    """The query's counterpart of the swaps, at the best head."""
    at, found = (
        head(study.best.layer, study.best.head),
        analysis_swaps.intervene_queries(study.run, study.features, study.best.layer, study.best.head),
    )
    seen = (
        f"The target has afterwards: {'; '.join(f'{named(c)} {after(c)}' for c in found.conditions)}. "
        f"n = {found.n:,} queries; {found.hidden:,} more have no such query. "
        f"Attention is among stored keys, which hold {found.stored:.3f} of it on average."
    )
    note = "Instead of two keys, a query takes on the coordinates of another that looks for the target."
    figure = Figure(
        f"{study.run.name}-queried-best",
        f"Query-side swaps at {at}",
        seen,
        charts.swap_bars([c.to_dict() for c in found.conditions]),
    )
    features, randoms = [c for c in found.conditions if not c.bases], [c for c in found.conditions if c.bases]
    rows = [
        Claim(
            f"Query-side swap: {c.name}",
            f"{study.run.name}, {at}",
            "not done",
            "not in the scripts",
            _gained(c, r),
            f"{c.n:,} queries",
        )
        for c, r in zip(features, randoms)
    ]
    return Section(f"{study.run.name}-queried", "Swaps on the query side", (note, figure), tuple(rows))


def dosed(study: Study, coordinates: int = 3) -> Section:
    """Attention as the keys' coordinates are exchanged little by little, at the best head."""
    at, tables, told = head(study.best.layer, study.best.head), [], []
    for name, contrasts in study.features.items():
        found = response(study.run, contrasts, study.best.layer, study.best.head, coordinates=coordinates)
        tables.append(found.table.with_columns(feature=pl.lit(f"{name}, rank {found.rank}")))
        half, whole, chance = (
            _at(found.table, dose, line) for dose, line in ((0.5, "all"), (1.0, "all"), (1.0, "random"))
        )
        told.append(f"{name}: {half} at half the dose, {whole} at the whole, random {chance}; n = {found.n:,}")
    figure = Figure(
        f"{study.run.name}-dosed-best",
        f"Target's attention against the dose at {at}",
        "; ".join(told) + ".",
        charts.dose_panels(pl.concat(tables)),
    )
    note = (
        "The keys' coordinates move part of the way, or beyond: "
        "all of the subspace, its first coordinates one at a time, and ten random subspaces of its rank."
    )
    return Section(f"{study.run.name}-dosed", "Dose and response", (note, figure))


def _at(table: pl.DataFrame, dose: float, coordinate: str) -> str:
    row = (
        table.filter(pl.col("coordinate") == coordinate)
        .with_columns(far=(pl.col("dose") - dose).abs())
        .sort("far")
        .row(0, named=True)
    )
    return estimate(row["target"], (row["low"], row["high"]))


def varied(study: Study) -> Section:
    """The text's definitions beside those of the authors' scripts: same head, queries and targets."""
    rows = []
    for h in study.heads:
        found, at = study.variants(h), head(h.layer, h.head)
        rows += _summed(at, found) if study.kind == LISTS else [_variant_row(at, v) for v in found]
    note = (
        "The authors' scripts sum over a category's keys where the text averages; "
        "take the negative's query of the lexical contrast from the counterfactual too (a matched pair) where the "
        "text has one query for both (a triplet); and add the two subspaces' projectors without orthogonalising. "
        "Overlap is the mean squared cosine with the text's key subspace."
    )
    title = (
        "Target's attention after the swap; over categories the mean and, in brackets, the range."
        if study.kind == LISTS
        else "Attention after the swap, with 95 % intervals."
    )
    claims = (_sum_claim(study),) if study.kind == LISTS and study.variants(study.best) else ()
    return Section(
        f"{study.run.name}-varied", "The authors' variants beside the text's", (note, Table(title, rows)), claims
    )


def _variant_row(at: str, v: Variant) -> dict[str, str]:
    return {
        "head": at,
        "feature": v.name,
        "definition": v.whose,
        "rank": str(v.swap.rank),
        "overlap with the text's": number(v.overlap),
        "original after": after(v.swap, "original"),
        "target after": after(v.swap),
        "queries": f"{v.swap.n:,}",
    }


def _summed(at: str, found: list[Variant]) -> list[dict[str, str]]:
    """Mean and range over all categories."""
    return [
        {
            "head": at,
            "feature": "category",
            "definition": "text: mean" if whose == "text" else "scripts: sum",
            "categories": str(len(some)),
            "overlap with the text's": _mean_range([v.overlap for v in some]),
            "target before": _mean_range([v.swap.target_before for v in some]),
            "target after, mean (range)": _mean_range([v.swap.target_after for v in some]),
            "queries": f"{sum(v.swap.n for v in some):,}",
        }
        for whose in ("text", "scripts")
        if (some := [v for v in found if v.whose == whose])
    ]


def _mean_range(values: list[float]) -> str:
    return f"{number(sum(values) / len(values))} ({spread(values)})"


def _sum_claim(study: Study) -> Claim:
    text, scripts = ([v.swap for v in study.variants(study.best) if v.whose == whose] for whose in ("text", "scripts"))
    told = [f"target after {_mean_range([c.target_after for c in some])}" for some in (text, scripts)]
    return Claim(
        "L4 sum against mean, swaps of one category: mean (range) over categories",
        f"{study.run.name}, {head(study.best.layer, study.best.head)}",
        "mean (text)",
        told[1],
        told[0],
        f"{len(text)} categories, {sum(c.n for c in text):,} queries",
    )
