"""Payload retrieval, the paper's toy task: a selector finds, among other tokens, the one that has its latents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import factorial
from typing import Literal, get_args

import numpy as np

from qkstore.errors import ModelError, near

Variant = Literal["discrete", "continuous"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


@dataclass(frozen=True)
class Payload:
    """One task (section 2.1), in d dimensions, for a head of d_head.

    It has two latents of ranks r1 and r2, which are signs (eq. 1, 2) or Gaussian (eq. 3, 4). A token is A1 z1 + A2 z2 +
    A_y e_y + ε, the selector B1 z1 + B2 z2 + ε. The maps are Gaussian, those of a latent over √r, and the noise is
    0.01, as in the authors' scripts: with the text's noise of 1 heads stay well below the bound.
    Raises ModelError for sizes that make no task.
    """

    variant: Variant
    d_head: int
    r1: int
    r2: int
    d: int = 32
    n_keys: int = 16
    n_payloads: int = 10
    noise: float = 0.01
    seed: int = 0

    def __post_init__(self):
        if self.variant not in VARIANTS:
            raise ModelError(f"variant {self.variant!r}: {near(self.variant, VARIANTS)}")
        if self.d_head < 1:
            raise ModelError(f"d_head {self.d_head}: a head has 1 dimension or more")
        for name in ("r1", "r2"):
            if not 1 <= getattr(self, name) <= self.d:
                raise ModelError(
                    f"{name} {getattr(self, name)}: a latent has from 1 to {self.d} dimensions, those of the embedding"
                )
        if not 0 <= self.noise < np.inf:
            raise ModelError(f"noise {self.noise}: a standard deviation is 0 or more")
        if not 0 <= self.seed < 2**63:
            raise ModelError(f"seed {self.seed}: a seed is 0 or more, and a store keeps less than 2**63")

    @property
    def name(self) -> str:
        """Such as discrete-d8-2-3; other seeds and noises are named too."""
        other = f"-noise{self.noise:g}" if self.noise != Payload.noise else ""
        return f"{self.variant}-d{self.d_head}-{self.r1}-{self.r2}{other}" + (f"-s{self.seed}" if self.seed else "")

    def maps(self) -> dict[str, np.ndarray]:
        """The embedding: A1, B1 (d, r1), A2, B2 (d, r2), A_y (d, n_payloads)."""
        rng = np.random.default_rng([self.seed, 1, self.d_head, self.r1, self.r2])
        ranks = {"A1": self.r1, "A2": self.r2, "B1": self.r1, "B2": self.r2}
        latent = {name: rng.standard_normal((self.d, r)) / np.sqrt(r) for name, r in ranks.items()}
        return latent | {"A_y": rng.standard_normal((self.d, self.n_payloads))}

    def bound(self) -> float:
        """What accuracy can be reached: tokens with the same signs cannot be told apart. 1 for Gaussian latents."""
        return collision_bound(self.r1 + self.r2, self.n_keys, self.n_payloads) if self.variant == "discrete" else 1.0


def collision_bound(r: int, n_keys: int = 16, n_payloads: int = 10) -> float:
    """The best accuracy with r signs: of the m tokens that share the sought code, the most frequent payload is said.

    E[largest count among m uniform payloads] / m, over m − 1 ~ Binomial(n_keys − 1, 2⁻ʳ).
    """
    p = 2.0**-r
    total = 0.0
    for others in range(n_keys):
        chance = (
            factorial(n_keys - 1)
            // (factorial(others) * factorial(n_keys - 1 - others))
            * p**others
            * (1 - p) ** (n_keys - 1 - others)
        )
        total += chance * _largest_count(others + 1, n_payloads) / (others + 1)
    return total


@cache
def _largest_count(m: int, n: int) -> float:
    """E[largest count] when m balls fall into n boxes: Σ_t P(largest ≥ t), P(largest ≤ t) from (Σ_{j≤t} x^j/j!)^n."""
    out = 0.0
    for t in range(m):
        power = np.array([1.0])
        for _ in range(n):
            power = np.convolve(power, [1 / factorial(j) for j in range(t + 1)])[: m + 1]
        at_most = power[m] * factorial(m) / n**m if len(power) > m else 0.0
        out += 1 - at_most
    return out
