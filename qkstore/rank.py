"""The rank of ΔC, three ways (by energy, by a test, by cross-validation), and its canonical correlations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.covariance import Pairs
from qkstore.errors import ContrastError
from qkstore.null import p_value
from qkstore.subspace import SAME
from qkstore.subspace import rank as energy_rank

LEVEL = 0.05  # of the test: how often it gives one dimension too many where the true ones are all strong
LEAST = 10  # queries: fewer have too few random signs for a p-value of LEVEL
BLOCKS = 400  # of queries, that get a random sign each
REPLICATES = 399  # so that a p-value is a multiple of 1/400
REPLICATES_AT_ONCE = 50  # bounds the memory
FEW = 1024  # queries: with fewer, what the top directions absorb of the noise matters
REFITS = 199  # replicates that are decomposed anew, where queries are few
SPLITS = 10  # random halvings of the cross-validation
SURE = 2**0.5  # spreads over the halvings that a dimension's confirmed energy must be above 0


def units(
    q: np.ndarray, k: np.ndarray, pairs: Pairs, centred: bool = False, summed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return each query x and its key contrast c, both (n, d) float64, with mean x cᵀ = ΔC.

    q: (n, d), k: (m, d), pairs: localised, so that every row of q and k occurs. c is n times the sum over the query's
    pairs of coefficient · k. centred, summed: as in ContrastiveCovariance. Where centred, both x and c are: ΔC is the
    same, and x cᵀ − ΔC is then a query's whole part in its sampling error.
    """
    x, c = q.astype(np.float64), pairs.key_contrast(k, summed)
    assert len(x) == len(c), "the pairs are localised: each query has some"
    return (x - x.mean(axis=0), c - c.mean(axis=0)) if centred else (x, c)


@dataclass(frozen=True)
class Rank:
    """Three ranks of one ΔC, which answer different questions.

    energy: how many singular values hold 99 % of ‖ΔC‖²_F, the paper's rule. statistical: how many dimensions exceed
    sampling error at `level`; p_values: of rank ≤ 0, ≤ 1, … up to and with the first above `level`.
    cross_validated: how many dimensions hold 99 % of the energy that other queries confirm, of what varying queries
    make of ΔC (the mean query is taken out). n: queries.
    """

    energy: int
    statistical: int
    cross_validated: int
    level: float
    p_values: tuple[float, ...]
    n: int

    @property
    def weak(self) -> int:
        """How many dimensions are statistically there beyond those that hold 99 % of ‖ΔC‖²_F; 0 or more.

        They are in superposition with another feature, or weak. Toy heads without room for both latents
        (r1 + r2 > d_head) have some more often than those with room.
        """
        return max(0, self.statistical - self.energy)

    @property
    def sentence(self) -> str:
        """What the energy rank and the statistical rank say together, as one sentence."""
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


def _dimensions(n: int) -> str:
    return "1 dimension is" if n == 1 else f"{n} dimensions are"


def ranks(x: np.ndarray, c: np.ndarray, level: float = LEVEL, seed: int = 0) -> Rank:
    """Return the three ranks of ΔC = mean x cᵀ, from x, c: (n, d) as `units` gives them.

    Raises ContrastError for fewer than LEAST queries.
    """
    p_values = statistical(x, c, level, seed)
    there = len(p_values) - (len(p_values) > 0 and p_values[-1] > level)
    held = energy_rank(np.linalg.svd(x.T @ c, compute_uv=False))
    return Rank(held, there, cross_validated(x, c, seed), level, tuple(p_values), len(x))


def statistical(x: np.ndarray, c: np.ndarray, level: float = LEVEL, seed: int = 0) -> list[float]:
    """Return the p-values of rank ≤ 0, ≤ 1, … of ΔC = mean x cᵀ, up to and with the first above `level`.

    The index of that first one is the rank; where none is above, all d dimensions are there. x, c: (n, d); queries
    count as independent.

    Rank ≤ j is tested by the norm of ΔC without its top j singular directions, against the same norm of replicates of
    the sampling error: sums of centred blocks of queries under random signs. x and c are half-whitened first (second
    moment to the power −1/4). That changes no rank, and lies between ΔC itself, where one strong direction hides weak
    ones, and canonical correlations, where every direction of noise counts in full. The top directions are fitted to
    the data. So what is left has fewer dimensions of queries, for which replicates are scaled (`_freedom`). And they
    absorb some noise: with fewer than FEW queries a rank that is not rejected is tested again, with replicates that are
    decomposed as ΔC is. Error rates, with fewer queries than dimensions too: bench/rank.py.
    Raises ContrastError for fewer than LEAST queries.
    """
    if len(x) < LEAST:
        raise ContrastError(f"the rank of ΔC is tested with {LEAST} queries or more; the contrast has {len(x)}")
    x, c = _half_whitened(x), _half_whitened(c)
    U, S, Vt = np.linalg.svd(x.T @ c / len(x), full_matrices=True)
    observed = np.sqrt(np.cumsum(S[::-1] ** 2)[::-1])
    rng, p_values = np.random.default_rng(seed), []
    x, c = x @ U, c @ Vt.T
    blocks = _blocks(x, c, rng)
    null, freedom = _null(blocks, rng), _freedom(x, c)
    refits = _replicates(blocks, REFITS, rng) if len(x) < FEW else None
    for j in range(len(S)):
        rounding = observed[j] <= SAME * S[0]
        p = 1.0 if rounding else p_value(observed[j], freedom[j] * null[:, j])
        if level < p < 1 and refits is not None:
            p = p_value(observed[j], _left(S, freedom[j] * refits, j))
        p_values.append(p)
        if p > level:
            break
    return p_values


def cross_validated(x: np.ndarray, c: np.ndarray, seed: int = 0, energy: float = 0.99) -> int:
    """Return how many dimensions hold `energy` of what one half of the queries confirms in the other half's SVD.

    x and c: (n, d) are centred in each half, so that what is decomposed is what varying queries make of ΔC: of the term
    q̄ c̄ᵀ, the mean query times the mean key contrast, either half has another by chance, and it may be larger than the
    feature. Dimension j of half A has the confirmed energy s_j · u_jᵀ ΔC_B v_j, taken over SPLITS random halvings, both
    ways. Dimensions count up to the first whose mean is not SURE times its spread over the halvings above 0, since what
    follows is noise, and `energy` is a share of their sum. 0 where the first one is not confirmed.
    """
    n, rng, confirmed = len(x), np.random.default_rng(seed), []
    x, c = x - x.mean(axis=0), c - c.mean(axis=0)
    total = x.T @ c
    for _ in range(SPLITS):
        half = rng.permutation(n)[: n // 2]
        A = x[half].T @ c[half]
        x_sum, c_sum = x[half].sum(axis=0), c[half].sum(axis=0)  # of the other half, their negatives
        shift = np.outer(x_sum, c_sum)
        halves = A - shift / max(len(half), 1), total - A - shift / (n - len(half))
        for one, other in (halves, halves[::-1]):
            U, S, Vt = np.linalg.svd(one, full_matrices=False)
            confirmed.append(np.sum(U * (other @ Vt.T), axis=0) * S)
    mean, spread = np.mean(confirmed, axis=0), np.std(confirmed, axis=0)
    unsure = mean <= np.maximum(SURE * spread, 0)
    there = int(np.argmax(unsure)) if unsure.any() else len(mean)
    held = np.cumsum(mean[:there])
    return int(np.argmax(held >= energy * held[-1] * (1 - 1e-12))) + 1 if there else 0


def _half_whitened(x: np.ndarray) -> np.ndarray:
    """(n, r) U √S of x = U S Vᵀ: x times its second moment to the power −1/4, without directions of rounding alone."""
    U, S, _ = np.linalg.svd(x, full_matrices=False)
    kept = S > SAME * S[0]
    return U[:, kept] * np.sqrt(S[kept])


def _blocks(x: np.ndarray, c: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(b, p, m) float32: the part in mean x cᵀ of b = min(BLOCKS, n) random blocks, each less its share of the whole.

    Scaled so that their sum under random signs has the covariance of the mean's error: centring the blocks reduces that
    covariance by the sum of their squared shares.
    """
    n, whole = len(x), x.T @ c / len(x)
    parts = np.array_split(rng.permutation(n), min(BLOCKS, n))
    scale = (1 - sum((len(part) / n) ** 2 for part in parts)) ** -0.5
    out = np.empty((len(parts), *whole.shape), np.float32)
    for block, part in zip(out, parts):
        block[:] = scale / n * (x[part].T @ c[part] - len(part) * whole)
    return out


def _freedom(x: np.ndarray, c: np.ndarray) -> np.ndarray:
    """(min(p, m),) what a replicate off the top j directions is short of beside ΔC's own error there, as a factor.

    x: (n, p), c: (n, m), in ΔC's singular directions, where ΔC is diagonal: the other columns of c are orthogonal to
    the first j of x, which span A, and those of x to the first j of c, which span B. So the square of what independent
    rests make of ΔC goes as tr (I − A Aᵀ)(I − B Bᵀ) = n − 2j + ‖AᵀB‖² (A and B orthonormal), which is n − j where A and
    B are alike, as in q̄ c̄ᵀ. With a random sign for each query only the diagonals of the two projections meet, and it
    goes as the sum of their products: (n − j)² ÷ n where all queries weigh the same, too little by j ÷ n.
    """
    n, r = len(x), min(x.shape[1], c.shape[1])
    A, B = (np.linalg.qr(side)[0][:, :r] for side in (x, c))
    free = n - 2 * np.arange(1, r + 1) + np.square(A.T @ B).cumsum(axis=0).cumsum(axis=1).diagonal()
    off_A, off_B = (1 - np.square(side).cumsum(axis=1) for side in (A, B))
    signed = np.maximum(np.einsum("nj,nj->j", off_A, off_B), SAME)
    return np.sqrt(np.r_[1.0, np.maximum(free / signed, 0)[:-1]])[:r]


def _null(blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(REPLICATES, min(p, m)) norm of each replicate without its first j rows and columns, for every j."""
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
    """(n,) norm of ΔC's top j directions plus each replicate, without the top j directions of that sum."""
    fitted = replicates.astype(np.float64)
    fitted[:, np.arange(j), np.arange(j)] += S[:j]
    return np.linalg.norm(np.linalg.svd(fitted, compute_uv=False)[:, j:], axis=1)


# -- canonical correlations ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Canonical:
    """values: (r,) canonical correlations in 0…1, descending. chance: about how large the largest is by chance."""

    values: np.ndarray
    chance: float


def canonical(x: np.ndarray, c: np.ndarray) -> Canonical:
    """Return the canonical correlations of queries and key contrasts x, c: (n, d), as `units` gives them.

    They are the singular values of ΔC with both sides whitened. W_Q → M W_Q, W_K → M⁻ᵀ W_K changes neither the logits
    nor these, but it changes the singular values of ΔC and its 99 % rank. Second moments are about 0 unless x and c are
    centred. Computed from orthonormal bases of x and c, because moment matrices would square the condition number.
    """
    Q, K = _basis(x), _basis(c)
    values = np.linalg.svd(Q.T @ K, compute_uv=False).clip(0.0, 1.0)
    return Canonical(values, chance(len(x), Q.shape[1], K.shape[1]))


def chance(n: int, p: int, m: int) -> float:
    """Return the largest canonical correlation expected of n independent pairs: the upper edge (Wachter 1980).

    p, m: dimensions of the two sides. The edge is 1 where p + m ≥ n.
    """
    a, b = p / n, m / n
    return float(np.sqrt(a * (1 - b)) + np.sqrt(b * (1 - a))) if a + b < 1 else 1.0


def _basis(x: np.ndarray) -> np.ndarray:
    """(n, r) orthonormal basis of the columns of x: (n, d), without directions of rounding alone."""
    U, S, _ = np.linalg.svd(np.asarray(x, np.float64), full_matrices=False)
    return U[:, S > SAME * S[0]]
