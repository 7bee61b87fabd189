"""Labels to colour a picture by: which column of a query says what which column of a key says."""

from __future__ import annotations

from qkstore.contrast import Contrast
from qkstore.run import Run
from qkstore.sql import guard

ALWAYS = ("role", "split", "variant")


def choices(run: Run) -> tuple[list[str], list[str]]:
    """The label columns that queries and that keys can be coloured by."""
    prompt, token = list(run.prompt_labels), list(run.token_labels)
    return [*prompt, *ALWAYS, *token], [*token, *ALWAYS, *prompt]


def labels(run: Run, contrast: Contrast) -> tuple[str, str]:
    """(query label, key label) that name the contrast's feature on both sides.

    From a positive predicate such as `k.order_id = q.queried_order` or `k.z1 = q.z1`; or else a key label x whose query
    label is queried_x.
    """
    q_choices, k_choices = choices(run)
    used = guard.columns_used(contrast.positive) if contrast.positive else set()
    q = [c for side, c in used if side == "q" and c in (*run.prompt_labels, *run.token_labels)]
    k = [c for side, c in used if side == "k" and c in run.token_labels]
    if len(q) == len(k) == 1:
        return q[0], k[0]
    for label in run.token_labels:
        if f"queried_{label}" in run.prompt_labels:
            return f"queried_{label}", label
    return q_choices[0], k_choices[0]
