"""The sections on swaps of keys (L4, L9), in closed form and in the running model, and how a swap is told."""

from __future__ import annotations

from collections.abc import Iterable

from qkstore import charts
from qkstore.analysis import Intervention, intervene
from qkstore.analysis.claim import Claim
from qkstore.analysis.heads import HeadScore
from qkstore.analysis.live import Answers, Live, Outcome, statement
from qkstore.analysis.swaps import sentence
from qkstore.intervention import MEANS, Condition, features_and_randoms
from qkstore.report.document import Figure, Section, Table
from qkstore.report.study import LISTS, SPAN, Study, enough
from qkstore.text import estimate, head_name, number

CLOSED = (
    "Two keys of a prompt exchange their coordinates in a subspace; attention follows in closed form "
    "from the stored vectors, which equals a re-run of the model with the edit. Random subspaces are ten of each rank."
)
PAPER = {
    LISTS: "attention shifts, much more than at random; not all of it",
    "order": "shifts some",
    "lexical": "shifts some",
    "order+lexical": "shifts the majority",
    "random": "negligible",
}


def swaps(study: Study) -> Section:
    """Every condition over the same queries and targets, at each selected head (L4, L9)."""
    of = (
        "Figure 7 (Figure 19 is that of Qwen3-4B)"
        if study.kind == LISTS
        else "Figures 9 and 18 (Figure 20 is that of Qwen3-4B)"
    )
    figures, claims = [], []
    for h in study.heads:
        swapped = _lists(study, h) if study.kind == LISTS else [intervene(study.run, study.features, h.layer, h.head)]
        enough(min(s.n for s in swapped), "swaps")
        features, randoms = features_and_randoms(c for s in swapped for c in s.conditions)
        conditions = features + randoms
        at, n = head_name(h.layer, h.head), " and ".join(f"{s.n:,}" for s in swapped)
        before = conditions[0]
        seen = (
            f"Before: original {estimate(before.original_before, before.ci['original_before'])}, "
            f"target {estimate(before.target_before, before.ci['target_before'])}. The target has afterwards: "
            f"{targets_after(conditions)}. {beyond(features)} n = {n} queries of the {study.judged} split."
        )
        figures.append(
            Figure(
                f"{study.run.name}-swaps-L{h.layer}H{h.head}",
                f"Swaps at {at}",
                seen,
                charts.swap_bars([c.to_dict() for c in conditions]),
                of,
            )
        )
        if h is study.best:
            claims = _claims(study, features, randoms)
    title = "Category swaps (L4)" if study.kind == LISTS else "Binding swaps (L9)"
    return Section(f"{study.run.name}-swaps", title, (CLOSED, *figures), tuple(claims))


def _lists(study: Study, h: HeadScore) -> list[Intervention]:
    spans = study.features | {f"all {len(study.categories)}": study.named[SPAN]}
    return [intervene(study.run, {name: contrasts}, h.layer, h.head) for name, contrasts in spans.items()]


def _claims(study: Study, features: list[Condition], randoms: list[Condition]) -> list[Claim]:
    scripts = {v.name: v for v in study.variants(study.best) if v.whose == "scripts"}
    rows = []
    for c, r in zip(features, randoms):
        before, then = (estimate(getattr(c, key), c.ci[key]) for key in ("original_before", "original_after"))
        measured = f"original {before} → {then}, {gained(c, r)}; {moved(c)}"
        name, paper = ("L4 category", PAPER[LISTS]) if study.kind == LISTS else ("L9", PAPER.get(c.name, "–"))
        v = scripts.get(c.name)
        authors = "see sum against mean" if study.kind == LISTS else "–"
        if v:
            authors = f"target → {after(v.swap)}; rank {v.swap.rank}, overlap with the text's {number(v.overlap)}"
        where = f"{study.run.name}, {study.at}"
        rows.append(Claim(f"{name} swap: {c.name}", where, paper, measured, f"{c.n:,} queries", authors))
    return rows


def beyond(features: Iterable[Condition]) -> str:
    """What each feature's swap does more than random subspaces of its rank, by the logit gap and by attention."""
    return " ".join(f"{told[:1].upper()}{told[1:]}." for c in features if (told := sentence(c.to_dict())))


def moved(c: Condition) -> str:
    """The move of the logit gap towards the target, beyond that of random subspaces."""
    gap = f"logit gap moves by {estimate(c.gap_gain, c.ci['gap_gain'], 2)}"
    if not c.beyond:
        return gap
    value, low, high = c.beyond["gap_gain"]
    return f"{gap}, beyond random {estimate(value, (low, high), 2)}"


def after(condition: Condition, key: str = "target") -> str:
    """The attention that a key ("target", "original") has after a swap, with its interval.

    Of random subspaces also the standard deviation over them.
    """
    name = f"{key}_after"
    told = estimate(getattr(condition, name), condition.ci[name])
    if condition.spread is None:
        return told
    return f"{told}, s.d. {number(condition.spread[name])} over {condition.bases} bases"


def targets_after(conditions: Iterable[Condition]) -> str:
    """What the target has after each swap: order 0.420 [0.390, 0.450]; random of rank 3 …"""
    return "; ".join(f"{f'random of rank {c.rank}' if c.bases else c.name} {after(c)}" for c in conditions)


def gained(feature: Condition, at_random: Condition) -> str:
    """What the target has before and after a feature's swap, and after random swaps of the same rank."""
    before = estimate(feature.target_before, feature.ci["target_before"])
    return f"target {before} → {after(feature)}, rank {feature.rank}; random of that rank → {after(at_random)}"


def lived(study: Study) -> Section:
    """What the catalogue keeps of swaps inside the running model, beside the closed form."""
    result, name = study.live(), f"{study.run.name}-live"
    title = "Swaps in the running model"
    if result is None:
        none = f"The catalogue keeps no live result of these features at {study.at}"
        return Section(name, title, (f"{none}; the command python -m ingest intervene makes one.",))
    at = f"{study.best.layer}:{study.best.head}"
    figure = Figure(
        f"{name}-target",
        f"Closed form and running model at {study.at}",
        f"{_moved(result, at)} {statement(result, at)}",
        charts.live_bars(result, at),
    )
    table = Table(
        (
            f"What the target has after each swap of heads {', '.join(result.heads)} together, "
            f"n = {result.n:,}; 95 % intervals."
        ),
        [_live_row(c, h) for c in result.conditions for h in result.heads],
    )
    return Section(name, title, (figure, table), tuple(_live_claims(study, result)))


def _moved(result: Live, at: str) -> str:
    """Closed form, live attention and answers of each feature's swap."""
    told = []
    for c in features_and_randoms(result.conditions)[0]:
        said = "" if c.answers is None else f", answers {_answers(c.answers, 'target_after')}"
        told.append(f"{c.name}: closed form {after(c.closed[at])}, live {after(c.attention[at])}{said}")
    return "; ".join(told) + f"; n = {result.n:,} queries."


def _answers(answers: Answers, name: str) -> str:
    return estimate(getattr(answers, name), answers.ci[name])


def _live_row(c: Outcome, h: str) -> dict[str, str]:
    told = "–" if c.answers is None else _answers(c.answers, "target_after")
    return {
        "swap": c.name,
        "head": h,
        "rank": str(c.ranks[h]),
        "closed form, head alone": after(c.closed[h]),
        "running model": after(c.attention[h]),
        "its logit gap": moved(c.attention[h]),
        "answers that are the target's": told,
    }


def _live_claims(study: Study, result: Live) -> list[Claim]:
    where, n = f"{study.run.name}, heads {', '.join(result.heads)}", f"{result.n:,} queries"
    measured = (
        f"largest difference in attention {result.gap:.1e}; "
        f"rounding of the model itself {result.noise['attention']:.1e}"
    )
    rows = [Claim("Closed form equals the running model", where, "–", measured, n)]
    for c, r in zip(*features_and_randoms(result.conditions)):
        if c.answers and r.answers:
            of = {name: _answers(c.answers, name) for name in MEANS[:4]}
            measured = (
                f"original's answer {of['original_before']} → {of['original_after']}, "
                f"target's {of['target_before']} → {of['target_after']}; "
                f"random of that rank → {_answers(r.answers, 'target_after')}, {r.bases} bases"
            )
            title = f"Answers of the model, swap: {c.name}"
            rows.append(Claim(title, where, "not measured", measured, n, authors="not in the scripts"))
    return rows
