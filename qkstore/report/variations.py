"""Sections beside the swaps: the query side, dose and response, and the authors' variants."""

from __future__ import annotations

import polars as pl

from qkstore import charts
from qkstore.analysis import swaps as analysis_swaps
from qkstore.analysis.claim import Claim
from qkstore.analysis.variations import Variant, response
from qkstore.intervention import features_and_randoms
from qkstore.report.document import Figure, Section, Table
from qkstore.report.study import LISTS, Study, enough
from qkstore.report.swaps import after, gained, targets_after
from qkstore.text import estimate, head_name, number, spread


def queried(study: Study) -> Section:
    """The query's counterpart of the swaps, at the best head."""
    swapped = analysis_swaps.intervene_queries(study.run, study.features, study.best.layer, study.best.head)
    enough(swapped.n, "swaps")
    seen = (
        f"The target has afterwards: {targets_after(swapped.conditions)}. "
        f"n = {swapped.n:,} queries; {swapped.hidden:,} more have no such query. "
        f"Attention is among stored keys, which hold {number(swapped.stored)} of it on average."
    )
    note = "Instead of two keys, a query takes on the coordinates of another that looks for the target."
    figure = Figure(
        f"{study.run.name}-queried-best",
        f"Query-side swaps at {study.at}",
        seen,
        charts.swap_bars([c.to_dict() for c in swapped.conditions]),
    )
    rows = [
        Claim(
            f"Query-side swap: {c.name}",
            f"{study.run.name}, {study.at}",
            "not done",
            gained(c, r),
            f"{c.n:,} queries",
            authors="not in the scripts",
        )
        for c, r in zip(*features_and_randoms(swapped.conditions))
    ]
    return Section(f"{study.run.name}-queried", "Swaps on the query side", (note, figure), tuple(rows))


def dosed(study: Study, coordinates: int = 3) -> Section:
    """Attention as the keys' coordinates are exchanged little by little, at the best head."""
    tables, told = [], []
    for name, contrasts in study.features.items():
        curve = response(study.run, contrasts, study.best.layer, study.best.head, coordinates=coordinates)
        enough(curve.n, "swaps")
        tables.append(curve.table.with_columns(feature=pl.lit(f"{name}, rank {curve.rank}")))
        half, whole, chance = (
            _at(curve.table, dose, line) for dose, line in ((0.5, "all"), (1.0, "all"), (1.0, "random"))
        )
        told.append(f"{name}: {half} at half the dose, {whole} at the whole, random {chance}; n = {curve.n:,}")
    figure = Figure(
        f"{study.run.name}-dosed-best",
        f"Target's attention against the dose at {study.at}",
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
        variants, at = study.variants(h), head_name(h.layer, h.head)
        rows += _summed(at, variants) if study.kind == LISTS else [_variant_row(at, v) for v in variants]
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


def _summed(at: str, variants: list[Variant]) -> list[dict[str, str]]:
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
        if (some := [v for v in variants if v.whose == whose])
    ]


def _mean_range(values: list[float]) -> str:
    return f"{number(sum(values) / len(values))} ({spread(values)})"


def _sum_claim(study: Study) -> Claim:
    text, scripts = ([v.swap for v in study.variants(study.best) if v.whose == whose] for whose in ("text", "scripts"))
    told = [f"target after {_mean_range([c.target_after for c in some])}" for some in (text, scripts)]
    return Claim(
        "L4 sum against mean, swaps of one category: mean (range) over categories",
        f"{study.run.name}, {study.at}",
        "mean (text)",
        told[0],
        f"{len(text)} categories, {sum(c.n for c in text):,} queries",
        authors=told[1],
    )
