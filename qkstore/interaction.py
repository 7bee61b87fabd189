"""The interaction of two latents in QK space (eq. 11, 12), and a toy head's ΔC in closed form from its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

CLEAN = 0.01  # of ‖G‖²: less than this off the diagonal is none
Weights = Mapping[str, np.ndarray]


class Shares(NamedTuple):
    """Shares of ‖G‖²: on the diagonal, in the rest of the two blocks (coordinates of one latent), and across blocks.

    They sum to 1.
    """

    diagonal: float
    block: float
    across: float


@dataclass(frozen=True)
class Interaction:
    """G: (r1 + r2, r1 + r2), eq. 12: z_qᵀ G z_k is the logit of the latents before 1/√d_head.

    The first r1 rows and columns are z1's.
    """

    G: np.ndarray
    r1: int
    d_head: int

    @property
    def shares(self) -> Shares:
        energy = self.G**2 / np.sum(self.G**2)
        first = np.arange(len(self.G)) < self.r1
        diagonal, within = np.trace(energy), energy[first[:, None] == first].sum()
        return Shares(float(diagonal), float(within - diagonal), float(1 - within))

    @property
    def names(self) -> list[str]:
        """Of the rows and columns: z1[0], z1[1], …, z2[0], …"""
        return [f"z1[{i}]" if i < self.r1 else f"z2[{i - self.r1}]" for i in range(len(self.G))]

    @property
    def verdict(self) -> str:
        """One of "feature split", "superposition" and "mixed".

        Feature split: each coordinate has a direction of its own. Superposition: more coordinates than dimensions,
        which mix.
        """
        if len(self.G) > self.d_head and self.shares.diagonal < 1 - CLEAN:
            return "superposition"
        return "feature split" if self.shares.diagonal > 0.5 else "mixed"


def interaction(weights: Weights) -> Interaction:
    """G = Bᵀ W_Qᵀ W_K A with A = [A1, A2], B = [B1, B2] (eq. 12)."""
    A, B = (np.hstack([weights[f"{name}1"], weights[f"{name}2"]]).astype(np.float64) for name in "AB")
    W_Q, W_K = (weights[name].astype(np.float64) for name in ("W_Q", "W_K"))
    return Interaction(B.T @ W_Q.T @ W_K @ A, weights["A1"].shape[1], len(W_Q))


def closed_form(weights: Weights, latent: int, discrete: bool) -> np.ndarray:
    """(d_head, d_head) what ΔC of latent 1 or 2 is over all triplets: W_Q B M Aᵀ W_Kᵀ (section 3).

    M = E[z z+ᵀ] − E[z z−ᵀ]. z+ = z, so the first is I. Gaussian: z− is independent, the second is 0. Signs: z− is
    uniform among the other 2ʳ − 1 codes, and as all codes sum to 0 the second is −I / (2ʳ − 1).
    """
    W_Q, W_K, A, B = (weights[name].astype(np.float64) for name in ("W_Q", "W_K", f"A{latent}", f"B{latent}"))
    moment = 1 + 1 / (2 ** A.shape[1] - 1) if discrete else 1.0
    return moment * (W_Q @ B) @ (W_K @ A).T
