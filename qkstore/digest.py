"""The digest of a result: the table that is exported, and the one line or figure that stands for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import polars as pl

from qkstore.text import visible

SWAPS = {
    "original_before": "Original before",
    "target_before": "Target before",
    "original_after": "Original after",
    "target_after": "Target after",
    "delta_p": "Target gains",
    "flip_rate": "Flip rate",
}


def values(S: np.ndarray, rank: int) -> pl.DataFrame:
    """Singular values with the share of ‖ΔC‖² that they and those before them hold."""
    held = np.cumsum(np.square(S, dtype=np.float64))
    return pl.DataFrame(
        {
            "index": np.arange(1, len(S) + 1),
            "value": S,
            "held": held / held[-1] if held[-1] else held,
            "kept": np.arange(len(S)) < rank,
        }
    )


def matrices(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The three matrices of a contrast by their names in the paper."""
    return {"C+": arrays["C_pos"], "C−": arrays["C_neg"], "ΔC": arrays["delta"]}


def held(explained: Sequence[float] | None) -> float | None:
    """The share of the variance on all drawn axes together; None for axes without variance."""
    return float(sum(explained)) if explained else None


def swaps(conditions: Sequence[dict]) -> pl.DataFrame:
    """A row a condition: means, and the low and high ends of the interval of what the target gains."""
    rows = [
        {"name": c["name"], "rank": c["rank"], "bases": c["bases"]}
        | {name: c[name] for name in SWAPS}
        | {"gain_low": c["ci"]["delta_p"][0], "gain_high": c["ci"]["delta_p"][1]}
        for c in beside(conditions)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def beside(conditions: Sequence[dict]) -> list[dict]:
    """Each feature's condition, followed by the random one of its rank."""
    features, randoms = [c for c in conditions if not c["bases"]], [c for c in conditions if c["bases"]]
    return [c for pair in zip(features, randoms, strict=True) for c in pair]


def left_out(side: str) -> str:
    """Why a swap of keys or of queries leaves queries out."""
    return {"keys": "their keys are outside the layer's window", "queries": "no other query looks for their target"}[
        side
    ]


def headline(conditions: Sequence[dict]) -> tuple[dict, dict]:
    """The swap that moves the most attention to the target, and the random condition of its rank."""
    moved = max((c for c in conditions if not c["bases"]), key=lambda c: c["delta_p"])
    return moved, min((c for c in conditions if c["bases"]), key=lambda c: abs(c["rank"] - moved["rank"]))


def logits(tokens: Sequence[dict]) -> pl.DataFrame:
    """A row a key token: its attention, its logit and the parts that sum to it."""
    rows = [
        {name: t[name] for name in ("pos", "text", "role", "attention", "logit")}
        | {"text": visible(t["text"])}
        | t["parts"]
        for t in tokens
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def most_attended(tokens: Sequence[dict]) -> dict:
    return max(tokens, key=lambda t: t["attention"])


def orders(names: Sequence[str]) -> dict[str, list[str]]:
    """{title: names in an order of projection}; nothing to choose for one feature."""
    return {" → ".join(p): list(p) for p in permutations(names)} if len(names) > 1 else {}
