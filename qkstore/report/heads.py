"""The report's section on heads (L1, L5): which ones the rule selects, and how they do on prompts apart from it."""

from __future__ import annotations

from statistics import median

from qkstore import charts
from qkstore.analysis import heads as analysis_heads
from qkstore.analysis.choice import LEAST_ACCURACY
from qkstore.analysis.claim import Claim
from qkstore.analysis.heads import HeadScore
from qkstore.errors import ContrastError
from qkstore.interval import wilson
from qkstore.report.document import Figure, Section, Table
from qkstore.report.study import LISTS, Study
from qkstore.text import estimate, head_name, number, percent, split_name

MOST = 16  # heads with their interval in a figure


def heads(study: Study) -> Section:
    """The map of all heads, the selected ones with intervals."""
    by = "selectivity" if study.kind == LISTS else "accuracy"
    scores, chosen = study.scores, study.heads
    if all(getattr(s, by) is None for s in scores):
        raise ContrastError(f"no head has a {by} under contrast {study.contrast.name!r}: no layer sees its keys")
    title = "Filter heads (L1)" if study.kind == LISTS else "Binding heads (L5)"
    said = "The selected heads." if study.selected else f"No head is selected; the best on the {study.built} split."
    table = Table(said, [_row(s) for s in chosen])
    return Section(
        f"{study.run.name}-heads",
        title,
        (analysis_heads.statement(scores) + _shown(study), _map(study, by), _intervals(study, by), table),
        tuple(_claims(study, by)),
    )


def _shown(study: Study) -> str:
    """Which of the selected heads the report shows, where it is not all of them."""
    if not study.selected:
        return (
            f" No head of {len(study.scores)} is selected. {study.at}, the best of them on the {study.built} split, "
            "is shown all the same, and nothing that follows says of it that it carries the feature."
        )
    return (
        f" Of {len(study.selected)} selected heads the first {len(study.heads)} are shown."
        if len(study.heads) < len(study.selected)
        else ""
    )


def _map(study: Study, by: str) -> Figure:
    values = [v for s in study.scores if (v := getattr(s, by)) is not None]
    seen = (
        f"Over {len(study.scores)} heads the median is {number(median(values))}; "
        f"ringed: {study.at}, {_told(study.best, by)}."
    )
    return Figure(
        f"{study.run.name}-heads-map",
        f"{analysis_heads.MEASURES[by][0]} of every head",
        seen,
        charts.head_map(analysis_heads.table(study.scores, by), by, (study.best.layer, study.best.head)),
    )


def _intervals(study: Study, by: str) -> Figure:
    chosen = {(s.layer, s.head) for s in study.heads}
    there = sorted(
        (s for s in study.scores if getattr(s, by) is not None),
        key=lambda s: ((s.layer, s.head) not in chosen, -(getattr(s.choice, by) or 0.0)),
    )[:MOST]
    rows = [_estimate(s, by, "selected" if (s.layer, s.head) in chosen else "not selected") for s in there]
    seen = "; ".join(f"{head_name(s.layer, s.head)}: {_told(s, by)}" for s in study.heads) + "."
    return Figure(
        f"{study.run.name}-heads-intervals",
        f"{analysis_heads.MEASURES[by][0]} with 95 % intervals, {study.judged} prompts",
        seen,
        charts.head_intervals(rows, analysis_heads.MEASURES[by][1]),
    )


def _estimate(s: HeadScore, by: str, group: str) -> dict:
    low, high = getattr(s, f"{by}_ci")
    return {"name": head_name(s.layer, s.head), "group": group, "value": getattr(s, by), "low": low, "high": high}


def _told(s: HeadScore, by: str) -> str:
    return f"{estimate(getattr(s, by), getattr(s, f'{by}_ci'))}, n = {s.n_queries:,}"


def _row(s: HeadScore) -> dict[str, str]:
    return {
        "head": head_name(s.layer, s.head),
        "ratio of attention": estimate(s.selectivity, s.selectivity_ci, 2),
        "accuracy": estimate(s.accuracy, s.accuracy_ci),
        f"attention on positive keys ({split_name(s.judged_on)})": number(s.attention_positive),
        "on negative keys": number(s.attention_negative),
        "n": f"{s.n_queries:,}",
        "chosen": s.choice.sentence,
    }


def _claims(study: Study, by: str) -> list[Claim]:
    n = f"{study.best.n_queries:,} {study.judged} prompts a head"
    none = f"no head of {len(study.scores)} is selected; the best on the {study.built} split, "
    if by == "selectivity":
        measured = "; ".join(
            f"{head_name(s.layer, s.head)} {estimate(s.selectivity, s.selectivity_ci, 2)}" for s in study.heads
        )
        measured = measured if study.selected else none + measured
        return [
            Claim(
                "L1 top three heads by attention on queried items over all others",
                study.run.name,
                "selected; no ratio is given",
                measured,
                n,
                authors="not in the scripts",
            )
        ]
    there = [s for s in study.scores if s.accuracy is not None]
    right = len(study.selected)
    measured = (
        f"{right} of {len(there)} heads, {estimate(right / len(there), wilson(right, len(there)))}; the best, "
        if study.selected
        else none
    ) + f"{study.at}: {_told(study.best, by)}"
    return [
        Claim(
            f"L5 heads that pick the right box in {percent(LEAST_ACCURACY)} or more; chance {percent(there[0].chance)}",
            study.run.name,
            "9 heads (Llama-3.1-8B)",
            measured,
            n,
            authors="not in the scripts",
        )
    ]
