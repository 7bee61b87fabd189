"""Heads of random weights: how often their logits prefer what matches, and how often beyond random weights.

Each head reads words of which a key repeats the query's; under rotary positions it stands just before the query, and
the others further away.
"""

from __future__ import annotations

import numpy as np

from qkstore.analysis.discovery.aligned import agreement, p_aligned
from qkstore.analysis.discovery.sweep import p_gap

N, D, WIDTH, WORDS = 300, 16, 24, 50
LEVELS = (0.5, 0.05, 0.01, 0.001)


def rotated(v: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Rotary positions of Hugging Face's layout: coordinates i and i + d/2 of (n, d) turn together."""
    half = v.shape[-1] // 2
    angle = positions[:, None] * 100.0 ** -(np.arange(half) / half)
    first, second = v[:, :half], v[:, half:]
    return np.concatenate(
        [first * np.cos(angle) - second * np.sin(angle), first * np.sin(angle) + second * np.cos(angle)], axis=1
    )


def head(rng: np.random.Generator, learned: bool = False, rotary: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(n, 1, d) centred queries and (n, d) centred key contrasts: a key of the query's own word, less another.

    learned: W_Q is W_K, so that queries and keys match; otherwise both are drawn. A part of every word is the same.
    """
    words = rng.normal(size=(WORDS, WIDTH)) + rng.normal(size=WIDTH)
    asked = rng.integers(WORDS, size=N)
    own, other = words[asked], words[(asked + rng.integers(1, WORDS, N)) % WORDS]
    W_K = rng.normal(size=(WIDTH, D))
    W_Q = W_K if learned else rng.normal(size=(WIDTH, D))
    q, k, k_other = own @ W_Q, own @ W_K, other @ W_K
    if rotary:
        pos = rng.integers(2, 40, N)
        q, k, k_other = rotated(q, pos), rotated(k, pos - 1), rotated(k_other, rng.integers(0, pos - 1))
    c = k - k_other
    return (q - q.mean(axis=0))[:, None], c - c.mean(axis=0)


def p_values(n: int, rotary: bool, seed: int = 0) -> dict[str, np.ndarray]:
    """(n,) p-values of n heads of random weights: of the logits, of all rotations (normal), of those of the planes."""
    from scipy.special import ndtr

    rng = np.random.default_rng([seed, rotary])
    out: dict[str, list[float]] = {"a mean above 0": [], "all rotations": [], "rotations of planes": []}
    for _ in range(n):
        x, c = head(rng, rotary=rotary)
        total, amplitudes = agreement(x, c)
        spread = np.linalg.norm(x[:, 0].T @ c / N) / np.sqrt(D)
        row = p_gap(np.einsum("njd,nd->n", x, c), []), ndtr(-total[0] / spread), p_aligned(total, amplitudes)[0]
        for name, p in zip(out, row, strict=True):
            out[name].append(float(p))
    return {name: np.array(p) for name, p in out.items()}


def study(n: int) -> tuple[list[list[str]], list[str]]:
    """The rows of a table, and what does not hold."""
    rows = [["heads of random weights", "n", "p of", *(f"p ≤ {level:g}" for level in LEVELS)]]
    failed = []
    for title, rotary in (("same word", False), ("same word just before, rotary positions", True)):
        for name, p in p_values(n, rotary).items():
            shares = [float((p <= level).mean()) for level in LEVELS]
            rows.append([title, f"{n:,}", name, *(f"{share:.4f}" for share in shares)])
            if name == "rotations of planes":
                most = [1.2 * level + 3 * (level / n) ** 0.5 for level in LEVELS]
                failed += [f"{title}: {s} at {level}" for s, level, m in zip(shares, LEVELS, most) if s > m]
    return rows, failed
