"""The rank of ΔC: its test is calibrated and finds what is planted and no more.

The three ranks differ where they should.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import toys
from conftest import ROOT

import qkstore
from qkstore import rank
from qkstore.covariance import ContrastiveCovariance, Pairs
from qkstore.errors import ContrastError

spec = importlib.util.spec_from_file_location("rank_bench", ROOT / "bench" / "rank.py")
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def some(rng, n=60, m=90, d=6, p=500):
    """Vectors with means, and pairs of unequal numbers and weights a query, that share keys."""
    q, k = rng.standard_normal((n, d)) + 2, rng.standard_normal((m, d)) + 1
    query = np.r_[np.arange(n), np.arange(n), rng.integers(0, n, p)]
    sign = np.r_[np.ones(n), -np.ones(n), rng.choice([1, -1, -1], p)].astype(int)
    return q, k, Pairs(query, rng.integers(0, m, len(query)), sign, rng.random(len(query)) + 0.1)


def noisy(rng, n, d, strengths, noise=1.0):
    """x and c of a ΔC whose rank is len(strengths), in random directions of both spaces.

    Each of the two has noise of its own.
    """
    U, V = (np.linalg.qr(rng.standard_normal((d, d)))[0][:, : len(strengths)] for _ in range(2))
    z = rng.standard_normal((n, len(strengths)))
    return z @ U.T + noise * rng.standard_normal((n, d)), (z * strengths) @ V.T + noise * rng.standard_normal((n, d))


def toy(seed, kind, d_head, r1, r2, n, noise=0.01, pairing="authors", discrete=True):
    rng = np.random.default_rng(seed)
    return bench.triplets(rng, bench.maps(rng, d_head, r1, r2, kind), n, discrete, noise, pairing)


def place(p_values, level=rank.LEVEL):
    return next((j for j, p in enumerate(p_values) if p > level), len(p_values))


# -- units -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("weighting", ["pair", "query", "sum"])
def test_units_are_delta_for_every_weighting_and_centring(rng, weighting, centred):
    q, k, pairs = some(rng)
    pairs = pairs.balanced() if weighting == "query" else pairs
    kind = dict(centred=centred, summed=weighting == "sum")
    x, c = rank.units(q, k, pairs, **kind)
    delta = ContrastiveCovariance(q.shape[1], **kind).update(q, k, pairs).delta
    assert x.shape == c.shape == q.shape
    assert np.allclose(x.T @ c / len(x), delta, rtol=1e-10, atol=1e-12)
    other = rank.units(q, k, pairs, centred=not centred, summed=kind["summed"])
    assert not np.allclose(other[0].T @ other[1] / len(x), delta, rtol=1e-3)


def test_a_units_key_contrast_is_its_own_pairs(rng):
    """One positive and one negative key a query: c is their difference, as in the paper's triplets."""
    n, d = 20, 4
    q, k = rng.standard_normal((n, d)), rng.standard_normal((2 * n, d))
    x, c = rank.units(q, k, Pairs(np.r_[np.arange(n), np.arange(n)], np.arange(2 * n), np.repeat([1, -1], n)))
    assert np.array_equal(x, q)
    assert np.allclose(c, k[:n] - k[n:])


# -- the test ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [30, 1000])
def test_without_a_feature_p_values_are_uniform(rng, n):
    """Fewer queries than blocks, and more; queries of unequal sizes, whose part in the error is their own."""
    ps = []
    for _ in range(200):
        size = np.exp(rng.standard_normal((n, 1)) / 2)
        x, c = noisy(rng, n, 5, []) if n < 100 else (size * v for v in noisy(rng, n, 3, []))
        ps.append(rank.statistical(x, c)[0])
    ps = np.array(ps)
    # within 3 standard errors
    assert abs(np.mean(ps <= 0.5) - 0.5) < 0.11
    assert np.mean(ps <= 0.05) < 0.1
    assert np.mean(ps <= 0.2) > 0.1


def test_what_is_planted_is_found_and_no_more(rng):
    """A rank of 2 under noise: too high a rank is as rare as the level says.

    By the 99 % rule it is nearly always too high.
    """
    found = [rank.ranks(*noisy(rng, 600, 8, [1.5, 0.8]), seed=i) for i in range(100)]
    statistical = np.array([f.statistical for f in found])
    assert np.mean(statistical == 2) > 0.88
    assert np.mean(statistical > 2) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)
    assert np.mean([f.energy > 2 for f in found]) > 0.9


def test_a_direction_is_found_once_there_are_queries_enough(rng):
    few, many = (
        [rank.ranks(*noisy(rng, n, 8, [1.5, 0.25]), seed=i).statistical for i in range(20)] for n in (60, 4000)
    )
    assert np.mean(many) > 1.9
    assert np.mean(few) < 1.6


def test_p_values_end_at_the_rank(rng):
    x, c = noisy(rng, 800, 6, [2.0, 1.0, 1.0])
    found = rank.ranks(x, c)
    assert found.statistical == len(found.p_values) - 1 == place(found.p_values)
    assert found.n == 800
    assert all(p <= found.level for p in found.p_values[:-1])
    assert found.p_values[-1] > found.level
    assert found.p_values[0] == 1 / (1 + rank.REPLICATES)
    full = rank.ranks(x[:, :3], x[:, :3])
    assert full.statistical == len(full.p_values) == 3, "all were rejected: none is left to end with"


def test_the_level_is_what_decides(rng):
    x, c = noisy(rng, 200, 6, [0.15])
    p = rank.statistical(x, c)[0]
    assert 0.01 < p < 0.9, "neither sure nor hopeless"
    assert rank.ranks(x, c, level=p).statistical >= 1
    assert rank.ranks(x, c, level=p / 2).statistical == 0


def test_same_seed_same_test_and_a_rotated_head_the_same_rank(rng):
    x, c = noisy(rng, 500, 6, [1.0, 0.5])
    R, T = (np.linalg.qr(rng.standard_normal((6, 6)))[0] for _ in range(2))
    assert rank.ranks(x, c, seed=4) == rank.ranks(x, c, seed=4)
    assert rank.statistical(x @ R, 100 * c @ T, seed=4) == rank.statistical(x, c, seed=4)
    assert rank.statistical(x, c, level=1.0, seed=4) != rank.statistical(x, c, level=1.0, seed=5)


@pytest.mark.parametrize("n", [64, 1024])
def test_rounding_is_no_dimension(n):
    """Keys that share all but z1: above r1, ΔC has nothing but the rounding of float32.

    That would count as rank if it were tested.
    """
    for seed in range(5):
        x, c = toy(seed, "room", 16, 5, 6, n, pairing="exact")
        found = rank.ranks(x.astype(np.float32).astype(float), c.astype(np.float32).astype(float))
        assert found.statistical <= 5
        assert n == 64 or found.statistical == 5
        assert np.linalg.matrix_rank(c.astype(np.float32), tol=0) > 5


def test_directions_that_no_query_shares_with_a_key_are_no_dimension(rng):
    """Queries and keys of few kinds: off the first direction every single product is zero.

    So is every replicate, but for rounding.
    """
    R, T = (np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(2))
    kind = np.arange(90) % 3
    x, c = np.eye(3)[kind] * (kind != 2)[:, None] @ R, np.eye(3)[kind] * (kind != 1)[:, None] @ T
    found = rank.ranks(x, c)
    assert found.statistical == 1
    assert len(found.p_values) == 2
    assert found.p_values[1] == 1.0


@pytest.mark.parametrize("n", [2, 9])
def test_too_few_queries_are_an_error(rng, n):
    with pytest.raises(ContrastError, match=f"10 queries or more; the contrast has {n}$"):
        rank.ranks(*noisy(rng, n, 4, [1.0]))
    assert rank.ranks(*noisy(rng, 10, 4, [])).n == 10


def test_fewer_queries_than_dimensions(rng):
    x, c = noisy(rng, 40, 64, [20.0], noise=0.1)
    assert rank.ranks(x, c).statistical == 1
    assert rank.ranks(*noisy(rng, 40, 64, [])).statistical == 0


def test_no_contrast_at_all_has_rank_0(rng):
    x, _ = noisy(rng, 50, 4, [])
    found = rank.ranks(x, np.zeros((50, 4)))
    assert (found.energy, found.statistical, found.cross_validated, found.p_values) == (0, 0, 0, ())


# -- the three ranks ---------------------------------------------------------------------------------------------


def test_without_noise_the_three_agree(rng):
    found = rank.ranks(*noisy(rng, 5000, 6, [1.0, 1.2, 0.9], noise=1e-3))
    assert (found.energy, found.statistical, found.cross_validated, found.weak) == (3, 3, 3, 0)
    assert found.sentence == "3 dimensions are statistically there, as many as hold 99 % of ‖ΔC‖²."


def test_a_weak_direction_is_there_but_holds_no_energy(rng):
    found = rank.ranks(*noisy(rng, 5000, 6, [1.0, 0.03], noise=0.1))
    assert (found.energy, found.statistical, found.weak) == (1, 2, 1)
    assert found.sentence.startswith("2 dimensions are statistically there, but 1 holds 99 %")


def test_crowded_heads_have_weak_dimensions_and_heads_with_room_have_not():
    """Superposition is what makes the 99 % rule smaller than r1; the test still finds r1.

    Not every crowded head shows it.
    """
    crowded = [rank.ranks(*toy(seed, "crowded", 8, 5, 6, 8192)) for seed in range(12)]
    room = [rank.ranks(*toy(seed, "room", 8, 4, 3, 8192)) for seed in range(12)]
    assert np.mean([f.statistical == 5 for f in crowded]) > 0.7
    assert np.mean([f.weak > 0 for f in crowded]) > 0.4
    assert np.mean([f.statistical == 4 for f in room]) > 0.7
    assert np.mean([f.weak > 0 for f in room]) < 0.2


def test_noise_alone_has_energy_but_no_dimension(rng):
    """What the authors' lexical script gives: a ΔC that vanishes in expectation, with a 99 % rank of many."""
    found = rank.ranks(*noisy(rng, 500, 8, []))
    assert found.energy >= 6
    assert found.statistical == 0
    assert found.weak == 0
    assert found.sentence == "ΔC is no larger than sampling error: no dimension is statistically there."
    some = rank.ranks(*noisy(rng, 300, 8, [2.0]))
    assert some.statistical == 1 < some.energy
    assert f"{some.energy} dimensions are needed" in some.sentence
    assert "only 1 statistically there" in some.sentence


def test_cross_validation_leaves_out_energy_that_only_one_half_has(rng):
    drawn = [noisy(rng, 150, 8, [2.0, 1.0]) for _ in range(30)]
    whole = [rank.energy_rank(np.linalg.svd(x.T @ c, compute_uv=False)) for x, c in drawn]
    crossed = [rank.cross_validated(x, c) for x, c in drawn]
    assert np.mean(np.abs(np.array(crossed) - 2)) < 0.6 * np.mean(np.abs(np.array(whole) - 2))
    opposed = np.vstack([np.eye(4), np.eye(4)]), np.vstack([np.eye(4), -np.eye(4)])
    assert rank.cross_validated(*opposed) == 0, "each half finds the contrary of the other"


# -- the benchmark -----------------------------------------------------------------------------------------------


def test_the_benchmark_can_fail():
    cells = bench.pl.DataFrame([bench.cell(900 + i, kind) for kind in bench.DRAWN for i in range(8)])
    wrong = cells.with_columns(statistical=cells["true"] + 1, energy=cells["true"])
    assert len(bench.failures(wrong.with_columns(n=bench.ENOUGH, pairing=bench.pl.lit("authors")))) == 1 + len(
        bench.DRAWN
    )
    right = cells.with_columns(statistical=cells["true"], energy=cells["true"] + 1)
    assert bench.failures(right) == []
    assert bench.summary(right)["energy"] == (0.0, 1.0, 1.0)
    assert bench.summary(right)["statistical"] == (1.0, 0.0, 0.0)
    assert bench.rare(5, 100, 0.05) > 0.3
    assert bench.rare(12, 100, 0.05) < 0.01


def test_the_benchmarks_heads_are_as_it_says():
    for kind, d_head, r1, r2 in (("room", 16, 5, 9), ("crowded", 8, 5, 6), ("random", 8, 3, 4)):
        m = bench.maps(np.random.default_rng(0), d_head, r1, r2, kind)
        S = np.linalg.svd(m["W_Q"] @ np.hstack([m["B1"], m["B2"]]), compute_uv=False)
        assert (kind == "random") == (S[0] / S[-1] > 4)
        assert np.linalg.matrix_rank(m["W_Q"] @ m["B1"] @ m["A1"].T @ m["W_K"].T) == r1


def test_the_benchmark_takes_trained_heads_of_a_store(tmp_path):
    made = qkstore.open(toys.write(tmp_path, ("discrete",), ((2, 3),)))
    rows = [bench.trained_cell(900 + i, made.runs()) for i in range(4)]
    assert {row["kind"] for row in rows} == {"trained"}
    assert all(row["true"] == row["r1"] for row in rows)
    cells = bench.pl.DataFrame(rows).with_columns(
        energy=bench.pl.col("true") + 2, statistical=bench.pl.col("true") + 2, pairing=bench.pl.lit("exact")
    )
    assert [f.split(":")[0] for f in bench.failures(cells)] == ["trained heads"]
