"""All heads of a layer as small pictures of points, each in its own subspace of a contrast."""

from __future__ import annotations

from collections.abc import Callable

from qkstore.analysis.head import Contrasts, Head, Split
from qkstore.analysis.points.cloud import Chosen, Method, Points
from qkstore.run import Run

FEW = 300  # points of a small picture


def layer_points(
    run: Run,
    contrasts: Contrasts,
    layer: int,
    q_label: str,
    k_label: str,
    method: Method = "pca",
    split: Split = "judge",
    most: int = FEW,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[int, Points]:
    """{head: its points}, at most `most` of each head and the same queries and keys in all of them (see Cloud.draw).

    progress is called with heads done and heads in all. Raises RunError for a layer that is not there.
    """
    run.layer(layer)
    chosen = Chosen.of(run, contrasts, q_label, k_label, split)
    found = {}
    for head in range(run.n_heads):
        found[head] = chosen.cloud(Head(run, layer, head)).draw(method, most=most, seed=seed)
        if progress:
            progress(head + 1, run.n_heads)
    return found
