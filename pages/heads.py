"""Which heads carry a contrast: a map of all heads by any score, the chosen one beside it, and the ranked table."""

from __future__ import annotations

from functools import partial

import streamlit as st

from dashboard import notes, panel, results, shell, state
from dashboard.heads import beside, nulls
from dashboard.heads import map as maps
from dashboard.heads.detail import detail
from dashboard.heads.ranked import scores_of_all
from dashboard.text import line
from qkstore import charts
from qkstore.analysis import heads
from qkstore.text import split_name

shell.enter()

panel.title(
    "Heads", "Which heads carry a feature? A cell is a head: click one to see it, then follow it to the other pages."
)
view = state.view()
by_place, contrast_place, run_place = st.columns([1.6, 2.6, 2.6], vertical_alignment="bottom")
with by_place:
    by = state.select("Colour by", "by", list(heads.MEASURES), "accuracy", shown=lambda m: heads.MEASURES[m][0])
asked = beside.choice(view, contrast_place, run_place)
scores = results.heads(view.run, view.contrast)
top, table = heads.summary(scores), heads.table(scores, by)
others = results.heads(*asked) if asked else []
comparison = beside.compared(view, asked, others, by) if asked else None

if comparison:
    panel.figures(beside.figures(comparison, scores, others))
else:
    among = f"of {top.n:,}, clear of chance" if top.n_selected else f"none of {top.n:,} is clear of chance"
    panel.figures(
        [
            (f"Heads that carry {view.contrast.name}", f"{top.n_selected:,}", among),
            (
                "Best head" if top.n_selected else "Best by chance",
                f"L{top.best.layer} H{top.best.head}",
                heads.told(top.best),
            ),
            ("Rank of the best", f"{top.best.rank}", f"of {view.run.d_head} dimensions"),
            ("Queries judged", f"{top.best.n_queries:,}", f"{top.best.judged_on or 'all'} prompts"),
        ]
    )

waiting = st.empty()
if asked:
    beside.maps_beside(view, by, asked, others, comparison)
main, side = panel.panels()
with main:
    if asked and comparison:
        st.subheader("Differences", anchor=False)
        beside.differences(view, comparison)
    else:
        if not asked:
            maps.draw(view, partial(charts.head_map, table, by, (view.layer, view.head)), "map", by)
            maps.keyboard(view, [maps.key(view, "map", by)])
        line(f"{heads.MEASURES[by][0]}: {heads.MEASURES[by][1]}.")
        line(heads.clear_told(scores, by))
        line(maps.MARKS)
    shell.link("components", "Components of all heads, found without a contrast", run=view.run.name, heads="all")
    line(
        f"ΔC, its null and rank are built on the {split_name(scores[0].built_on)} split; "
        f"accuracy and attention are judged on the {split_name(scores[0].judged_on)} split."
    )
    if view.spans:
        line(f"{view.name} is the span of several contrasts; the scores are those of {view.contrast.name}.")
with side:
    detail(view, scores, comparison)

st.subheader("Choice of heads" if comparison else "Ranked", anchor=False)
line(heads.statement(scores))
line(results.origin(view.run, view.contrast))
if not comparison:
    scores_of_all(view, table, scores, by)
panel.csv(view, table, "heads")
notes.show(view)
beside.reproduce(view, by, asked, matched=comparison is not None)
nulls.wait(view.run, view.contrast, scores, waiting)
if asked:
    nulls.wait(*asked, others, waiting)
