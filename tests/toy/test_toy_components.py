"""Components of toy heads beside their latents: the number, the coordinates, and what a random basis gives."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import toys

import qkstore
from ingest.toy import Sizes
from ingest.toy.payload import Payload
from ingest.toy.sample import Sample
from qkstore import analysis, toy
from qkstore.components import AttentionContrast, Choices, choices, correlations
from qkstore.components import components as front
from qkstore.errors import ContrastError
from qkstore.toy.components import CLEAN, claims, found, match, of_family


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    sizes = Sizes(n=512, n_exact=64, n_test=1000)
    return qkstore.open(toys.write(tmp_path_factory.mktemp("toys") / "store", sizes=sizes))


@pytest.fixture(scope="module")
def heads(store):
    return {(t.variant, *t.ranks): found(t) for t in toy.toys(store)}


def test_there_are_as_many_as_the_head_has_room_for(heads):
    assert len(heads) == 6
    for (_, r1, r2), head in heads.items():
        assert head.number == head.true == min(r1 + r2, 8)
        assert head.held[0] > 0.5 > head.held[1]
        assert (head.n_built, head.n_judged) == (500, 500)


def test_with_room_each_coordinate_is_a_component_and_in_a_random_basis_none_is(heads):
    for ranks in ((2, 3), (3, 2)):
        head = heads["discrete", *ranks]
        assert len(head.matched) == sum(ranks)
        assert (head.matched >= CLEAN).all()
        assert (head.turned < CLEAN).all()


def test_without_room_coordinates_are_lost(heads):
    head = heads["discrete", 6, 6]
    assert len(head.matched) == 12
    assert (head.matched == 0).sum() == 4, "eight components are matched to twelve coordinates"
    assert (head.matched < CLEAN).all()


def test_gaussian_latents_have_no_coordinates(heads):
    assert len(heads["continuous", 2, 3].matched) == len(heads["continuous", 2, 3].turned) == 0


def test_a_head_of_too_few_contexts_has_no_claim(tmp_path):
    few = qkstore.open(toys.write(tmp_path, ("discrete",), ((2, 3),), Sizes(n=64, n_exact=16, n_test=20)))
    (one,) = toy.toys(few)
    assert found(one) is None
    assert of_family("here", [SimpleNamespace(components=None)]) == []


def test_a_coordinate_has_its_own_component():
    z = np.random.default_rng(0).standard_normal((400, 2))
    assert match(z[:, ::-1] * -3, z) == pytest.approx([1, 1])
    assert match(z[:, [0]], z) == pytest.approx([1, 0])
    assert match(np.repeat(z[:, [0]], 2, axis=1), z)[1] < 0.2
    assert match(np.zeros((400, 0)), z).tolist() == [0, 0]


def test_the_claims_are_those_of_the_heads(heads):
    discrete = [head for (variant, *_), head in heads.items() if variant == "discrete"]
    rows = {row.claim: row for row in claims("here", discrete)}
    roomy = rows["Components without labels, r1 + r2 ≤ d_head"]
    assert roomy.measured.startswith("min(r1 + r2, d_head) in 2 of 2, share 1.00 [")
    assert roomy.n == "2 heads, 500 contexts found on, 500 judged on"
    assert "10 of 10 at 0.98 or more" in rows["Coordinates without labels, r1 + r2 ≤ d_head"].measured
    assert "0 of 12 at 0.98 or more" in rows["Coordinates without labels, r1 + r2 > d_head"].measured
    wrong = claims("here", [replace(discrete[0], number=4)])[0].measured
    assert "in 0 of 1" in wrong
    assert "not: 4 for 5 at (2, 3)" in wrong
    gaussian = claims("here", [head for (variant, *_), head in heads.items() if variant == "continuous"])
    assert not [row for row in gaussian if row.claim.startswith("Coordinates")]


def test_contexts_are_halved_only_where_nobody_says_which_queries(store):
    run = toy.toys(store)[0].run
    of = analysis.components(run, 0, 0, repairs=0)
    even, odd = (np.unique(run.query_places[0][sight.queries] % 2) for sight in (of.built, of.judged))
    assert (even.tolist(), odd.tolist()) == ([0], [1])
    with pytest.raises(ContrastError, match="no query of the train split"):
        analysis.components(run, 0, 0, "q.variant = 'context'", repairs=0)


def drawn(one: toy.Toy) -> tuple[np.ndarray, ...]:
    """(q, k, log-sum-exps, prompt_ids) of a run's contexts, from the sampler itself and by no file."""
    run, size = one.run, one.run.settings
    task = Payload(one.variant, one.d_head, one.r1, one.r2, seed=run.manifest.seed)
    sample = Sample(task, run.weights, np.random.default_rng([task.seed, 4, task.d_head, task.r1, task.r2]))
    for exact, n in ((False, size["n"]), (True, size["n_exact"])):
        for factor in (1, 2):
            sample.triplets(factor, n, exact)
    sample.contexts(size["n_test"])
    q, k = sample.q[-1][:, None], sample.k[-1].reshape(size["n_test"], task.n_keys, -1)
    prompts = sample.prompts[-1]["prompt_id"].to_numpy()
    return q, k, sample.logsumexp[-1][:, None], prompts


def decomposed(q, k, logsumexp, prompts, half: np.ndarray):
    """(components, their correlations on the other half, and intervals) by the front room alone."""
    seen, scaling = np.ones((len(q), 1, k.shape[1]), bool), q.shape[2] ** -0.5

    def chose(at: np.ndarray) -> Choices:
        return choices(q[at], k[at], seen[at], prompts[at], scaling, logsumexp=logsumexp[at])

    train, test = chose(half), chose(~half)
    found = front(AttentionContrast(q.shape[2], 99, 0).update(train), train)
    return found, *correlations(found, AttentionContrast(q.shape[2], 0).update(test))


def test_a_published_run_gives_what_the_samplers_own_arrays_give(store):
    for one in toy.toys(store):
        arrays = drawn(one)
        half = arrays[3] % 2 == 0
        own, rho, interval = decomposed(*arrays, half)
        of = analysis.components(one.run, 0, 0)
        assert (of.found.number.value, of.found.number.interval) == (own.number.value, own.number.interval)
        assert of.found.number.held == pytest.approx(own.number.held, abs=1e-9)
        assert of.found.number.chance == pytest.approx(own.number.chance, abs=1e-9)
        for there, here in ((own.key_projector(), of.found.key_projector()), (own.q_mean, of.found.q_mean)):
            assert here == pytest.approx(there, abs=1e-6 * np.abs(there).max())
        if one.discrete:  # Gaussian latents have no axes of their own, so that rounding may turn the components
            assert of.rho == pytest.approx(rho, abs=1e-6)
            assert of.rho_ci == pytest.approx(interval, abs=1e-6)
            for name in ("a", "b", "a_onto", "b_onto"):
                there, here = getattr(own, name), getattr(of.found, name)
                assert here == pytest.approx(there, abs=1e-6 * np.abs(there).max()), name
        other, *_ = decomposed(*arrays, ~half)
        assert other.number.held != pytest.approx(own.number.held, abs=1e-6), "control: of the other half"
