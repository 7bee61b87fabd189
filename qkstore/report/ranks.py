"""The sections on the rank of ΔC: of binding contrasts (L6, L7), of categories (L2), and how it grows (L10)."""

from __future__ import annotations

import polars as pl

from qkstore import charts
from qkstore.analysis import covariance
from qkstore.analysis.claim import Claim
from qkstore.analysis.evidence import Evidence, Growth, growth
from qkstore.analysis.heads import HeadScore
from qkstore.contrast.builtin import authors_category
from qkstore.errors import ContrastError
from qkstore.interval import PARTS, margin, wilson
from qkstore.rank import Rank
from qkstore.report.document import Figure, Section, Table
from qkstore.report.pictures import LABELS
from qkstore.report.study import Study
from qkstore.text import SPACE, estimate, head_name, number, p_value, size, sized, spread

RANKED = ("order", "order-centred", "order-elsewhere", "lexical", "reflexive")
PAPER = {"order": "2 or 3", "lexical": "9 or 10"}

MEAN_QUERY = (
    "Within one category the query hardly varies, so that ΔC ≈ q̄ (k̄+ − k̄−)ᵀ: "
    "where that term is all of it, its rank is 1 by construction."
)


def binding_ranks(study: Study) -> Section:
    """Three ranks of every binding contrast at every selected head (L6, L7)."""
    names = [n for n in RANKED if n in study.named]
    rows, points = [], []
    for h in study.heads:
        for name in names:
            e = study.evidence(name, h)
            rows.append({"head": head_name(h.layer, h.head), "contrast": name} | _evidence(e))
            if h is study.best:
                points += _rank_points(name, e)
    seen = "; ".join(f"{name} {_three_ranks(study.evidence(name, study.best))}" for name in names)
    figure = Figure(
        f"{study.run.name}-ranks-best",
        f"Three ranks of ΔC at {study.at}",
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


def _few(e: Evidence) -> str | None:
    """What stands in place of a figure of too few queries: fewer than the jackknife has parts tell no interval."""
    return f"too few (n{SPACE}={SPACE}{e.n})" if e.n < PARTS else None


def _energy_rank(e: Evidence) -> str:
    return _few(e) or estimate(e.moments.rank.value, e.moments.rank.interval, 0)


def _rank_points(name: str, e: Evidence) -> list[dict]:
    """The three ranks; the two that are tested have no interval. None of them where there are too few queries."""
    if _few(e):
        return []
    m = e.moments.rank
    points = [{"name": name, "group": "99 % of ‖ΔC‖²", "value": m.value, "low": m.low, "high": m.high}]
    for group, value in (
        (("statistical", e.rank.statistical), ("cross-validated", e.rank.cross_validated)) if e.rank else ()
    ):
        points.append({"name": name, "group": group, "value": float(value), "low": float(value), "high": float(value)})
    return points


def _tested(rank: Rank | None, kind: str) -> str:
    """The rank by a test, "statistical" or "cross_validated"; a dash where there were too few queries for it."""
    return "–" if rank is None else str(getattr(rank, kind))


def _three_ranks(e: Evidence) -> str:
    if few := _few(e):
        return few
    tests = f"statistical {_tested(e.rank, 'statistical')}, cross-validated {_tested(e.rank, 'cross_validated')}"
    return f"{_energy_rank(e)} by energy, {tests}, n = {e.n:,}"


def _evidence(e: Evidence) -> dict[str, str]:
    m = e.moments
    return {
        "rank, 99 %": _energy_rank(e),
        "statistical": _tested(e.rank, "statistical"),
        "cross-validated": _tested(e.rank, "cross_validated"),
        "‖ΔC‖": sized(m.norm.value, m.norm.interval),
        "centred ‖ΔC‖ ÷ null of signs": "–"
        if e.signs is None
        else f"{number(e.strength, 1)} ({p_value(e.signs.p_value, len(e.signs.null))})",
        "null of labels": "–" if e.labels is None else p_value(e.labels.p_value, len(e.labels.null)),
        "logit gap": _few(e) or estimate(*e.gap, 2),
        "queries": f"{e.n:,}",
    }


def _binding_claim(study: Study, h: HeadScore, name: str) -> Claim:
    e = study.evidence(name, h)
    twin = f"authors/{name}"
    authors = "–"
    if twin in study.named:
        authors = _energy_rank(study.evidence(twin, h))
    return Claim(
        f"{'L6' if name == 'order' else 'L7'} rank of {name}",
        f"{study.run.name}, {head_name(h.layer, h.head)}",
        PAPER[name],
        _three_ranks(e),
        f"{e.n:,} queries",
        authors,
    )


def growths(study: Study) -> Section:
    """Rank against how many entities, or orders, go into ΔC (L10, Fig. 16)."""
    tables, told, claims = [], [], []
    for name, (q_label, _) in LABELS.items():
        for h in study.heads:
            grown, at = growth(study.run, study.one(name), h.layer, h.head, by=q_label), head_name(h.layer, h.head)
            rows = (
                grown.table.group_by("values")
                .agg(low=pl.col("rank").min(), mean=pl.col("rank").mean(), high=pl.col("rank").max())
                .sort("values")
            )
            rows = rows.rename({"mean": "rank"}).with_columns(
                pl.col("rank").cast(pl.Float64), feature=pl.lit(f"{name}, by {q_label}"), head=pl.lit(at)
            )
            tables.append(rows)
            told.append(_plateau(study, name, h, q_label, grown))
            if h is study.best:
                claims.append(
                    Claim(
                        f"L10 rank of {name}: it stops growing",
                        f"{study.run.name}, {at}",
                        "plateau (Fig. 16)",
                        *told[-1][1:],
                        authors="not in the scripts",
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


def _plateau(study: Study, name: str, h: HeadScore, label: str, grown: Growth) -> tuple[str, str, str]:
    """What was grown, its rank from half of the values and from all, and from how many."""
    half = max((n for n in grown.table["values"].unique() if n <= grown.total / 2), default=grown.total)
    some, every = (grown.table.filter(pl.col("values") == n) for n in (half, grown.total))
    ranks = some["rank"].to_numpy()
    mean, off = float(ranks.mean()), margin(ranks)
    whole = study.evidence(name, h).moments.rank
    here = (
        f"{estimate(mean, (mean - off, mean + off), 1)} from {half} values of {label}, "
        f"{estimate(whole.value, whole.interval, 0)} from all {grown.total}"
    )
    return (
        f"{head_name(h.layer, h.head)} {name}",
        here,
        f"{len(ranks)} draws of half the values; {every['queries'][0]:,} queries in all",
    )


def category_ranks(study: Study) -> Section:
    """ΔC of every category: a row each at the best head, a claim at each filter head (L2)."""
    best = study.best
    evidence = {name: study.evidence(c.name, best) for name, c in study.categories.items()}
    rows = [
        {
            "category": name,
            "rank, 99 %": _energy_rank(e),
            "statistical": _tested(e.rank, "statistical"),
            "cross-validated": _tested(e.rank, "cross_validated"),
            "‖ΔC‖": sized(e.moments.norm.value, e.moments.norm.interval),
            "null, 95 %": "–" if e.null is None else size(e.null),
            "mean query explains": _few(e) or estimate(e.moments.mean_query.value, e.moments.mean_query.interval, 5),
            "queries": f"{e.n:,}",
        }
        for name, e in evidence.items()
    ]
    there = {name: e.moments.mean_query for name, e in evidence.items() if not _few(e)}
    if not there:
        raise ContrastError(f"no category has {PARTS} queries on the {study.built} split, which its rank needs")
    share = list(there.values())
    least = min(share, key=lambda s: s.value)
    seen = (
        f"At {study.at} the mean query explains {spread([s.value for s in share], 5)} "
        f"of ‖ΔC‖² over {len(share)} of {len(evidence)} categories with {PARTS} queries or more "
        f"(the least: {estimate(least.value, least.interval, 5)}); "
        f"n = {spread([e.n for e in evidence.values()], 0)} queries a category."
    )
    points = [
        {"name": name, "group": "share", "value": s.value, "low": s.low, "high": s.high} for name, s in there.items()
    ]
    figure = Figure(
        f"{study.run.name}-ranks-share",
        "Share of ‖ΔC‖² that the mean query explains, by category",
        seen,
        charts.head_intervals(points, "share of ‖ΔC‖²", zero=False, reference=1.0),
    )
    claims = tuple(_category_claim(study, h) for h in study.heads)
    title = f"ΔC of every category at {study.at}, {study.built} prompts; 95 % intervals by jackknife over queries."
    return Section(
        f"{study.run.name}-ranks", "Rank of every category (L2)", (MEAN_QUERY, figure, Table(title, rows)), claims
    )


def _category_claim(study: Study, h: HeadScore) -> Claim:
    every = [study.evidence(c.name, h) for c in study.categories.values()]
    evidence = [e for e in every if not _few(e)]
    ones, n = sum(e.moments.rank.value == 1 for e in evidence), len(evidence)
    least = min((e.moments.mean_query for e in evidence), key=lambda share: share.value)
    summed = [covariance(study.run, authors_category(name), h.layer, h.head).subspace.rank for name in study.categories]
    alike, total = sum(r == 1 for r in summed), len(summed)
    authors = f"summed: {alike} of {total} of rank 1, share {estimate(alike / total, wilson(alike, total))}"
    measured = (
        f"{ones} of {n} of rank 1, share {estimate(ones / n, wilson(ones, n))}; "
        f"the mean query explains {estimate(least.value, least.interval, 5)} of ‖ΔC‖² at least"
    )
    return Claim(
        "L2 ΔC of a category has rank 1",
        f"{study.run.name}, {head_name(h.layer, h.head)}",
        "each rank 1",
        measured,
        f"{n} of {len(every)} categories, {spread([e.n for e in evidence], 0)} queries each",
        authors,
    )
