"""Everything about one head: whether it carries a contrast, in how many dimensions, and the pairs that show it."""

from __future__ import annotations

import streamlit as st

from dashboard import notes, panel, shell, state
from dashboard.head import near, ranking, sized
from dashboard.text import line, plain
from qkstore.analysis import build_split, judge_split
from qkstore.text import split_name

shell.enter()

panel.title(
    "Head", "What does one head do with a contrast? Its figures, and the pairs of a query and a key that show it."
)
view = state.view()
st.subheader(f"Layer {view.layer}, head {view.head}: {plain(view.name)} in {plain(view.run.name)}", anchor=False)
measured = sized.of(view)
sized.figures(measured, view.run.d_head)
quarters = st.container()

main, detail = panel.panels()
with main:
    st.subheader("Strongest pairs", anchor=False)
    by, among, ranked = ranking.ranking(view)
    attributed = sized.Part(None, "No pair is chosen.")
    if ranked is not None:
        line(f"{ranked.sentence}.")
    if ranked is not None and len(ranked.table):
        ranking.listed(view, ranked)
        line(
            "Outlined: the query in red, a positive key in blue, a negative one dashed in orange, any other dotted in "
            "green. The link of a prompt leads to its attribution."
        )
        panel.csv(view, ranked.table, f"pairs-{by}")
    elif ranked is not None:
        line("There is none to show.")
with detail:
    attributed = sized.Part(None, "There is no pair whose prompt could be shown.")
    if ranked is not None and len(ranked.table):
        st.subheader("Chosen pair", anchor=False)
        pair = ranking.chosen(view, ranked)
        attributed = sized.attribution(view, pair["prompt_id"], pair["query_row"])
with quarters:
    sized.small(view, measured, attributed)
with detail:
    st.subheader("Nearest heads", anchor=False)
    near.neighbours(view)
    st.subheader("More of this head", anchor=False)
    with st.container(horizontal=True):
        for page in (name for name in shell.GROUPS["Explain"] if name != "head"):
            shell.link(page, page.capitalize(), **ranking.carried(view))
    if view.spans:
        line(
            f"{view.name} is the span of several contrasts; accuracy, null and ranks are those of "
            f"{view.contrast.name}, the swap, the projection and the attribution those of the span."
        )
    built, judged = split_name(build_split(view.run)), split_name(judge_split(view.run))
    line(f"Subspaces are built on the {built} split, all else is of the {judged} split.")
notes.show(view)
at = f"{view.layer}, {view.head}"
panel.reproduce(
    "\n".join(
        [
            panel.command("strongest", view, by=by, among=among),
            panel.command("rank", view, view.one),
            panel.command("intervene", view),
            panel.command("nearest", view),
        ]
    ),
    panel.python(
        view,
        "from qkstore.analysis import intervene\nfrom qkstore.analysis.pairs import nearest, strongest",
        f"found = strongest(run, contrasts, {at}, {by!r}, {among!r})",
        "print(found.table, found.sentence)",
        f"swaps = intervene(run, {{{view.name!r}: contrasts}}, {at})",
        "print(swaps.conditions[0])",
        f"print(nearest(run, contrasts, {at}).table)",
        one=False,
    ),
    view,
    "charts.small_swap([c.to_dict() for c in swaps.conditions])" if measured.swapped.value else "",
)
