"""The report's section on the leak of the order contrast: what it holds of the entity, what two remedies leave."""

from __future__ import annotations

from qkstore import charts
from qkstore.analysis import Head, conditions, judge_split, swapper
from qkstore.analysis.claim import Claim
from qkstore.analysis.evidence import Evidence
from qkstore.analysis.targets import visible_targets
from qkstore.charts import swap_bars
from qkstore.intervention import Condition
from qkstore.report.document import Figure, Section
from qkstore.report.study import Study, enough
from qkstore.report.swaps import after, moved, targets_after
from qkstore.text import estimate, head_name, number, p_value, percent, sized

ORDERS = ("order", "order-centred", "order-elsewhere")
LEAK = (
    "With one fixed queried entity the positive box always carries that entity, and the negative ones never do. "
    "So the order contrast also holds what the query says of that entity. Two remedies: centre the queries over "
    "prompts (order-centred), or take the keys from other prompts that lack the entity (order-elsewhere)."
)


def leak(study: Study) -> Section:
    """What the order contrast holds of the fixed entity: size, gap and what swaps move, raw and with each remedy."""
    names = [n for n in ORDERS if n in study.named]
    sizes, gaps = [], []
    for h in study.heads:
        for name in names:
            e, at = study.evidence(name, h), head_name(h.layer, h.head)
            sizes.append(
                {
                    "name": at,
                    "group": name,
                    "value": e.moments.norm.value,
                    "low": e.moments.norm.low,
                    "high": e.moments.norm.high,
                    "null": e.null,
                }
            )
            gap, (low, high) = e.gap
            gaps.append({"name": at, "group": name, "value": gap, "low": low, "high": high})
    swapped, n = _leak_swaps(study, names)
    parts = (
        LEAK,
        Figure(
            f"{study.run.name}-leak-norm",
            "‖ΔC‖ of the order contrast, raw and with each remedy",
            _strengths(study, names),
            charts.head_intervals(sizes, "‖ΔC‖ (log scale)", log=True),
        ),
        Figure(
            f"{study.run.name}-leak-gap",
            "Mean logit gap of the order contrast, raw and with each remedy",
            _gaps(study, names),
            charts.head_intervals(gaps, "mean logit on positive less on negative keys", reference=0.0),
        ),
        Figure(
            f"{study.run.name}-leak-swap",
            f"Swaps in each one's subspace at {study.at}",
            f"The target has, after the swap: {targets_after(swapped)}; the same {n:,} queries in every condition.",
            swap_bars([c.to_dict() for c in swapped]),
        ),
    )
    return Section(
        f"{study.run.name}-leak",
        "The leak of the order contrast",
        parts,
        tuple(_leak_claim(study, name, swapped, n) for name in names),
    )


def _leak_swaps(study: Study, names: list[str]) -> tuple[list[Condition], int]:
    """Swaps of one set of targets in the subspaces of all; (conditions, number of queries)."""
    run, at = study.run, Head(study.run, study.best.layer, study.best.head)
    targets = visible_targets(run, study.named["order"], [at.facts], judge_split(run))
    enough(len(targets), "swaps")
    spaces = {name: at.subspace(study.named[name]) for name in names}
    return conditions(spaces, swapper(at, targets).each, run.d_head, 10, 0), len(targets)


def _strengths(study: Study, names: list[str]) -> str:
    told = []
    for name in names:
        e = study.evidence(name, study.best)
        told.append(f"{name} {sized(e.moments.norm.value, e.moments.norm.interval)}, {_tested(e)}, n = {e.n:,}")
    return (
        f"At {study.at}: {'; '.join(told)}. The short strokes are the 95 % quantile of each null, which is of centred "
        "queries: what all queries share is in the norm and not in its null."
    )


def _tested(e: Evidence) -> str:
    """What the two nulls say of it: whether keys depend on the query, and whether on what its labels ask for."""
    signs = "no null of signs" if e.null is None else f"centred {number(e.strength, 1)} times its null"
    p_values = [("signs", e.signs), ("labels", e.labels)]
    dealt = ", ".join(f"{what} dealt anew {p_value(t.p_value, len(t.null))}" for what, t in p_values if t)
    return f"{signs} ({dealt})" if dealt else signs


def _gaps(study: Study, names: list[str]) -> str:
    told = [(name, study.evidence(name, study.best)) for name in names]
    return (
        f"At {study.at}: "
        + "; ".join(f"{name} {estimate(*e.gap, 2)}{_kept(e, told[0][1])}, n = {e.n:,}" for name, e in told)
        + "."
    )


def _kept(e: Evidence, raw: Evidence) -> str:
    """What a remedy leaves of the raw gap."""
    return "" if e is raw or not raw.gap[0] else f", {percent(e.gap[0] / raw.gap[0])} of the raw one"


def _leak_claim(study: Study, name: str, swapped: list[Condition], n: int) -> Claim:
    e, swap = study.evidence(name, study.best), next(c for c in swapped if c.name == name)
    norm = sized(e.moments.norm.value, e.moments.norm.interval)
    measured = (
        f"‖ΔC‖ {norm}, {_tested(e)}; gap {estimate(*e.gap, 2)}; target after the swap {after(swap)}, {moved(swap)}"
    )
    return Claim(
        f"Leak: {name}",
        f"{study.run.name}, {study.at}",
        "not discussed" if name == "order" else "no such control",
        measured,
        f"{e.n:,} queries; {n:,} swaps",
    )
