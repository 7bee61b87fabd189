"""The peers on one head of each demo run, beside the labels and the subspace of the labelled contrasts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.discovery.demo import FEATURES, LAYER, PURE, RUNS, between, kind, scored
from bench.discovery.methods import Directions, Method, Subject, timed
from bench.discovery.scores import moved, share
from qkstore.analysis import components
from qkstore.analysis.decomposition import HeadComponents
from qkstore.analysis.decomposition.swaps import draw
from qkstore.analysis.swaps import swapper
from qkstore.contrast.builtin import feature
from qkstore.store import Store
from qkstore.subspace import Subspace, union


@dataclass(frozen=True)
class DemoScore:
    """One method on one head: see bench.discovery.peers.Score.

    labelled: directions that one label explains, of r; of a dictionary all its features.
    """

    method: str
    run: str
    space: float
    labelled: int
    r: int
    number: int | None
    swap: float
    seconds: float


def study(
    store: Store, methods: dict[str, Method], heads: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]],
    tell: Callable[[str], None] = lambda line: None, names: Sequence[str] = RUNS,
) -> list[DemoScore]:  # fmt: skip
    """A score of each method on the head of LAYER that has most components of each run.

    heads: {(layer, head): W_Q and W_K}. All methods swap as many dimensions as there are components. The subspace is
    that of the labelled contrasts, so that the supervised method has 1 by definition.
    """
    out = []
    for name in names:
        run = store.run(name)
        of = max((components(run, LAYER, h) for h in range(run.n_heads)), key=len)
        given, truth = subject(of, *heads[LAYER, of.head.head])
        (_, told), moves = scored(of), swapper(of.head, draw([of]))
        for method, find in methods.items():
            found = timed(find, given)
            out.append(_scored(method, found, of, truth, told, moves))
        tell(f"peers on {name}, layer {LAYER} head {of.head.head}")
    return out


def _scored(method: str, found: Directions, of: HeadComponents, truth: Subspace, told: dict, moves) -> DemoScore:
    r = len(of)
    scores = found.query_scores(of.test.q, r)
    by_label = np.max([between(scores, values) for values in told.values()], axis=0)
    space = (share(truth.U, found.a_onto[:, :r]) + share(truth.V, found.b_onto[:, :r])) / 2
    ((_, target),) = moved(moves, [found.key_projector(r)])
    return DemoScore(
        method,
        of.head.run.name,
        space,
        int((by_label >= PURE).sum()),
        scores.shape[1],
        found.number,
        target,
        found.seconds,
    )


def subject(of: HeadComponents, W_Q: np.ndarray, W_K: np.ndarray) -> tuple[Subject, Subspace]:
    """What methods may read of a head of a run, and the subspace of its labelled contrasts."""
    run, head, (block,) = of.head.run, of.head, of.built.blocks
    seen = of.built.seen(head.facts, block)[:, 0]
    many = seen.sum(axis=1)
    assert (many == many[0]).all(), "every query of the demo has as many keys"
    kept = np.isin(block.group, of.train.group)  # one query a prompt; some have their attention elsewhere
    k = head.keys(np.arange(run.n_keys)).astype(np.float64)[block.key[kept][seen[kept]]]
    contrasts = [c for name in kind(run, FEATURES) for c in feature(run, name)]
    deltas = tuple(head.read(c).covariance.delta for c in contrasts)
    truth = union([Subspace.of(C) for C in deltas])
    return Subject(of.train, of.train.q, k, head.facts.scaling, len(of), deltas, W_Q, W_K), truth


def matrices() -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
    """{(layer, head): W_Q, W_K} of the demo model, (d_head, d_model) each, with the gains of the norms folded in.

    What the norms divide by, and rotation by position, depend on the token and are left out.
    """
    from ingest import model
    from ingest.demo import MODEL

    net = model.load(str(MODEL)).net
    d, out = net.config.head_dim, {}
    inner = getattr(net, "model", net)
    for number, block in enumerate(inner.layers):
        gain = block.input_layernorm.weight
        at = block.self_attn
        many = net.config.num_attention_heads
        for head in range(many):
            shared = head * net.config.num_key_value_heads // many
            Q, K = (
                (norm.weight[:, None] * W.weight[i * d : (i + 1) * d] * gain).detach().double().numpy()
                for norm, W, i in ((at.q_norm, at.q_proj, head), (at.k_norm, at.k_proj, shared))
            )
            out[number, head] = Q, K
    return out


def table(scores: Sequence[DemoScore]) -> list[list[str]]:
    """A row a method, with a header; four figures are those of the runs in their order."""
    out = [["method", "subspace of the labels' ΔC", "explained by one label", "number", "swap: target", "CPU s"]]
    for name in dict.fromkeys(s.method for s in scores):
        part = [s for s in scores if s.method == name]
        out.append(
            [
                name,
                " ".join(f"{s.space:.2f}" for s in part),
                " ".join(f"{s.labelled}/{s.r}" for s in part),
                " ".join("–" if s.number is None else str(s.number) for s in part),
                " ".join(f"{s.swap:.2f}" for s in part),
                f"{np.mean([s.seconds for s in part]):.2f}",
            ]
        )
    return out
