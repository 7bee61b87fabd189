"""The report's section on logit attribution (L11, section 5.3): one prompt as in Fig. 10, then all as distributions."""

from __future__ import annotations

from qkstore import charts
from qkstore.analysis import Contrasts, PromptAttribution, attribute, attribution, judge_split, shares
from qkstore.analysis.attribution import gaps
from qkstore.analysis.claim import Claim
from qkstore.analysis.heads import HeadScore
from qkstore.attribution import Distribution, Shares
from qkstore.contrast.example import prompts
from qkstore.errors import RunError
from qkstore.report.document import Figure, Section, Table
from qkstore.report.study import Study
from qkstore.text import estimate, head_name, number, size, visible


def attributions(study: Study) -> Section:
    """Bars of one prompt, box plots over all, and each feature's share of the gap with its interval (L11).

    The shares are given for both orders of projection, and for random subspaces of the same ranks.
    """
    at, features = study.at, study.features
    one = _one(study, features)
    gap = gaps(study.run, features, study.best.layer, study.best.head, study.one("order"))
    rows, points = [], []
    for h in study.heads:
        made, drawn = _orders(study, h, features)
        rows += made
        points += drawn if h is study.best else []
    note = (
        "A query is split by projecting out one feature's query subspace after the other, the smaller first; "
        "what they share counts towards the first. A part's share is that of the mean logit gap between the positive "
        "key and the mean of the others; random subspaces of the same ranks say what the ranks alone explain."
    )
    parts = (
        note,
        Figure(
            f"{study.run.name}-attribution-one",
            f"Logits of prompt {one.prompt_id} at {at}, split by feature",
            _told(one),
            charts.attribution_bars(one.tokens, one.order),
            "Figure 10",
        ),
        Figure(
            f"{study.run.name}-attribution-many",
            f"The logit gap over all {study.judged} prompts at {at}",
            _shares(gap),
            charts.logit_distribution(gap),
        ),
        Figure(
            f"{study.run.name}-attribution-orders",
            f"Share of the gap by order of projection, and of random subspaces, at {at}",
            _sensitivity(points, len(gap.gap)),
            charts.head_intervals(points, "share of the mean logit gap", reference=0.0),
        ),
        Table(
            (
                f"Shares of the mean logit gap at every selected head, {study.judged} prompts; "
                "95 % intervals, bootstrap over queries."
            ),
            rows,
        ),
    )
    return Section(f"{study.run.name}-attribution", "Logit attribution (L11)", parts, (_claim(study, gap),))


def _one(study: Study, features: dict[str, Contrasts]) -> PromptAttribution:
    """The first judged prompt that is no counterfactual."""
    base = (p for p in prompts(study.run, judge_split(study.run)) if p["variant"] in ("base", None))
    first = next(base, None)
    if first is None:
        raise RunError(f"run {study.run.name!r} has no base prompt on its {study.judged} split")
    return attribute(study.run, features, study.best.layer, study.best.head, first["prompt_id"])


def _told(one: PromptAttribution) -> str:
    top = attribution.most_attended(one.tokens)
    parts = ", ".join(f"{name} {number(value, 2)}" for name, value in top["parts"].items())
    return (
        f"Of {len(one.tokens)} stored keys {visible(top['text'])} has the most attention, {number(top['attention'])}; "
        f"its logit {number(top['logit'], 2)} is {parts}. One prompt, so without an interval."
    )


def _shares(gap: Distribution) -> str:
    return (
        f"Shares of the mean gap of {size(float(gap.gap.mean()))}: {_each(gap)}; n = {len(gap.gap):,} queries. "
        "Boxes hold the middle half of the queries, whiskers 90 %, a stroke is the median, a dot the mean."
    )


def _orders(study: Study, h: HeadScore, features: dict[str, Contrasts]) -> tuple[list[dict[str, str]], list[dict]]:
    """Rows and points of every order of projection, then of random subspaces."""
    at, over = head_name(h.layer, h.head), study.one("order")
    rows, points = [], []
    for title, order in attribution.orders(list(features)).items():
        gap = gaps(study.run, features, h.layer, h.head, over, order)
        rows.append(
            {"head": at, "projected": title}
            | {name: estimate(gap.share[name], gap.ci[name]) for name in (*features, "rest")}
            | {"n": f"{len(gap.gap):,} queries"}
        )
        points += [
            {
                "name": name,
                "group": title,
                "value": gap.share[name],
                "low": gap.ci[name][0],
                "high": gap.ci[name][1],
            }
            for name in (*features, "rest")
            if gap.ci[name]
        ]
    chance: Shares = shares(study.run, features, h.layer, h.head, over).shares
    if all(chance.random.values()):
        rows.append(
            {"head": at, "projected": "random of the same ranks"}
            | {name: _interval(*chance.random[name]) for name in (*features, "rest")}
            | {"n": "10 bases, ± 2 s.d."}
        )
        points += [
            {
                "name": name,
                "group": "random of the same ranks",
                "value": mean,
                "low": mean - 2 * sd,
                "high": mean + 2 * sd,
            }
            for name, (mean, sd) in chance.random.items()
        ]
    return rows, points


def _interval(mean: float, sd: float) -> str:
    return estimate(mean, (mean - 2 * sd, mean + 2 * sd))


def _sensitivity(points: list[dict], n: int) -> str:
    told = "; ".join(
        f"{p['name']} {estimate(p['value'], (p['low'], p['high']))} ({p['group']})"
        for p in points
        if p["name"] != "rest"
    )
    return f"{told}. n = {n:,} queries; whiskers of random subspaces are two standard deviations over ten bases."


def _each(gap: Distribution) -> str:
    """Each feature with its share of the mean gap."""
    return "; ".join(f"{name} {estimate(share, gap.ci[name])}" for name, share in gap.share.items())


def _claim(study: Study, gap: Distribution) -> Claim:
    return Claim(
        "L11 share of the logit gap that each feature explains",
        f"{study.run.name}, {study.at}",
        "one prompt; lexical more than order, a rest stays unexplained",
        _each(gap),
        f"{len(gap.gap):,} queries",
        authors="4 pairs, without 1/√d_head",
    )
