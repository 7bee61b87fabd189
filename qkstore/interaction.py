"""The interaction of two latents in QK space (eq. 11, 12), and a toy head's ΔC in closed form from its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

CLEAN = 0.01  # share of ‖G‖² off the diagonal below which G counts as diagonal
Weights = Mapping[str, np.ndarray]


class Shares(NamedTuple):
    """Shares of ‖G‖²: on the diagonal, elsewhere in the two blocks of one latent each, and across blocks. Sum 1."""

    diagonal: float
    block: float
    across: float


@dataclass(frozen=True)
class Interaction:
    """How the coordinates of two latents interact in one head (eq. 12).

    G: (r1 + r2, r1 + r2); z_qᵀ G z_k is the latents' logit before the scaling 1/√d_head. The first r1 rows and columns
    are the first latent's. d_head: size of a query or key.
    """

    G: np.ndarray
    r1: int
    d_head: int

    @property
    def shares(self) -> Shares:
        """Where the energy ‖G‖² lies."""
        energy = self.G**2 / np.sum(self.G**2)
        first = np.arange(len(self.G)) < self.r1
        diagonal, within = np.trace(energy), energy[first[:, None] == first].sum()
        return Shares(float(diagonal), float(within - diagonal), float(1 - within))

    @property
    def names(self) -> list[str]:
        """Names of the rows and columns: z1[0], z1[1], …, z2[0], …"""
        return [f"z1[{i}]" if i < self.r1 else f"z2[{i - self.r1}]" for i in range(len(self.G))]

    @property
    def verdict(self) -> str:
        """One of "feature split", "superposition" and "mixed".

        Superposition: more coordinates than d_head, and 1 % of ‖G‖² or more off the diagonal. Feature split: otherwise,
        where more than half of ‖G‖² is on the diagonal, so that each coordinate has a direction of its own.
        """
        if len(self.G) > self.d_head and self.shares.diagonal < 1 - CLEAN:
            return "superposition"
        return "feature split" if self.shares.diagonal > 0.5 else "mixed"


def interaction(weights: Weights) -> Interaction:
    """Return G = Bᵀ W_Qᵀ W_K A with A = [A1, A2], B = [B1, B2] (eq. 12).

    weights: W_Q, W_K (d_head, d), and A1, A2, B1, B2 (d, r), the maps from a latent into keys (A) and queries (B).
    """
    A, B = (np.hstack([weights[f"{name}1"], weights[f"{name}2"]]).astype(np.float64) for name in "AB")
    W_Q, W_K = (weights[name].astype(np.float64) for name in ("W_Q", "W_K"))
    return Interaction(B.T @ W_Q.T @ W_K @ A, weights["A1"].shape[1], len(W_Q))


def closed_form(weights: Weights, latent: int, discrete: bool) -> np.ndarray:
    """Return the (d_head, d_head) ΔC of latent 1 or 2 in expectation over triplets: W_Q B M Aᵀ W_Kᵀ (section 3).

    M = E[z z+ᵀ] − E[z z−ᵀ]. z+ = z, so the first term is I. Of Gaussian latents z− is independent: the second term is
    0. Of discrete ones z− is uniform among the other 2ʳ − 1 sign vectors; since they sum to 0, the second term is
    −I / (2ʳ − 1). weights: as for `interaction`.
    """
    W_Q, W_K, A, B = (weights[name].astype(np.float64) for name in ("W_Q", "W_K", f"A{latent}", f"B{latent}"))
    moment = 1 + 1 / (2 ** A.shape[1] - 1) if discrete else 1.0
    return moment * (W_Q @ B) @ (W_K @ A).T
