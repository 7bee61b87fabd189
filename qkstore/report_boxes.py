"""The report's sections on binding features (section 5.2): ranks (L6, L7), pictures (L8) and growth (L10)."""

from __future__ import annotations

import numpy as np
import polars as pl

from qkstore import charts
from qkstore.analysis.evidence import Evidence, growth
from qkstore.analysis.heads import HeadScore
from qkstore.analysis.points import cloud, drawn, matches
from qkstore.document import Claim, Figure, Section, Table
from qkstore.quoted import head, ranked
from qkstore.study import Study
from qkstore.text import SPACE, estimate, number, size, sized

RANKED = ("order", "order-centred", "order-elsewhere", "lexical", "reflexive")
STUDENT = 2.776  # 97.5 % of Student's t with four degrees of freedom: five draws
PAPER = {"order": "2 or 3", "lexical": "9 or 10"}
LABELS = {"order": ("queried_order", "order_id"), "lexical": ("queried_entity", "entity")}


def ranks(study: Study) -> Section:
    """L6, L7: three ranks of every binding contrast at every selected head."""
    names = [n for n in RANKED if n in study.named]
    rows, points = [], []
    for h in study.heads:
        for name in names:
            e = study.evidence(name, h)
            rows.append({"head": head(h.layer, h.head), "contrast": name} | _evidence(e))
            if h is study.best:
                points += _rank_points(name, e)
    seen = "; ".join(f"{name} {_ranked(study.evidence(name, study.best))}" for name in names)
    figure = Figure(
        f"{study.run.name}-ranks-best",
        f"Three ranks of ΔC at {head(study.best.layer, study.best.head)}",
        f"{seen}. Whiskers are 95 % intervals.",
        charts.head_intervals(points, "rank", legend="rank"),
    )
    note = (
        "Three ranks: singular values that hold 99 % of ‖ΔC‖² (the paper's rule), dimensions beyond sampling error, "
        "and dimensions that other queries confirm."
    )
    table = Table(
        (
            f"ΔC at every selected head, {study.built} prompts; 95 % intervals by jackknife over queries; "
            "statistical rank at level 0.05."
        ),
        rows,
    )
    claims = tuple(_rank_claim(study, study.best, name) for name in PAPER)
    return Section(f"{study.run.name}-ranks", "Ranks of order and lexical (L6, L7)", (note, figure, table), claims)


def _rank_points(name: str, e: Evidence) -> list[dict]:
    """The three ranks; the two that are tested have no interval, and are left out where there are too few queries."""
    m = e.moments.rank
    points = [{"name": name, "group": "99 % of ‖ΔC‖²", "value": m.value, "low": m.low, "high": m.high}]
    for group, value in (
        (("statistical", e.rank.statistical), ("cross-validated", e.rank.cross_validated)) if e.rank else ()
    ):
        points.append({"name": name, "group": group, "value": float(value), "low": float(value), "high": float(value)})
    return points


def _ranked(e: Evidence) -> str:
    tests = f"statistical {ranked(e.rank, 'statistical')}, cross-validated {ranked(e.rank, 'cross_validated')}"
    return f"{estimate(e.moments.rank.value, e.moments.rank.interval, 0)} by energy, {tests}, n = {e.n:,}"


def _evidence(e: Evidence) -> dict[str, str]:
    m = e.moments
    return {
        "rank, 99 %": estimate(m.rank.value, m.rank.interval, 0),
        "statistical": ranked(e.rank, "statistical"),
        "cross-validated": ranked(e.rank, "cross_validated"),
        "‖ΔC‖": sized(m.norm.value, m.norm.interval),
        "null, 95 %": "–" if e.null is None else f"{size(e.null)} (p{SPACE}={SPACE}{e.p_value:.3f})",
        "‖ΔC‖ ÷ null": number(e.strength, 1),
        "logit gap": estimate(*e.gap, 2),
        "queries": f"{e.n:,}",
    }


def _rank_claim(study: Study, h: HeadScore, name: str) -> Claim:
    e = study.evidence(name, h)
    twin = f"authors/{name}"
    authors = "–"
    if twin in study.named:
        m = study.evidence(twin, h).moments.rank
        authors = estimate(m.value, m.interval, 0)
    return Claim(
        f"{'L6' if name == 'order' else 'L7'} rank of {name}",
        f"{study.run.name}, {head(h.layer, h.head)}",
        PAPER[name],
        authors,
        _ranked(e),
        f"{e.n:,} queries",
    )


# -- pictures ----------------------------------------------------------------------------------------------------


def pictures(study: Study) -> Section:
    """L8: PCA and UMAP in the order and lexical subspaces (Fig. 8), raw PCA without them (Fig. 17)."""
    at = head(study.best.layer, study.best.head)
    parts: list = [
        (
            f"Queries on U and keys on V at {at}, then both together; a triangle is a query, a circle a key, of the "
            f"{study.judged} split. UMAP has three components and 15 neighbours; the paper names no number. A query or "
            "key matches where the nearest group of keys, of other prompts, is its own; by cosine, each side centred."
        )
    ]
    claims = []
    for name, (q_label, k_label) in LABELS.items():
        points = cloud(study.run, study.named[name], study.best.layer, study.best.head, q_label, k_label)
        inside, outside = matches(points), matches(points, raw=True)
        for method, of in (("pca", "Figure 8"), ("umap", "Figure 8"), ("raw", "Figure 17")):
            found = outside if method == "raw" else inside
            table, explained = drawn(points, method)
            projected = f"{method.upper()} in its subspace of rank {points.rank}"
            title = f"{name.capitalize()}: {'PCA without projecting' if method == 'raw' else projected}, {at}"
            where = "In all dimensions" if method == "raw" else "In the subspace"
            parts.append(
                Figure(
                    f"{study.run.name}-pictures-{name}-{method}",
                    title,
                    f"{where}, {_matched(found)}.",
                    charts.point_pairs(table, charts.axes(method, explained), f"{q_label} / {k_label}", size=330),
                    of,
                    points=True,
                )
            )
        claims.append(
            Claim(
                f"L8 {name}: clusters, queries aligned with keys",
                f"{study.run.name}, {at}",
                "clear clusters and alignment (by eye)",
                "as the text",
                f"{_matched(inside)}; without projecting {estimate(outside['query'].share, outside['query'].ci)}",
                f"{inside['query'].n:,} queries, {inside['key'].n:,} keys",
            )
        )
    return Section(f"{study.run.name}-pictures", "Order and lexical space (L8)", tuple(parts), tuple(claims))


def _matched(found) -> str:
    q, k = found["query"], found["key"]
    return (
        f"{estimate(q.share, q.ci)} of {q.n:,} queries and {estimate(k.share, k.ci)} of {k.n:,} keys "
        f"lie nearest to their own group; chance is 1 in {k.groups}"
    )


# -- growth ------------------------------------------------------------------------------------------------------


def growths(study: Study) -> Section:
    """L10: rank against how many entities, or orders, go into ΔC (Fig. 16)."""
    tables, told, claims = [], [], []
    for name, (q_label, _) in LABELS.items():
        for h in study.heads:
            found, at = growth(study.run, study.one(name), h.layer, h.head, by=q_label), head(h.layer, h.head)
            rows = (
                found.table.group_by("values")
                .agg(low=pl.col("rank").min(), mean=pl.col("rank").mean(), high=pl.col("rank").max())
                .sort("values")
            )
            rows = rows.rename({"mean": "rank"}).with_columns(
                pl.col("rank").cast(pl.Float64), feature=pl.lit(f"{name}, by {q_label}"), head=pl.lit(at)
            )
            tables.append(rows)
            told.append(_plateau(study, name, h, q_label, found))
            if h is study.best:
                claims.append(
                    Claim(
                        f"L10 rank of {name}: it stops growing",
                        f"{study.run.name}, {at}",
                        "plateau (Fig. 16)",
                        "not in the scripts",
                        *told[-1][1:],
                    )
                )
    drawing = charts.rank_growths(pl.concat(tables), "number of values that go into ΔC")
    note = (
        "Queries of 2, 4, 8, … of the values, drawn anew five times; the band is the range over draws. "
        "The order contrast has one queried entity by definition, so for it the values are the orders that are queried."
    )
    seen = "; ".join(f"{what} {here}" for what, here, _ in told) + f". {told[0][2]}."
    return Section(
        f"{study.run.name}-growth",
        "Rank against the number of entities (L10)",
        (
            note,
            Figure(
                f"{study.run.name}-growth-all", "99 % rank against the number of values", seen, drawing, "Figure 16"
            ),
        ),
        tuple(claims),
    )


def _plateau(study: Study, name: str, h: HeadScore, label: str, found) -> tuple[str, str, str]:
    """What was grown, its rank from half of the values and from all, and from how many."""
    half = max((n for n in found.table["values"].unique() if n <= found.total / 2), default=found.total)
    some, every = (found.table.filter(pl.col("values") == n) for n in (half, found.total))
    ranks = some["rank"].to_numpy()
    margin = STUDENT * ranks.std(ddof=1) / np.sqrt(len(ranks)) if len(ranks) > 1 else 0.0
    whole = study.evidence(name, h).moments.rank
    here = (
        f"{estimate(float(ranks.mean()), (ranks.mean() - margin, ranks.mean() + margin), 1)} from {half} values "
        f"of {label}, {estimate(whole.value, whole.interval, 0)} from all {found.total}"
    )
    return (
        f"{head(h.layer, h.head)} {name}",
        here,
        f"{len(ranks)} draws of half the values; {every['queries'][0]:,} queries in all",
    )
