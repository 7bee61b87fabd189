"""The rank of ΔC, three ways: dimensions that carry its energy, that are significant, that another half confirms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.covariance import Pairs, p_value
from qkstore.errors import ContrastError
from qkstore.subspace import SAME
from qkstore.subspace import rank as energy_rank

LEVEL = 0.05  # how often one dimension too many is found where the true ones are all strong
BLOCKS = 400
REPLICATES = 399  # one p-value in 400
SPLITS = 10
REPLICATES_AT_ONCE = 50  # replicates at a time
FEW = 1024  # queries: with fewer, what the top directions absorb of the noise matters
REFITS = 199  # replicates that are decomposed anew, where queries are few
LEAST = 10  # queries: fewer have too few random signs for a p-value of LEVEL


@dataclass(frozen=True)
class Rank:
    """Three ranks of one ΔC. They answer different questions, so none is the right one.

    energy: singular values that hold 99 % of ‖ΔC‖²_F, the paper's rule. statistical: dimensions beyond sampling error,
    at `level`; p_values: those of rank ≤ 0, 1, … as far as tested, the last one not rejected (unless all are).
    cross_validated: dimensions that hold 99 % of the energy which other queries confirm. n: queries, the units of all
    three.
    """

    energy: int
    statistical: int
    cross_validated: int
    level: float
    p_values: tuple[float, ...]
    n: int

    @property
    def weak(self) -> int:
        """Dimensions that are statistically there beyond those that hold 99 % of ‖ΔC‖².

        They are in superposition, or weak by themselves. A toy head without room for both latents (r1 + r2 > d_head)
        has some more often than one with room.
        """
        return max(0, self.statistical - self.energy)

    @property
    def sentence(self) -> str:
        """What the energy rank and the statistical rank say together."""
        there, held = _dimensions(self.statistical), _dimensions(self.energy)
        if self.statistical == 0:
            return "ΔC is no larger than sampling error: no dimension is statistically there."
        if self.weak:
            hold = "1 holds" if self.energy == 1 else f"{self.energy} hold"
            return (
                f"{there} statistically there, but {hold} 99 % of ‖ΔC‖²: "
                "the others are weak, or in superposition with another feature."
            )
        if self.statistical < self.energy:
            return (
                f"{held} needed for 99 % of ‖ΔC‖², but only {self.statistical} statistically there: "
                "the others are within sampling error."
            )
        return f"{there} statistically there, as many as hold 99 % of ‖ΔC‖²."


def units(
    q: np.ndarray, k: np.ndarray, pairs: Pairs, centred: bool = False, summed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """A query and its key contrast for each unit: x, c (n, d) with mean x cᵀ = ΔC.

    q: (n, d), k: (m, d), pairs: localised. c is the sum over the query's pairs of coefficient · k, times n. centred,
    summed: as in ContrastiveCovariance; when centred, both x and c are, which leaves ΔC and makes x cᵀ − ΔC the whole
    of a query's part in its error.
    """
    from scipy.sparse import csr_array

    n = len(q)
    W = csr_array((n * pairs.coefficient(summed), (pairs.query, pairs.key)), shape=(n, len(k)))
    x, c = q.astype(np.float64), W @ k.astype(np.float64)
    return (x - x.mean(axis=0), c - c.mean(axis=0)) if centred else (x, c)


def ranks(x: np.ndarray, c: np.ndarray, level: float = LEVEL, seed: int = 0) -> Rank:
    """The three ranks of ΔC = mean x cᵀ, from the units x, c: (n, d).

    Raises ContrastError for fewer than LEAST queries.
    """
    p_values = statistical(x, c, level, seed)
    there = len(p_values) - (len(p_values) > 0 and p_values[-1] > level)
    held = energy_rank(np.linalg.svd(x.T @ c, compute_uv=False))
    return Rank(held, there, cross_validated(x, c, seed), level, tuple(p_values), len(x))


def statistical(x: np.ndarray, c: np.ndarray, level: float = LEVEL, seed: int = 0) -> list[float]:
    """p-values of rank ≤ 0, ≤ 1, … of ΔC = mean x cᵀ, up to and with the first above `level`: its place is the rank.

    ΔC less its top j singular directions on both sides, against what sampling error leaves there. A replicate of that
    error is the sum of centred blocks of queries under random signs; queries count as independent. x and c are
    half-whitened first (second moment to the power −1/4), which changes no rank: it lies between ΔC, where one strong
    direction hides the weak ones, and canonical correlations, where every direction of noise counts in full. The top
    directions are fitted, and take some of the noise along: with few queries, what is not rejected at first is compared
    with replicates that were decomposed anew. bench/rank.py has the figures.
    Raises ContrastError for fewer than LEAST queries.
    """
    if len(x) < LEAST:
        raise ContrastError(f"the rank of ΔC is tested with {LEAST} queries or more; the contrast has {len(x)}")
    x, c = _half_whitened(x), _half_whitened(c)
    U, S, Vt = np.linalg.svd(x.T @ c / len(x), full_matrices=True)
    observed = np.sqrt(np.cumsum(S[::-1] ** 2)[::-1])
    rng, p_values = np.random.default_rng(seed), []
    blocks = _blocks(x @ U, c @ Vt.T, rng)
    null = _null(blocks, rng)
    refits = _replicates(blocks, REFITS, rng) if len(x) < FEW else None
    for j in range(len(S)):
        p = 1.0 if observed[j] <= SAME * S[0] else p_value(observed[j], null[:, j])  # what is left is rounding
        if level < p < 1 and refits is not None:
            p = p_value(observed[j], _left(S, refits, j))
        p_values.append(p)
        if p > level:
            break
    return p_values


def cross_validated(x: np.ndarray, c: np.ndarray, seed: int = 0, energy: float = 0.99) -> int:
    """Dimensions that hold 99 % of the energy which one half B of the queries confirms in the other half's SVD.

    The energy is Σ_j u_jᵀ ΔC_B v_j s_j; mean over SPLITS random halvings, both ways. The 99 % are of the largest
    cumulative sum, as what follows it is noise. 0 where nothing is confirmed. No threshold by spread: that finds fewer
    of the true dimensions.
    """
    n, rng, total = len(x), np.random.default_rng(seed), x.T @ c
    confirmed = np.zeros(min(total.shape))
    for _ in range(SPLITS):
        half = rng.permutation(n)[: n // 2]
        A = x[half].T @ c[half]
        for one, other in ((A, total - A), (total - A, A)):
            U, S, Vt = np.linalg.svd(one, full_matrices=False)
            confirmed += np.sum(U * (other @ Vt.T), axis=0) * S
    held = np.cumsum(confirmed)
    return int(np.argmax(held >= energy * held.max() * (1 - 1e-12))) + 1 if held.max() > 0 else 0


def _half_whitened(x: np.ndarray) -> np.ndarray:
    """(n, r) x = U S Vᵀ as U √S: the same directions, with the roots of their sizes.

    Directions of rounding alone are left out.
    """
    U, S, _ = np.linalg.svd(x, full_matrices=False)
    kept = S > SAME * S[0]
    return U[:, kept] * np.sqrt(S[kept])


def _blocks(x: np.ndarray, c: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(BLOCKS or n, p, m) each block's part of mean x cᵀ less its share of the whole.

    Scaled so that their sum under random signs has the covariance of the mean's error: centring takes as much from it
    as the blocks' squared shares add up to.
    """
    n, whole = len(x), x.T @ c / len(x)
    parts = np.array_split(rng.permutation(n), min(BLOCKS, n))
    scale = (1 - sum((len(part) / n) ** 2 for part in parts)) ** -0.5
    out = np.empty((len(parts), *whole.shape), np.float32)
    for block, part in zip(out, parts):
        block[:] = scale / n * (x[part].T @ c[part] - len(part) * whole)
    return out


def _null(blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(REPLICATES, min(p, m)) norm of each replicate less its first j rows and columns, for every j."""
    _, p, m = blocks.shape
    j, out = np.arange(min(p, m)), np.empty((REPLICATES, min(p, m)))
    for start in range(0, REPLICATES, REPLICATES_AT_ONCE):
        part = out[start : start + REPLICATES_AT_ONCE]
        squares = np.square(_replicates(blocks, len(part), rng), dtype=np.float64)
        tails = squares[:, ::-1, ::-1].cumsum(axis=1).cumsum(axis=2)  # of the last rows and columns
        part[:] = np.sqrt(tails[:, p - 1 - j, m - 1 - j])
    return out


def _replicates(blocks: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, p, m) sums of the blocks under random signs."""
    signs = rng.choice(np.array([-1, 1], np.float32), (n, len(blocks)))
    return (signs @ blocks.reshape(len(blocks), -1)).reshape(n, *blocks.shape[1:])


def _left(S: np.ndarray, replicates: np.ndarray, j: int) -> np.ndarray:
    """(n,) what is left of ΔC's top j directions plus a replicate, once its own top j are taken away."""
    fitted = replicates.astype(np.float64)
    fitted[:, np.arange(j), np.arange(j)] += S[:j]
    return np.linalg.norm(np.linalg.svd(fitted, compute_uv=False)[:, j:], axis=1)


def _dimensions(n: int) -> str:
    return "1 dimension is" if n == 1 else f"{n} dimensions are"


@dataclass(frozen=True)
class Canonical:
    """values: (r,) correlations in 0…1, descending.

    chance: about how large the largest is if queries and key contrasts are independent.
    """

    values: np.ndarray
    chance: float


def canonical(x: np.ndarray, c: np.ndarray) -> Canonical:
    """Canonical correlations of queries and key contrasts x, c: (n, d), as `qkstore.rank.units` gives them.

    They are the singular values of ΔC with both sides whitened. W_Q → M W_Q, W_K → M⁻ᵀ W_K leaves every logit as it is,
    and these too, but neither the singular values of ΔC nor its 99 % rank. Second moments are not centred, unless x and
    c are. Computed from orthonormal bases of x and c themselves: moment matrices would square their condition.
    """
    Q, K = _basis(x), _basis(c)
    values = np.linalg.svd(Q.T @ K, compute_uv=False).clip(0.0, 1.0)
    return Canonical(values, chance(len(x), Q.shape[1], K.shape[1]))


def chance(n: int, p: int, m: int) -> float:
    """The largest canonical correlation that chance gives: the upper edge for n independent pairs (Wachter 1980).

    p and m are the dimensions of the two sides; the edge is 1 where p + m ≥ n.
    """
    a, b = p / n, m / n
    return float(np.sqrt(a * (1 - b)) + np.sqrt(b * (1 - a))) if a + b < 1 else 1.0


def _basis(x: np.ndarray) -> np.ndarray:
    """(n, r) orthonormal basis of the columns of x: (n, d), without directions that are rounding alone."""
    U, S, _ = np.linalg.svd(np.asarray(x, np.float64), full_matrices=False)
    return U[:, S > SAME * S[0]]
