"""A live result for tests of what shows one, without a pass through a model."""

from __future__ import annotations

import numpy as np

import qkstore
from qkstore import analysis
from qkstore.analysis import live
from qkstore.analysis.live import Live, Outcome, Replies, answers
from qkstore.report.study import Study


def keep(store: qkstore.Store, name: str, seed: int = 0) -> None:
    """What a running model would give for the best head of a run, where it gives the closed form."""
    study, rng = Study(store, store.run(name)), np.random.default_rng(0)
    at, outcomes = f"{study.best.layer}:{study.best.head}", []
    closed = analysis.intervene(study.run, study.features, study.best.layer, study.best.head)
    for c in closed.conditions:
        before, moved = (
            Replies(rng.normal(size=closed.n), rng.random(closed.n) < 0.5, rng.random(closed.n) < 0.5) for _ in range(2)
        )
        said = answers(before, [moved] * (c.bases or 1))
        outcomes.append(Outcome(c.name, c.bases, {at: c.rank}, {at: c}, {at: c}, None, [], said))
    result = Live(
        run=name,
        identity=list(study.run.identity),
        weights_hash="0" * 64,
        features=live.keys(study.features),
        heads=[at],
        rows="last",
        dtype="float32",
        device="cpu",
        split="test",
        most=1000,
        seed=seed,
        bases=10,
        n=closed.n,
        gap=2e-7,
        noise={"attention": 1e-7, "difference": 1e-6},
        conditions=tuple(outcomes),
    )
    live.keep(store, result)
