"""The report's sections on category features (section 5.1): rank 1 and why (L2), the picture of categories (L3)."""

from __future__ import annotations

from qkstore import charts
from qkstore.analysis import covariance
from qkstore.analysis.points import Cloud, cloud, drawn, matches
from qkstore.contrast.builtin import authors_category
from qkstore.document import Claim, Figure, Section, Table
from qkstore.interval import wilson
from qkstore.quoted import head, ranked
from qkstore.study import Study
from qkstore.text import estimate, size, sized, spread

MEAN_QUERY = (
    "Within one category the query hardly varies, so that ΔC ≈ q̄ (k̄+ − k̄−)ᵀ: "
    "where that term is all of it, its rank is 1 by construction."
)


def ranks(study: Study) -> Section:
    """L2: ΔC of every category at each filter head."""
    best = study.best
    found = {name: study.evidence(c.name, best) for name, c in study.categories.items()}
    rows = [
        {
            "category": name,
            "rank, 99 %": estimate(e.moments.rank.value, e.moments.rank.interval, 0),
            "statistical": ranked(e.rank, "statistical"),
            "cross-validated": ranked(e.rank, "cross_validated"),
            "‖ΔC‖": sized(e.moments.norm.value, e.moments.norm.interval),
            "null, 95 %": "–" if e.null is None else size(e.null),
            "mean query explains": estimate(e.moments.mean_query.value, e.moments.mean_query.interval, 5),
            "queries": f"{e.n:,}",
        }
        for name, e in found.items()
    ]
    share = [e.moments.mean_query for e in found.values()]
    least = min(share, key=lambda s: s.value)
    seen = (
        f"At {head(best.layer, best.head)} the mean query explains {spread([s.value for s in share], 5)} "
        f"of ‖ΔC‖² over {len(share)} categories (the least: {estimate(least.value, least.interval, 5)}); "
        f"n = {spread([e.n for e in found.values()], 0)} queries a category."
    )
    points = [
        {"name": name, "group": "share", "value": s.value, "low": s.low, "high": s.high}
        for name, s in zip(found, share)
    ]
    figure = Figure(
        f"{study.run.name}-ranks-share",
        "Share of ‖ΔC‖² that the mean query explains, by category",
        seen,
        charts.head_intervals(points, "share of ‖ΔC‖²", zero=False, reference=1.0),
    )
    claims = tuple(_rank_claim(study, h) for h in study.heads)
    title = (
        f"ΔC of every category at {head(best.layer, best.head)}, {study.built} prompts; "
        "95 % intervals by jackknife over queries."
    )
    return Section(
        f"{study.run.name}-ranks", "Rank of every category (L2)", (MEAN_QUERY, figure, Table(title, rows)), claims
    )


def _rank_claim(study: Study, h) -> Claim:
    found = [study.evidence(c.name, h) for c in study.categories.values()]
    ones, n = sum(e.moments.rank.value == 1 for e in found), len(found)
    least = min((e.moments.mean_query for e in found), key=lambda share: share.value)
    summed = [covariance(study.run, authors_category(name), h.layer, h.head).subspace.rank for name in study.categories]
    alike = sum(r == 1 for r in summed)
    authors = f"summed: {alike} of {n} of rank 1, share {estimate(alike / n, wilson(alike, n))}"
    here = (
        f"{ones} of {n} of rank 1, share {estimate(ones / n, wilson(ones, n))}; "
        f"the mean query explains {estimate(least.value, least.interval, 5)} of ‖ΔC‖² at least"
    )
    return Claim(
        "L2 ΔC of a category has rank 1",
        f"{study.run.name}, {head(h.layer, h.head)}",
        "each rank 1",
        authors,
        here,
        f"{n} categories, {spread([e.n for e in found], 0)} queries each",
    )


def pictures(study: Study) -> Section:
    """L3: five categories and all of them, with queries and keys alone (Fig. 6a, 6b)."""
    inside = ", ".join("'" + name.replace("'", "''") + "'" for name in study.five)
    five = tuple(c.replace(where=f"{c.where} and k.category in ({inside})") for c in study.five.values())
    parts, claims = [], []
    for few, contrasts in ((True, five), (False, study.named["category:*"])):
        points = cloud(study.run, contrasts, study.best.layer, study.best.head, "queried_category", "category")
        made, claim = _pictures(study, points, len(contrasts), few)
        parts, claims = parts + made, [*claims, claim]
    note = (
        "Queries on U and keys on V of the span of the categories' directions at "
        f"{head(study.best.layer, study.best.head)}, built on the {study.built} split, "
        f"drawn from the {study.judged} split. A query or key matches where the nearest group of keys, "
        "of other prompts, is its own; by cosine, each side centred."
    )
    return Section(f"{study.run.name}-pictures", "Category space (L3)", (note, *parts), tuple(claims))


def _pictures(study: Study, points: Cloud, n: int, few: bool) -> tuple[list[Figure], Claim]:
    found = matches(points)
    told = {
        side: f"{estimate(m.share, m.ci)} of {m.n:,} {'queries' if side == 'query' else 'keys'}"
        for side, m in found.items()
    }
    chance = f"chance is 1 in {found['key'].groups}"
    figures = []
    for queries in (True, False):
        table, explained = drawn(points, "pca", queries)
        seen = f"{told['query']} and {told['key']}" if queries else told["key"]
        of = "Figure 6a" if few and queries else "Figure 6b" if not few and not queries else ""
        title = (
            f"{n} categories, {'queries and keys' if queries else 'keys only'}: PCA in the span of rank {points.rank}"
        )
        figures.append(
            Figure(
                f"{study.run.name}-pictures-{n}{'' if queries else '-keys'}",
                title,
                f"{seen} lie nearest to their own category; {chance}.",
                charts.clusters(table, charts.axes("pca", explained)),
                of,
                points=True,
            )
        )
    claim = Claim(
        f"L3 {n} categories: clusters, queries aligned with keys",
        f"{study.run.name}, {head(study.best.layer, study.best.head)}",
        "clear clusters and alignment (by eye)",
        "as the text" if few else "not in the scripts",
        f"own category nearest: {told['query']}, {told['key']}; {chance}",
        f"{found['query'].n:,} queries, {found['key'].n:,} keys",
    )
    return figures, claim
