"""The covariance of a contrast in one head.

How many dimensions it takes, whether it beats chance, and what it shares with another.
"""

from __future__ import annotations

from functools import partial

import streamlit as st

from dashboard import notes, panel, results, shell, state
from dashboard.contrasts import offered
from dashboard.head import sized
from dashboard.text import line, plain
from qkstore import charts
from qkstore.analysis import head
from qkstore.text import p_value, split_name

shell.enter()

panel.title(
    "Subspaces", "How many dimensions does the feature take in this head, and what does it share with another feature?"
)
view = state.view(extra=[3])
with view.extra[0]:
    beside, others = state.partner(view), view.others()
    options = others if beside else [state.NONE, *others]
    chosen = state.select("Compare with", "and", options, beside or state.NONE, also=offered.newest(view.named))
    other = None if chosen == state.NONE else chosen
fitted = results.covariance(view.run, view.contrast, view.layer, view.head)
null = results.permuted(view.run, view.contrast, view.layer, view.head)
dimension = compared = None
with shell.optional():
    dimension = results.dimensions(view.run, view.contrast, view.layer, view.head)
if other:
    with shell.optional():
        compared = results.compared(view.run, view.contrasts, view.named[other], view.layer, view.head)

nothing_beside = "no other contrast has pairs here" if others and not beside else "nothing to compare with"
panel.figures(
    [
        (
            "Rank",
            f"{fitted.subspace.rank} of {view.run.d_head}",
            f"statistical {dimension.rank.statistical}, cross-validated {dimension.rank.cross_validated}"
            if dimension
            else "too few queries to test it",
        ),
        (
            "‖ΔC‖",
            f"{float((fitted.delta**2).sum() ** 0.5):.3g}",
            f"centred {null.norm:.3g}, {null.ratio:.1f} × null, {p_value(null.p_value, len(null.norms))}"
            if null.ratio is not None
            else sized.no_ratio(null),
        ),
        ("Mean-query share", panel.percent(fitted.covariance.mean_query_share), "of ‖ΔC‖²"),
        (
            "Overlap in key space",
            panel.percent(compared and compared.overlap_key),
            f"with {other}; random {panel.percent(compared.expected)}" if compared else nothing_beside,
        ),
    ]
)
main, detail = panel.panels()
with main:
    line(
        f"Singular values of ΔC; blue ones hold 99 % of ‖ΔC‖². Built on the {split_name(fitted.split)} split: "
        f"{fitted.counts.n_q:,} queries, {fitted.counts.n_pos:,} positive and {fitted.counts.n_neg:,} negative pairs."
    )
    spectrum = partial(charts.singular_values, fitted.subspace.S, fitted.subspace.rank, height=220)
    panel.chart(spectrum, "singular values")
    if dimension:
        line(f"{dimension.rank.sentence} Level {panel.percent(dimension.rank.level)}.", "sentence")
        line(
            f"Canonical correlations of queries and key contrasts: no change of the head's basis moves them. "
            f"Blue ones are above {dimension.canonical.chance:.2f} (line), about the largest that chance gives."
        )
        correlations = dimension.canonical
        panel.chart(
            partial(charts.canonical_correlations, correlations.values, correlations.chance),
            "canonical correlations",
        )
    with st.container(key="matrices"):
        for place, (name, matrix) in zip(st.columns(3), head.matrices(fitted.arrays()).items()):
            with place:
                panel.chart(partial(charts.matrix, matrix, name), name)
    line(
        "Queries down, keys across; blue above zero, orange below; each matrix has its own scale. "
        "The mean-query share is what the mean query alone explains of ΔC: near 100 %, its rank is 1 by construction."
    )
    if view.spans:
        line(
            f"{view.name} is the span of several contrasts; ΔC is that of {view.contrast.name}, the overlap "
            "that of the span."
        )
with detail:
    st.subheader("Against chance", anchor=False)
    if null.ratio is not None:
        line(f"‖ΔC‖ of centred queries against {len(null.norms)} random deals of the signs of their key contrasts")
        panel.chart(partial(charts.null_strip, null.norm, null.norms), "null")
    elif null.dealt:
        line("All queries, or the key contrasts of all, are alike: ΔC of centred queries is 0, and so is every deal.")
    else:
        line("Each query of this contrast has keys of one sign only, so there is nothing to deal at random.")
    if compared:
        st.subheader(f"Against {plain(other)}", anchor=False)
        line(
            f"Principal angles between subspaces of ranks {compared.ranks[0]} and {compared.ranks[1]}. "
            f"Overlap: {panel.percent(compared.overlap_query)} of queries' directions, "
            f"{panel.percent(compared.overlap_key)} of keys'."
        )
        panel.chart(partial(charts.angles, compared.angles), "angles")
    st.subheader("As more goes in", anchor=False)
    with shell.optional(quiet=True):
        grown = results.grown(view.run, view.contrast, view.layer, view.head)
        line(
            f"99 % rank from the queries with 2, 4, … of the {grown.total:,} values of {grown.label}, drawn five times"
        )
        panel.chart(partial(charts.rank_growth, grown.table, grown.label), "growth")

values = head.spectrum(fitted.subspace.S, fitted.subspace.rank)
panel.csv(view, values, "singular-values")
panel.arrays(fitted.arrays, "covariance")
notes.show(view)
panel.reproduce(
    panel.command("covariance", view, view.one, out="covariance.npz"),
    panel.python(
        view,
        "from qkstore.analysis import covariance\nfrom qkstore.analysis.evidence import dimension",
        f"fitted = covariance(run, contrast, {view.layer}, {view.head})",
        "print(fitted.subspace.rank, fitted.delta.shape)",
        f"print(dimension(run, contrast, {view.layer}, {view.head}).rank)",
    ),
    view,
    "charts.singular_values(fitted.subspace.S, fitted.subspace.rank)",
)
