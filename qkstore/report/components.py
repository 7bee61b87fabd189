"""The section on components: what the heads of a report match on, found without labels, named and swapped."""

from __future__ import annotations

from collections.abc import Sequence

from qkstore import charts
from qkstore.analysis.claim import Claim
from qkstore.analysis.decomposition import Study as HeadStudy
from qkstore.analysis.decomposition.claim import GAP, RHO, called
from qkstore.analysis.decomposition.swaps import ALL, REST
from qkstore.analysis.heads import HeadScore
from qkstore.components import STRONG
from qkstore.errors import ContrastError
from qkstore.intervention import Condition
from qkstore.report.document import Figure, Section, Table
from qkstore.report.study import Study, enough
from qkstore.report.swaps import after, moved
from qkstore.text import estimate, head_name, number, p_value, percent, split_name, spread, visible
from qkstore.toy.components import OPEN

TITLE = "Components, found without labels"
READ = (
    "The head's own attention is the label: what it chose against what it left, decomposed by canonical correlation "
    "and rotated by ICA; labels name components afterwards. A number of components is no evidence of features, since "
    "attention picks keys that fit the query in any head, one of random weights too. Three things have to be seen "
    "together: a component's correlation on the judged split, what labels explain of it, and its swap beyond random "
    f"dimensions. Clear is one whose intervals lie above {RHO} (correlation) and above {GAP} logits (swap). Components "
    "that no label explains stand first: the page Components shows the prompts at their ends."
)


def components(study: Study) -> Section:
    """Number, elbow, names and swaps of the components of every shown head; a head without a choice is one line.

    Raises ContrastError where no shown head has anything to choose, and where queries are too few.
    """
    found, why = _found(study)
    if not found:
        raise ContrastError("; ".join(why))
    parts: list[str | Figure | Table] = [READ, *dict.fromkeys(f"{s.warning}." for _, s in found if s.warning)]
    parts += [f"No components: {told}." for told in why]
    for h, of in found:
        parts += [_elbow(study, h, of), *([_table(of)] if of.rows else [])]
    swapped = [of for _, of in found if of.swaps]
    parts += [_swaps(swapped), _bars(study, swapped[0])] if swapped else []
    parts += [f"{of.sentences[-1]} ({head_name(of.layer, of.head)})." for _, of in found[:1]]
    claims = [claim for h, of in found if h is study.best for claim in _claims(study, of)]
    return Section(f"{study.run.name}-components", TITLE, tuple(parts), tuple(claims))


def _found(study: Study) -> tuple[list[tuple[HeadScore, HeadStudy]], list[str]]:
    """(each shown head that has a choice, with its components; why the others have none)."""
    found, why = [], []
    for h in study.heads:
        try:
            found.append((h, study.components(h)))
        except ContrastError as error:
            why.append(str(error))
    for _, of in found:
        enough(min(of.n_built, of.n_judged), "queries with a choice")
    return found, why


def _elbow(study: Study, h: HeadScore, of: HeadStudy) -> Figure:
    """Held-out correlations in their order beside what chance gives."""
    told, named = of.number, [row for row in of.rows if row["named"]]
    clear = sum(claim.clear for claim in of.claims.values())
    unnamed = f"{clear or 'none'} clear of chance, {len(of.unnamed) or 'none'} without a name"
    explained = f"; names explain {spread([row['explained'] for row in named], 2)} of their variance" if named else ""
    seen = (
        f"{_count(of)} have a held-out correlation above {STRONG} (dashed) and above chance (red; "
        f"{number(told['chance'], 2)} in 95 % of {len(told['null'])} times that queries are paired anew, "
        f"{p_value(told['p_value'], len(told['null']))}){f', {unnamed}' if of.rows else ''}{explained}; "
        f"{told['clear']} are above chance, weak ones too. n = {told['n']:,} queries of the {study.built} split."
    )
    return Figure(
        f"{study.run.name}-components-L{h.layer}H{h.head}",
        f"Components of {head_name(h.layer, h.head)}, by held-out correlation",
        seen,
        charts.elbow(told["held"], told["value"], told["chance"]),
    )


def _count(of: HeadStudy) -> str:
    value = of.number["value"]
    return f"{estimate(value, of.number['interval'], 0)} {'component' if value == 1 else 'components'}"


def _table(of: HeadStudy) -> Table:
    """A row a component, those without a name first."""
    title = (
        f"Components of {head_name(of.layer, of.head)}: correlation on {of.n_judged:,} queries of the "
        f"{split_name(of.judged_on)} split, part of the centred logit gap, the label that explains most, and what the "
        "swap of one alone does beyond a random dimension; 95 % intervals."
    )
    return Table(title, [_row(of, row) for row in of.rows])


def _row(of: HeadStudy, row: dict) -> dict[str, str]:
    claim = of.claims[row["component"]]
    return {
        "component": str(row["component"]),
        "name": visible(called(row)),
        "ρ": estimate(row["rho"], row["rho_ci"], 2),
        "of the gap": percent(row["share"], 1),
        "best label": visible(row["label"] or "–"),
        "explained": percent(row["explained"]),
        "swap, logits": estimate(row["gap"], row["gap_ci"], 2),
        "swap, attention": estimate(row["moved"], row["moved_ci"]),
        "clear": "yes" if claim.clear else f"no: {claim.why}",
    }


def _conditions(of: HeadStudy) -> list[tuple[Condition, Condition]]:
    """The swap of all components and of everything but them, where there is that, each with the random one."""
    pairs = []
    for name in (ALL, REST):
        if told := of.condition(name):
            by_chance = of.condition(f"random {told['rank']}")
            assert by_chance, "each size of a group has its random baseline"
            pairs.append((Condition(**told), Condition(**by_chance)))
    return pairs


def _swaps(found: Sequence[HeadStudy]) -> Table:
    """A row a head and a group: what attention does when all components, or all else, are exchanged."""
    rows = [
        {
            "head": head_name(of.layer, of.head),
            "swap": c.name,
            "dimensions": str(c.rank),
            "original": f"{estimate(c.original_before, c.ci['original_before'])} → {after(c, 'original')}",
            "target": f"{estimate(c.target_before, c.ci['target_before'])} → {after(c)}",
            "target, random dimensions": after(r),
            "logit gap moves by": estimate(c.gap_gain, c.ci["gap_gain"], 2),
            "beyond random": _beyond(c),
            "n": f"{c.n:,}",
        }
        for of in found
        for c, r in _conditions(of)
    ]
    title = (
        "The key that a query chose and another one of its keys exchange their scores in all components of the head, "
        "in everything but them, and in as many random dimensions: attention on both, in closed form."
    )
    return Table(title, rows)


def _beyond(c: Condition) -> str:
    value, *interval = (c.beyond or {})["gap_gain"]
    return estimate(value, interval, 2)


def _bars(study: Study, of: HeadStudy) -> Figure:
    """The same of one head, as bars."""
    pairs = _conditions(of)
    told = "; ".join(f"{c.name} {after(c)}, random {after(r)}" for c, r in pairs)
    at = head_name(of.layer, of.head)
    return Figure(
        f"{study.run.name}-components-swaps",
        f"Swaps of all components of {at}, and of all others",
        f"The target has afterwards: {told}. n = {pairs[0][0].n:,} queries of the {study.judged} split.",
        charts.swap_bars([c.to_dict() for c in [*(c for c, _ in pairs), *(r for _, r in pairs)]]),
    )


def _claims(study: Study, of: HeadStudy) -> list[Claim]:
    where, clear = f"{study.run.name}, {study.at}", sum(claim.clear for claim in of.claims.values())
    rows = [
        Claim(
            "Components without labels",
            where,
            OPEN,
            f"{_count(of)}, {len(of.unnamed)} without a name, {clear} clear; chance {number(of.number['chance'], 2)}",
            f"{of.n_built:,} queries found on, {of.n_judged:,} judged on",
            authors="not in the scripts",
        )
    ]
    for c, r in _conditions(of):
        title = f"Components without labels, swap of {c.name}"
        told = (
            f"target {estimate(c.target_before, c.ci['target_before'])} → {after(c)}; random of as many → {after(r)}; "
            f"{moved(c)}"
        )
        rows.append(Claim(title, where, OPEN, told, f"{c.n:,} queries", authors="not in the scripts"))
    return rows
