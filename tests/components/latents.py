"""Heads with planted components: queries look for latent coordinates that keys have, as the paper's toy heads do."""

from __future__ import annotations

import numpy as np

from qkstore.components import Choices, choices

DISCRETE, GAUSSIAN = "discrete", "gaussian"


def planted(
    n: int = 2000,
    d: int = 12,
    r: int = 4,
    keys: int = 9,
    seed: int = 0,
    latent: str = DISCRETE,
    sharp: float = 6.0,
    M: np.ndarray | None = None,
    head: int = 0,
) -> tuple[Choices, np.ndarray]:
    """n prompts of one query and several keys, and the query's latent coordinates z: (n, r).

    The query is sharp · B z of its first key plus noise and a constant, keys are B z plus noise; B is drawn by `head`.
    M: a change of the head's basis, q → Mᵀ q, k → M⁻¹ k.
    """
    weights, rng = np.random.default_rng([1, head]), np.random.default_rng([2, seed])
    B = np.linalg.qr(weights.standard_normal((d, d)))[0][:, :r]
    z = rng.choice([-1.0, 1.0], (n, keys, r)) if latent == DISCRETE else rng.standard_normal((n, keys, r))
    k = z @ B.T + 0.3 * rng.standard_normal((n, keys, d))
    q = sharp * z[:, 0] @ B.T + 0.3 * rng.standard_normal((n, d)) + weights.standard_normal(d)
    if M is not None:
        q, k = q @ M, k @ np.linalg.inv(M).T
    seen = np.ones((n, 1, keys), bool)
    return choices(q[:, None], k, seen, np.arange(n), 1.0), z[:, 0]
