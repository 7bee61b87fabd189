"""Attributions: how much of each logit of one prompt a feature explains, and how much nothing does."""

from __future__ import annotations

from functools import partial

import streamlit as st

from dashboard import notes, panel, results, shell, state
from dashboard.prompts import choice
from dashboard.prompts.window import shaded, window
from dashboard.text import line
from qkstore import charts
from qkstore.analysis import attribution, build_split, judge_split
from qkstore.analysis.choice import LEAST_QUERIES
from qkstore.text import percent, split_name, visible

shell.enter()

panel.title(
    "Attributions",
    "What does each feature add to the logits of one prompt? The parts of a bar sum to the logit exactly.",
)
view = state.view(extra=[2.2, 2.2])
with view.extra[0]:
    other = state.partnered(view)
features = {name: view.named[name] for name in (view.name, other) if name}
with view.extra[1]:
    orders = attribution.orders(list(features))
    order = state.select("Project out", "order", ["smaller rank first", *orders], "smaller rank first")
split = judge_split(view.run)
prompt = choice.choose(view, results.prompts(view.run, split), split)
parts = results.attribute(view.run, features, view.layer, view.head, prompt["prompt_id"], order=orders.get(order))
top = attribution.most_attended(parts.tokens)

panel.figures(
    [
        ("Most attention", panel.percent(top["attention"]), panel.token(top)),
        ("Its logit", f"{top['logit']:.2f}", panel.parts(top)),
        (
            "Answer",
            visible(prompt["answer"] or panel.MISSING),
            f"{prompt['split']} prompt {prompt['prompt_id']}, {prompt['variant'] or 'no variant'}",
        ),
        ("Projected first", visible(parts.order[0]), panel.ranks(parts.ranks)),
    ]
)
with st.container(border=True):
    attended, query = {t["pos"]: t["attention"] for t in parts.tokens}, parts.query["pos"]
    places = {"Most attended": parts.tokens.index(top), "Query": sum(pos < query for pos in attended) - 1}
    shown = window(list(attended.values()), {name: max(at, 0) for name, at in places.items()})
    panel.chart(partial(charts.attribution_bars, [parts.tokens[i] for i in shown], parts.order), "logits")
    line(
        f"The short line is the logit{' before the soft-cap' if parts.softcap else ''}. "
        f"Query: position {query}, {parts.query['text']!r}. "
        f"The subspaces are built on the {split_name(build_split(view.run))} split."
    )
    shaded(view.run, prompt["prompt_id"], attended, {query: "query"}, shown)
    line("Shaded by attention; the query is outlined. " + panel.labelled(prompt, view.run.prompt_labels))
with st.container(border=True), shell.optional():
    st.subheader("Over all prompts", anchor=False)
    spread = results.gaps(view.run, features, view.layer, view.head, view.contrast, order=orders.get(order))
    panel.chart(partial(charts.logit_distribution, spread, width="container"), "gaps")
    told = attribution.distributed(spread)
    shares = [
        f"{row['part']} {percent(row['share'])} [{percent(row['share_low'])}, {percent(row['share_high'])}]"
        for row in told.to_dicts()[1:]
        if row["share"] is not None and len(spread.gap) >= LEAST_QUERIES
    ]
    none = "The mean gap is 0" if len(spread.gap) >= LEAST_QUERIES else f"Fewer than {LEAST_QUERIES} queries"
    line(
        f"The logit of the positive key of {view.contrast.name} less the mean of the negative ones, of "
        f"{len(spread.gap):,} queries of the {split_name(spread.split)} split, and its parts: box from quartile to "
        "quartile, whiskers from 5 to 95 %, stroke the median, dot the mean. "
        + (f"Share of the mean gap: {', '.join(shares)}." if shares else f"{none}: no share is told.")
    )
    panel.csv(view, told, "gaps")
table = attribution.table(parts.tokens)
st.dataframe(
    table,
    hide_index=True,
    placeholder=panel.MISSING,
    column_config={"attention": st.column_config.NumberColumn(format="percent")}
    | {name: st.column_config.NumberColumn(name, format="%.3f") for name in ("logit", *parts.order, "rest")},
)
panel.csv(view, table, "logits")
notes.show(view)
panel.reproduce(
    panel.command("attribute", view, **{"and": other, "prompt": prompt["prompt_id"], "order": ",".join(parts.order)}),
    panel.python(
        view,
        "from qkstore.analysis import attribute\nfrom qkstore.analysis.attribution import distributed, gaps",
        f"parts = attribute(run, features, {view.layer}, {view.head}, {prompt['prompt_id']}, order={parts.order!r})",
        "for token in parts.tokens:",
        "    print(token)",
        f"(over, *_) = store.feature(run, {view.one!r})",
        f"spread = distributed(gaps(run, features, {view.layer}, {view.head}, over, order={parts.order!r}))",
        "print(spread)",
        features=features,
    ),
    view,
    "charts.attribution_bars(parts.tokens, parts.order)",
)
