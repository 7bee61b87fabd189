"""The report's sections on interventions (L4, L9): closed form, live, query side, dose, and the authors' variants."""

from __future__ import annotations

from qkstore import charts
from qkstore.analysis import Intervention, intervene
from qkstore.analysis.heads import HeadScore
from qkstore.analysis.live import Live, statement
from qkstore.intervention import Condition
from qkstore.report.document import Claim, Figure, Section, Table
from qkstore.report.study import LISTS, SPAN, Study, after, head, named
from qkstore.text import estimate, number

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
    """L4, L9: every condition over the same queries and targets, at each selected head."""
    of = (
        "Figure 7 (Figure 19 is that of Qwen3-4B)"
        if study.kind == LISTS
        else "Figures 9 and 18 (Figure 20 is that of Qwen3-4B)"
    )
    figures, claims = [], []
    for h in study.heads:
        found = _lists(study, h) if study.kind == LISTS else [intervene(study.run, study.features, h.layer, h.head)]
        conditions = _paired(found)
        at, n = head(h.layer, h.head), " and ".join(f"{f.n:,}" for f in found)
        before = conditions[0]
        seen = (
            f"Before: original {estimate(before.original_before, before.ci['original_before'])}, "
            f"target {estimate(before.target_before, before.ci['target_before'])}. The target has afterwards: "
            f"{'; '.join(f'{named(c)} {after(c)}' for c in conditions)}. n = {n} queries of the {study.judged} split."
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
        claims += _claims(study, at, conditions) if h is study.best else []
    title = "Category swaps (L4)" if study.kind == LISTS else "Binding swaps (L9)"
    return Section(f"{study.run.name}-swaps", title, (CLOSED, *figures), tuple(claims))


def _lists(study: Study, h: HeadScore) -> list[Intervention]:
    spans = study.features | {f"all {len(study.categories)}": study.named[SPAN]}
    return [intervene(study.run, {name: contrasts}, h.layer, h.head) for name, contrasts in spans.items()]


def _paired(found: list[Intervention]) -> list[Condition]:
    """Those of features, then the random ones in the same order."""
    every = [c for f in found for c in f.conditions]
    return [c for c in every if not c.bases] + [c for c in every if c.bases]


def _claims(study: Study, at: str, conditions: list[Condition]) -> list[Claim]:
    features, randoms = [c for c in conditions if not c.bases], [c for c in conditions if c.bases]
    scripts = {v.name: v for v in study.variants(study.best) if v.whose == "scripts"}
    rows = []
    for c, r in zip(features, randoms):
        before, then = (estimate(getattr(c, key), c.ci[key]) for key in ("original_before", "original_after"))
        here = f"original {before} → {then}, {_gained(c, r)}"
        name, paper = ("L4 category", PAPER[LISTS]) if study.kind == LISTS else ("L9", PAPER.get(c.name, "–"))
        v = scripts.get(c.name)
        authors = "see sum against mean" if study.kind == LISTS else "–"
        if v:
            authors = f"target → {after(v.swap)}; rank {v.swap.rank}, overlap with the text's {number(v.overlap)}"
        rows.append(
            Claim(f"{name} swap: {c.name}", f"{study.run.name}, {at}", paper, authors, here, f"{c.n:,} queries")
        )
    return rows


def _gained(c: Condition, r: Condition) -> str:
    """What the target has before and after, and after random swaps of the same rank."""
    return (
        f"target {estimate(c.target_before, c.ci['target_before'])} → {after(c)}, rank {c.rank}; "
        f"random of that rank → {after(r)}"
    )


def lived(study: Study) -> Section:
    """What the catalogue keeps of swaps inside the running model, beside the closed form."""
    found, name = study.live(), f"{study.run.name}-live"
    title = "Swaps in the running model"
    if found is None:
        none = f"The catalogue keeps no live result of these features at {head(study.best.layer, study.best.head)}"
        return Section(name, title, (f"{none}; the command python -m ingest intervene makes one.",))
    at = f"{study.best.layer}:{study.best.head}"
    figure = Figure(
        f"{name}-target",
        f"Closed form and running model at {head(study.best.layer, study.best.head)}",
        f"{_moved(found, at)} {statement(found, at)}",
        charts.live_bars(found, at),
    )
    table = Table(
        (
            f"What the target has after each swap of heads {', '.join(found.heads)} together, "
            f"n = {found.n:,}; 95 % intervals."
        ),
        [_live_row(c, h) for c in found.conditions for h in found.heads],
    )
    return Section(name, title, (figure, table), tuple(_live_claims(study, found)))


def _moved(found: Live, at: str) -> str:
    """Closed form, live attention and answers of each feature's swap."""
    told = []
    for c in found.conditions:
        if not c.bases:
            said = (
                ""
                if c.answers is None
                else f", answers {estimate(c.answers.target_after, c.answers.ci['target_after'])}"
            )
            told.append(f"{c.name}: closed form {after(c.closed[at])}, live {after(c.attention[at])}{said}")
    return "; ".join(told) + f"; n = {found.n:,} queries."


def _live_row(c, h: str) -> dict[str, str]:
    told = "–" if c.answers is None else estimate(c.answers.target_after, c.answers.ci["target_after"])
    return {
        "swap": c.name,
        "head": h,
        "rank": str(c.ranks[h]),
        "closed form, head alone": after(c.closed[h]),
        "running model": after(c.attention[h]),
        "answers that are the target's": told,
    }


def _live_claims(study: Study, found: Live) -> list[Claim]:
    where, n = f"{study.run.name}, heads {', '.join(found.heads)}", f"{found.n:,} queries"
    rows = [
        Claim(
            "Closed form equals the running model",
            where,
            "–",
            "–",
            (
                f"largest difference in attention {found.gap:.1e}; "
                f"rounding of the model itself {found.noise['attention']:.1e}"
            ),
            n,
        )
    ]
    features, randoms = [c for c in found.conditions if not c.bases], [c for c in found.conditions if c.bases]
    for c, r in zip(features, randoms):
        if c.answers and r.answers:
            a, b = c.answers, r.answers
            here = (
                f"original's answer {estimate(a.original_before, a.ci['original_before'])} "
                f"→ {estimate(a.original_after, a.ci['original_after'])}, "
                f"target's {estimate(a.target_before, a.ci['target_before'])} "
                f"→ {estimate(a.target_after, a.ci['target_after'])}; "
                f"random of that rank → {estimate(b.target_after, b.ci['target_after'])}, {r.bases} bases"
            )
            rows.append(
                Claim(f"Answers of the model, swap: {c.name}", where, "not measured", "not in the scripts", here, n)
            )
    return rows
