"""The sections of pictures: queries and keys in the subspaces of binding features (L8) and of categories (L3)."""

from __future__ import annotations

from qkstore import charts
from qkstore.analysis.claim import Claim
from qkstore.analysis.points import Cloud, Match, cloud, matches
from qkstore.report.document import Figure, Section
from qkstore.report.study import Study
from qkstore.text import estimate, number

LABELS = {"order": ("queried_order", "order_id"), "lexical": ("queried_entity", "entity")}


def binding_pictures(study: Study) -> Section:
    """PCA and UMAP in the order and lexical subspaces (L8, Fig. 8), and PCA of the whole vectors (Fig. 17)."""
    parts: list = [
        (
            f"Queries on U and keys on V at {study.at}, then both together; a triangle is a query, a circle a key, of "
            f"the {study.judged} split. UMAP has three components and 15 neighbours; the paper names no number. "
            "A query or key matches where the nearest group of keys, of other prompts, is its own; "
            "by cosine, each side centred."
        )
    ]
    claims = []
    for name, (q_label, k_label) in LABELS.items():
        points = cloud(study.run, study.named[name], study.best.layer, study.best.head, q_label, k_label)
        found = matches(points)
        for method, of in (("pca", "Figure 8"), ("umap", "Figure 8"), ("raw", "Figure 17")):
            drawn = points.draw(method)
            projected = f"{method.upper()} in its subspace of rank {points.rank}"
            title = f"{name.capitalize()}: {'PCA without projecting' if method == 'raw' else projected}, {study.at}"
            parts.append(
                Figure(
                    f"{study.run.name}-pictures-{name}-{method}",
                    title,
                    f"{_matched(found)}.",
                    charts.point_pairs(
                        drawn.table, charts.axes(method, drawn.explained), f"{q_label} / {k_label}", size=330
                    ),
                    of,
                    points=True,
                )
            )
        claims.append(
            Claim(
                f"L8 {name}: clusters, queries aligned with keys",
                f"{study.run.name}, {study.at}",
                "clear clusters and alignment (by eye)",
                _matched(found),
                f"{found['query'].n:,} queries, {found['key'].n:,} keys",
                authors="as the text",
            )
        )
    return Section(f"{study.run.name}-pictures", "Order and lexical space (L8)", tuple(parts), tuple(claims))


def _matched(sides: dict[str, Match]) -> str:
    q, k = _side(sides["query"], "queries"), _side(sides["key"], "keys")
    return f"Nearest to their own group lie {q}, and {k}; points without any order: 1 in {sides['key'].groups}"


def _side(m: Match, what: str) -> str:
    """The share in the subspace, beside what any subspace of its rank and what the whole space give."""
    mean, least, most = m.at_random
    return (
        f"{estimate(m.share, m.ci)} of {m.n:,} {what} "
        f"(in random subspaces of that rank {number(mean, 2)}, {number(least, 2)}–{number(most, 2)}; "
        f"in all dimensions {number(m.raw, 2)})"
    )


def category_pictures(study: Study) -> Section:
    """PCA in the span of five categories and of all: queries with keys (L3, Fig. 6a), and keys alone (Fig. 6b)."""
    inside = ", ".join("'" + name.replace("'", "''") + "'" for name in study.five)
    five = tuple(c.replace(where=f"{c.where} and k.category in ({inside})") for c in study.five.values())
    parts, claims = [], []
    for few, contrasts in ((True, five), (False, study.named["category:*"])):
        points = cloud(study.run, contrasts, study.best.layer, study.best.head, "queried_category", "category")
        made, claim = _category_figures(study, points, len(contrasts), few)
        parts, claims = parts + made, [*claims, claim]
    note = (
        "Queries on U and keys on V of the span of the categories' directions at "
        f"{study.at}, built on the {study.built} split, "
        f"drawn from the {study.judged} split. A query or key matches where the nearest group of keys, "
        "of other prompts, is its own; by cosine, each side centred."
    )
    return Section(f"{study.run.name}-pictures", "Category space (L3)", (note, *parts), tuple(claims))


def _category_figures(study: Study, points: Cloud, n: int, few: bool) -> tuple[list[Figure], Claim]:
    sides = matches(points)
    told = {side: _side(m, "queries" if side == "query" else "keys") for side, m in sides.items()}
    chance = f"points without any order: 1 in {sides['key'].groups}"
    figures = []
    for queries in (True, False):
        drawn = points.draw("pca", queries)
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
                charts.clusters(drawn.table, charts.axes("pca", drawn.explained)),
                of,
                points=True,
            )
        )
    claim = Claim(
        f"L3 {n} categories: clusters, queries aligned with keys",
        f"{study.run.name}, {study.at}",
        "clear clusters and alignment (by eye)",
        f"own category nearest: {told['query']}, {told['key']}; {chance}",
        f"{sides['query'].n:,} queries, {sides['key'].n:,} keys",
        authors="as the text" if few else "not in the scripts",
    )
    return figures, claim
