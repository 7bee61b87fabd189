"""Toy runs: what the store keeps of them.

What is computed from weights is what samples, loops and attention say.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import stores
import toys
from toys import SHORT

import qkstore
from ingest.toy.payload import Payload
from ingest.toy.sample import Sample
from qkstore import toy
from qkstore.errors import RunError
from qkstore.interaction import Interaction, closed_form, interaction
from qkstore.toy import tallies
from qkstore.toy.points import centroids, clusters, points


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = toys.write(tmp_path_factory.mktemp("toys") / "store")
    stores.write(path)
    return qkstore.open(path)


@pytest.fixture(scope="module")
def run(store):
    return store.run("toy-discrete-d8-2-3-short")


def weights(r1: int = 2, r2: int = 3, d: int = 32, d_head: int = 8) -> dict[str, np.ndarray]:
    """Of a head that was never trained: what holds of ΔC and G holds for any weights."""
    rng = np.random.default_rng(0)
    maps = {f"{side}{i}": rng.normal(size=(d, r)) for side in "AB" for i, r in ((1, r1), (2, r2))}
    return maps | {name: rng.normal(size=(d_head, d)) for name in ("W_Q", "W_K")}


# -- which runs there are ----------------------------------------------------------------------------------------


def test_toy_runs_and_no_others_are_listed_with_their_settings(store):
    every = toy.toys(store)
    assert {(t.variant, *t.ranks) for t in every} == {(v, *r) for v in ("discrete", "continuous") for r in toys.RANKS}
    assert all((t.d_head, t.recipe, t.seed, t.noise, t.steps) == (8, SHORT.name, 0, 0.01, SHORT.steps) for t in every)
    for t in every:
        assert t.bound == pytest.approx(Payload(t.variant, 8, *t.ranks).bound())
        assert 0.1 < t.accuracy <= t.bound + 0.03
        assert t.room == 8 - t.r1 - t.r2


@pytest.mark.parametrize(
    "ask",
    [
        toy.toy,
        toy.recovered,
        toy.interaction,
        toy.swaps,
        lambda r: toy.closed_form(r, "z1"),
        lambda r: toy.sampled(r, "z1", [8]),
        lambda r: centroids(r, "z1"),
        lambda r: points(r, "z1"),
    ],
)
def test_a_run_that_is_no_toy_run_is_told_in_one_line(store, ask):
    with pytest.raises(
        RunError, match="'boxes' is no toy run, its task is 'synthetic'; make one with `python -m ingest toy-sweep"
    ) as told:
        ask(store.run("boxes"))
    assert "\n" not in str(told.value)


def test_a_task_of_ones_own_that_begins_with_toy_is_no_toy_task(tmp_path):
    data = stores.boxes(n=16)
    data.manifest["task"] = "toy stories.jsonl"
    store = qkstore.open(stores.write(tmp_path, data=data))
    assert toy.toys(store) == []


def test_a_latent_that_is_not_there_is_named(run, store):
    for ask in (toy.closed_form, centroids, points):
        with pytest.raises(RunError, match="no latent 'z3'; .*there are: z1, z2"):
            ask(run, "z3")
    with pytest.raises(RunError, match="Gaussian latents"):
        centroids(store.run("toy-continuous-d8-2-3-short"), "z1")


def test_filters_narrow_to_one_grid_and_keep_what_they_can(store):
    every = toy.toys(store)
    assert toy.filters(every) == ["variant", "d_head"]
    assert toy.values(every, "variant") == ["discrete", "continuous"]
    gaussian = next(t for t in every if not t.discrete)
    assert {t.variant for t in toy.narrowed(every, {})} == {"discrete"}
    assert {t.variant for t in toy.narrowed(every, {}, like=gaussian)} == {"continuous"}
    assert {t.variant for t in toy.narrowed(every, {"variant": "discrete"}, like=gaussian)} == {"discrete"}
    cells = toy.grid(toy.narrowed(every, {"d_head": "9"}))
    assert set(cells) == set(toys.RANKS), "a value that is not there changes nothing"
    assert toy.chosen(cells, (6, 6)).ranks == (6, 6)
    assert toy.chosen(cells, (5, 5)).ranks == (2, 3)
    only = {(6, 6): cells[6, 6]}
    assert toy.chosen(only).ranks == (6, 6), "superposition where there is nothing else"


# -- ranks -------------------------------------------------------------------------------------------------------


def test_ranks_are_exact_where_there_is_room_and_not_beyond(store):
    every = toy.toys(store)
    ranks = [toy.recovered(t.run) for t in every]
    assert all((f.ranks == t.ranks) == (f.distance == 0) for t, f in zip(every, ranks))
    tally = tallies(every, ranks)
    assert (tally.below.exact, tally.below.latents, tally.below.misses) == (8, 8, [])
    assert tally.below.sums == [5] * 4
    assert tally.full.latents == 0
    assert tally.full.mean_sum is None
    assert tally.beyond.latents == 4
    assert tally.beyond.mean_sum < 12
    assert tally.beyond.exact + len(tally.beyond.misses) == 4


def test_a_miss_is_named_with_both_ranks(store):
    every = [t for t in toy.toys(store) if t.ranks == (2, 3)][:1]
    tally = tallies(every, [toy.Recovered((2, 1), (2, 3))])
    assert tally.below.misses == [f"z2 of {every[0].name}: 1 for 3"]
    assert tally.below.exact == 1
    assert toy.Recovered((3, 1), (2, 3)).distance == 3


# -- ΔC ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["discrete", "continuous"])
@pytest.mark.parametrize("r", [1, 3])
def test_the_closed_form_is_what_a_large_sample_gives_and_not_the_other_latents(variant, r):
    n, w = 65_536, weights(r, 2)
    sample = Sample(Payload(variant, 8, r, 2), w, np.random.default_rng(1))
    sample.maps = {"A_y": np.zeros((32, 10))} | w  # payloads are noise, and not what is tested
    sample.triplets(1, n, exact=True)
    q, k = sample.q[0].astype(float), sample.k[0].astype(float).reshape(n, 2, -1)
    delta = q.T @ (k[:, 0] - k[:, 1]) / n
    truth = closed_form(w, 1, variant == "discrete")
    assert np.linalg.norm(delta - truth) < 0.03 * np.linalg.norm(truth)
    other = closed_form(w, 2, variant == "discrete")
    assert np.linalg.norm(delta - other) > 0.5 * np.linalg.norm(other), "control: the wrong latent"
    if variant == "discrete":
        independent = closed_form(w, 1, False)  # as if k- could have the query's code by chance
        assert np.linalg.norm(delta - independent) > 0.1 * np.linalg.norm(independent)


def test_a_stored_sample_nears_the_closed_form_of_its_own_latent(run):
    for factor in toy.FACTORS:
        few, many = (np.linalg.norm(d - toy.closed_form(run, factor)) for d in toy.sampled(run, factor, [32, 512]))
        assert many < few
        assert many < 0.35 * np.linalg.norm(toy.closed_form(run, factor))
    wrong = toy.closed_form(run, "z2")
    assert np.linalg.norm(toy.sampled(run, "z1", [512])[0] - wrong) > 0.7 * np.linalg.norm(wrong)


def test_all_triplets_are_what_the_method_takes(run):
    from qkstore.analysis import covariance
    from qkstore.contrast import builtin

    (contrast,) = builtin.feature(run, "z1")
    assert np.allclose(toy.sampled(run, "z1", [512])[0], covariance(run, contrast, 0, 0).delta, rtol=1e-9)


def test_exact_triplets_have_exactly_the_latents_rank_and_the_others_have_not(store):
    for t in toy.toys(store):
        assert [toy.numerical_rank(toy.sampled(t.run, f, [64], "exact")[0]) for f in toy.FACTORS] == list(t.ranks)
    assert toy.numerical_rank(toy.sampled(store.run("toy-discrete-d8-2-3-short"), "z1", [64])[0]) > 2


# -- G -----------------------------------------------------------------------------------------------------------


def test_g_is_the_logit_between_single_coordinates(rng):
    w = weights(2, 3)
    G = interaction(w).G
    A, B = (np.hstack([w[f"{side}1"], w[f"{side}2"]]) for side in "AB")
    for i in range(5):
        for j in range(5):
            q, k = w["W_Q"] @ B[:, i], w["W_K"] @ A[:, j]
            assert G[i, j] == pytest.approx(sum(q[d] * k[d] for d in range(8)))
    z_q, z_k = rng.normal(size=5), rng.normal(size=5)
    assert (w["W_Q"] @ B @ z_q) @ (w["W_K"] @ A @ z_k) == pytest.approx(z_q @ G @ z_k)


@pytest.mark.parametrize(
    ("G", "shares"),
    [
        (np.diag([1.0, -2, 3]), (1, 0, 0)),
        (np.array([[0.0, 0, 0], [0, 0, 2], [0, 1, 0]]), (0, 1, 0)),
        (np.array([[0.0, 2, 0], [0, 0, 0], [1, 0, 0]]), (0, 0, 1)),
        (np.array([[1.0, 0, 1], [0, 0, 1], [0, -1, 0]]), (0.25, 0.5, 0.25)),
    ],
)
def test_shares_are_of_the_diagonal_the_blocks_and_what_is_across(G, shares):
    given = Interaction(G, 1, 8)
    assert given.shares == pytest.approx(shares)
    assert given.names == ["z1[0]", "z2[0]", "z2[1]"]


def test_the_verdict_in_words(store):
    assert Interaction(np.eye(3), 1, 8).verdict == "feature split"
    assert Interaction(np.ones((3, 3)), 1, 8).verdict == "mixed"
    assert Interaction(np.eye(9) + 0.2, 4, 8).verdict == "superposition"
    for t in toy.toys(store):
        assert toy.interaction(t.run).verdict == ("superposition" if t.room < 0 else "feature split"), t.name


# -- points ------------------------------------------------------------------------------------------------------


def test_queries_find_the_keys_of_their_code_and_flipping_one_u_destroys_it(store, run):
    for factor in toy.FACTORS:
        at = centroids(run, factor)
        assert at.n == toys.SIZES.n_test
        assert at.attended > 0.95
        assert at.balanced > 0.95
        assert at.flipped < 0.6


def test_nearest_depends_on_the_basis_that_training_left_open_and_balanced_does_not(rng):
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], float)
    code = rng.integers(8, size=800)
    q, k = signs[code] + 0.05 * rng.normal(size=(800, 3)), signs[code[::-1]] + 0.05 * rng.normal(size=(800, 3))
    M = np.array([[1.0, 3, 3], [0, 1, 3], [0, 0, 1]])
    upright, sheared = clusters(q, k, code, code[::-1]), clusters(q @ M, k @ np.linalg.inv(M).T, code, code[::-1])
    assert upright.nearest == upright.balanced == upright.attended == 1
    assert sheared.nearest < 0.7
    assert sheared.balanced == sheared.attended == 1
    assert upright.flipped == 0
    shuffled = clusters(q, k, rng.permutation(code), code[::-1])
    assert max(shuffled.attended, shuffled.nearest, shuffled.balanced) < 0.25


@pytest.mark.parametrize("balance", [False, True])
def test_points_are_the_contexts_in_groups_of_signs(run, balance):
    drawn = points(run, "z2", balance, most=1000)
    table = drawn.table
    n = toys.SIZES.n_test
    assert drawn.total == n * 17
    assert abs(drawn.shown - 1000) <= 2
    assert drawn.split == "test"
    assert drawn.rank == 3
    assert set(table["group"]) == {f"{i:03b}" for i in range(8)}
    assert set(table["side"]) == {"query", "key"}
    assert table["prompt_id"].min() >= 2 * 512 + 2 * 64, "no triplets"
    row = table.filter(side="key").row(0, named=True)
    assert row["text"].split()[1].replace("+", "1").replace("-", "0") == row["group"]
    centre = {
        side: table.filter(side=side)
        .group_by("group")
        .agg(pl.mean("x", "y", "z"))
        .sort("group")
        .drop("group")
        .to_numpy()
        for side in ("query", "key")
    }
    angle = [np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(centre["query"], centre["key"])]
    assert np.mean(angle) > (0.9 if balance else 0.2)
    assert points(run, "z1").table["z"].abs().max() == 0, "rank 2"


def test_swapping_both_latents_hands_attention_over(run):
    swapped = {c.name: c for c in toy.swaps(run).conditions}
    assert list(swapped) == ["z1", "z2", "z1+z2", "random of z1's rank", "random of z2's rank", "random"]
    both, random = swapped["z1+z2"], swapped["random"]
    assert both.rank == random.rank == 5
    assert random.bases == 10
    assert both.target_after == pytest.approx(both.original_before, abs=0.02)
    assert both.delta_p > random.delta_p + 0.1
