"""Who uses the store: oneself, who changed what, and the roles that people have."""

from __future__ import annotations

import polars as pl
import streamlit as st

from dashboard import door, panel, shell, state
from dashboard.text import line
from qkstore.store.catalog.people import MOST_ADDRESS, NONE
from qkstore.store.catalog.person import MAY, ROLES
from qkstore.text import visible

shell.enter()
MOST = 200  # changes

panel.title("Team", "Who changed what in this store, and who may.")
store = shell.store()
catalog, person = store.catalog, store.catalog.person
people, changes = catalog.people.all(), catalog.changes(MOST)

panel.figures(
    [
        ("You", visible(person.name) or "somebody", f"role {person.role}" if person.role else "no role"),
        ("People", f"{len(people):,}", "with a role"),
        ("Saved contrasts", f"{len(catalog.contrasts()):,}", f"{len(catalog.archived()):,} archived"),
        ("Notes", f"{catalog.notes.count():,}", "on runs, heads and contrasts"),
    ]
)

st.subheader("Changes", anchor=False)
table = pl.DataFrame(
    [(c.created, visible(c.who), visible(c.act), visible(c.subject)) for c in changes],
    schema={"when": pl.Datetime, "who": pl.String, "act": pl.String, "subject": pl.String},
    orient="row",
)
line(f"The last {len(changes):,}, newest first, in UTC. Versions, notes and roles are never overwritten.")
st.dataframe(
    table,
    hide_index=True,
    height=panel.height(table),
    column_config={
        "when": st.column_config.DatetimeColumn("When", format="YYYY-MM-DD HH:mm:ss"),
        "who": "Who",
        "act": "Did",
        "subject": st.column_config.TextColumn("What", width="large"),
    },
)
panel.download(table, "changes.csv")

st.subheader("Roles", anchor=False)
line("; ".join(f"{role}: may {MAY[role]}" for role in ROLES) + ". Each may do what the one before may.")
if not door.closed():
    line("This dashboard has no login: whoever reaches it acts as its user. Roles count where it has one.")
if people:
    rows = pl.DataFrame([{k: visible(str(p[k])[:19]) if k == "created" else visible(p[k]) for k in p} for p in people])
    titles = {"email": "Address", "role": "Role", "author": "Given by", "created": "Since"}
    st.dataframe(rows, hide_index=True, height=panel.height(rows), column_config=titles)


if person.may("admin"):
    with st.form("give", border=False):
        where, what, act = st.columns([4, 2, 2], vertical_alignment="bottom")
        told = "alice@example.org, or @example.org"
        address = where.text_input("Address", max_chars=MOST_ADDRESS, placeholder=told)
        role = what.selectbox("Role", [*ROLES, NONE])
        asked = act.form_submit_button("Give the role")
    if asked:
        state.changed(lambda: catalog.people.set(address, role), f"{address}: {role}.")
panel.reproduce(
    f"python -m qkstore history --store {store.where}",
    f"import qkstore\n\nfor change in qkstore.open({str(store.where)!r}).catalog.changes():\n    print(change)\n",
)
