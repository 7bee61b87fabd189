"""Components of a head: what it matches on, found without labels, named afterwards, grouped and saved."""

from __future__ import annotations

import shlex

import streamlit as st

from dashboard import notes, panel, shell
from dashboard.components import across, chosen, group, labels, rows, scores
from dashboard.components import found as decomposed
from dashboard.components import head as heads
from dashboard.text import line, plain
from qkstore.analysis.decomposition.claim import called
from qkstore.errors import ContrastError

shell.enter()

panel.title(
    "Components",
    "What do heads match on, before anyone says what to look for? No contrast is needed to find it; "
    "the one chosen tells which head is shown first, and goes along to other pages.",
)
if across.asked():
    across.show()
    st.stop()
view = heads.view()
first = st.empty()
try:
    if counted := decomposed.number(view):
        with first.container():
            rows.counted(view, counted)
    found = decomposed.found(view)
    first.empty()
except ContrastError as error:
    found = None
    st.info(shell.told(error))
if found and found.study.warning:
    st.warning(plain(f"{found.study.warning}."))
if found and not found.study.rows:
    rows.figures(found.study)
    rows.elbow(found.study)
    st.info("This head has no component that stands clear of chance and above a correlation of 0.5.")
if not found or not found.study.rows:
    # no link: one to the page that is shown changes it and leaves the address
    st.button("Choose another head on the map of all", on_click=across.map_of_all)
else:
    study = found.study
    rows.figures(study)
    main, detail = panel.panels()
    with main:
        st.subheader("How many", anchor=False)
        rows.elbow(study)
        line(
            "Correlations on prompts that they were not fitted on. Solid line: what pairing queries anew gives; "
            "dashed: from where a component counts. The first below it ends them."
        )
        st.subheader("Components", anchor=False)
        table = st.container()
        line(f"Unnamed ones stand first. {study.naming}. A click on a row chooses it.")
        pictures = st.container()
    with detail:
        row = rows.choose(study)
        st.subheader(f"Component {row['component']}: {plain(called(row))}", anchor=False)
        chosen.facts(found, row)
        labels.listed(view, study, row)
        with shell.optional():
            chosen.ends(view, found, row["component"])
    with table:
        rows.listed(view, study, row["component"])
    with pictures, shell.optional():
        scores.pictures(view, found, row)
    with st.container(border=True):
        group.panel_of(view, found, row)
    for sentence in study.sentences:
        line(f"{sentence}.")
notes.show(view)
at = f"{view.layer}, {view.head}"
where = ["--store", str(view.store.where), "--run", view.run.name, "--layer", str(view.layer), "--head", str(view.head)]
panel.reproduce(
    f"python -m qkstore components {shlex.join(where)}",
    "\n".join(
        [
            "import qkstore",
            "from qkstore.analysis.decomposition import kept_study",
            "",
            f"store = qkstore.open({str(view.store.where)!r})",
            f"run = store.run({view.run.name!r})",
            f"found = kept_study(store, run, {at})",
            "print(found.headline)",
            "for row in found.rows:",
            "    print(row['component'], row['name'], row['claim'], row['rho'], row['share'], row['moved'])",
            "",
        ]
    ),
    view,
    "charts.elbow(found.number['held'], found.number['value'], found.number['chance'])" if found else "",
)
