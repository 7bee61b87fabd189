"""Whether a head's queries and keys agree beyond what random weights give, by turns that such weights cannot tell.

Weights that nobody trained prefer what matches, too: q = W_Q x and k = W_K x' of inputs that are alike give a logit of
random sign and of a size that many queries make certain. But W_Q is then as likely as T W_Q, where T turns each plane
of the coordinates i and i + d/2 by an angle of its own. Rotary positions turn the same planes, and turns of one plane
may be made in any order, so they do not matter. So the agreement of queries and keys, tr ΔC, is one draw from its
values under all T: the sum over planes of A_p cos α_p, with uniform angles and amplitudes that ΔC tells.
"""

from __future__ import annotations

import numpy as np

from qkstore.analysis.discovery.tail import LEAST_P

STEPS, CLOSE = 60, 1e-9  # of Newton's method, which comes from below and never passes the root
INSIDE = 1 - 1e-6  # of the largest sum there is: at it the saddlepoint is infinite


def agreement(x: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (heads,) tr ΔC and (heads, d / 2) its amplitude in each plane.

    x: (n, heads, d) centred queries, c: (n, d) centred key contrasts; ΔC = mean x cᵀ. The plane of the coordinates i
    and i + d/2 is the one that rotary positions turn in models of Hugging Face's layout.
    """
    n, _, d = x.shape
    if d % 2:  # the last coordinate has no other: it is turned with one that is 0
        x, c = (np.insert(v, d // 2, 0, axis=-1) for v in (x, c))
    half = x.shape[2] // 2
    across = np.concatenate([c[:, half:], -c[:, :half]], axis=1)
    real, imaginary = (
        np.einsum("nhd,nd->hd", x, v, dtype=np.float64).reshape(len(x[0]), 2, half).sum(axis=1) / n for v in (c, across)
    )
    return real.sum(axis=1), np.hypot(real, imaginary)


def p_aligned(agreement: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """Return (m,) P(Σ_p A_p cos α_p is at least the agreement) for uniform angles; 1 where all amplitudes are 0.

    agreement: (m,), amplitudes: (m, planes). By the saddlepoint of the sum, Σ log I₀(A_p s) being its cumulants'
    function (Lugannani and Rice 1980); LEAST_P or more.
    """
    from scipy.special import ive, ndtr

    size = np.sqrt(np.square(amplitudes).sum(axis=1) / 2)
    there = size > 0
    A = amplitudes[there] / size[there, None]
    t = np.minimum(np.abs(agreement[there]) / size[there], A.sum(axis=1) * INSIDE)
    s = np.zeros(len(t))
    for _ in range(STEPS):
        first, second = _slopes(A, s)
        step = (t - first) / second
        s += step
        if not len(s) or np.max(step / np.maximum(s, 1)) < CLOSE:
            break
    z = A * s[:, None]
    K = (np.log(ive(0, z)) + z).sum(axis=1)
    r, u = np.sqrt(np.maximum(2 * (s * t - K), 0)), s * np.sqrt(_slopes(A, s)[1])
    near = r < 1e-3  # the sum is symmetric: there the correction vanishes
    r_, u_ = np.where(near, 1, r), np.where(near, 1, u)
    upper = ndtr(-r) + np.exp(-(r**2) / 2) / np.sqrt(2 * np.pi) * (1 / u_ - 1 / r_)
    out = np.ones(len(agreement))
    out[there] = np.where(agreement[there] >= 0, upper, 1 - upper)
    return np.clip(out, LEAST_P, 1)


def _slopes(A: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m,) first and second derivative of Σ log I₀(A s)."""
    from scipy.special import ive

    z = A * s[:, None]
    ratio = ive(1, z) / ive(0, z)
    over = np.where(z > 1e-6, ratio / np.maximum(z, 1e-6), 0.5)
    return (A * ratio).sum(axis=1), np.maximum((A**2 * (1 - over - ratio**2)).sum(axis=1), 1e-300)
