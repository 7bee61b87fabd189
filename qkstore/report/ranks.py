"""The sections on ranks (L2, L6, L7, L10): what ΔC has, with intervals, beside its null, and how it grows."""

from __future__ import annotations

import polars as pl

from qkstore import charts
from qkstore.analysis import covariance
from qkstore.analysis.evidence import Evidence, growth
from qkstore.analysis.heads import HeadScore
from qkstore.contrast.builtin import authors_category
from qkstore.interval import margin, wilson
from qkstore.report.document import Claim, Figure, Section, Table
from qkstore.report.pictures import LABELS
from qkstore.report.study import Study, head, ranked
from qkstore.text import SPACE, estimate, number, size, sized, spread

RANKED = ("order", "order-centred", "order-elsewhere", "lexical", "reflexive")
PAPER = {"order": "2 or 3", "lexical": "9 or 10"}

MEAN_QUERY = (
    "Within one category the query hardly varies, so that ΔC ≈ q̄ (k̄+ − k̄−)ᵀ: "
    "where that term is all of it, its rank is 1 by construction."
)


def binding_ranks(study: Study) -> Section:
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
    claims = tuple(_binding_claim(study, study.best, name) for name in PAPER)
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


def _binding_claim(study: Study, h: HeadScore, name: str) -> Claim:
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
    mean, off = float(ranks.mean()), margin(ranks)
    whole = study.evidence(name, h).moments.rank
    here = (
        f"{estimate(mean, (mean - off, mean + off), 1)} from {half} values of {label}, "
        f"{estimate(whole.value, whole.interval, 0)} from all {found.total}"
    )
    return (
        f"{head(h.layer, h.head)} {name}",
        here,
        f"{len(ranks)} draws of half the values; {every['queries'][0]:,} queries in all",
    )


def category_ranks(study: Study) -> Section:
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
    claims = tuple(_category_claim(study, h) for h in study.heads)
    title = (
        f"ΔC of every category at {head(best.layer, best.head)}, {study.built} prompts; "
        "95 % intervals by jackknife over queries."
    )
    return Section(
        f"{study.run.name}-ranks", "Rank of every category (L2)", (MEAN_QUERY, figure, Table(title, rows)), claims
    )


def _category_claim(study: Study, h) -> Claim:
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
