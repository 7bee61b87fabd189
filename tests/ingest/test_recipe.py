"""Toy heads of odd sizes, loud noise and damaged states.

What is trained is what was asked for, and what was lost is trained anew.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import qkstore
from ingest.toy import recipe as module
from ingest.toy import toy
from ingest.toy.payload import Payload, collision_bound
from ingest.toy.recipe import Recipe, Training, judge, recipe
from ingest.toy.sample import Sample
from ingest.toy.stack import initial
from ingest.toy.stream import Stream

torch.set_num_threads(1)
SHORT = Recipe("short", 3e-2, 30, cosine=True)
SIZES = toy.Sizes(n=64, n_exact=16, n_test=20)
TASK = Payload("discrete", 8, 2, 3)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "TEST_BATCHES", 4)


def trained(*tasks: Payload, steps: int = 300) -> list[module.Trained]:
    training = Training(tasks, replace(recipe("fast"), steps=steps))
    while not training.finished:
        training.advance()
    return training.result()


# -- what a recipe does ------------------------------------------------------------------------------------------


def rates_of(training) -> list[float]:
    """The rate of each step, as it is taken."""
    rates, step = [], training.optimiser.step
    training.optimiser.step = lambda: (rates.append(training.optimiser.param_groups[0]["lr"]), step())
    return rates


def test_the_rate_falls_as_a_cosine_to_zero_or_stays():
    falling = [0.1, 0.1 * (1 + 0.5**0.5) / 2, 0.05, 0.1 * (1 - 0.5**0.5) / 2]
    for how, expected in ((Recipe("c", 0.1, 4, cosine=True), falling), (Recipe("p", 0.1, 4), [0.1] * 4)):
        training = Training([TASK], how)
        rates = rates_of(training)
        while not training.finished:
            training.advance()
        assert rates == pytest.approx(expected)
        assert training.step == 4


def test_the_recipes_are_those_that_are_documented():
    fast, paper = recipe("fast"), recipe("paper")
    assert (fast.rate, fast.steps, fast.cosine, fast.patience) == (3e-2, 2000, True, None)
    assert (paper.rate, paper.steps, paper.cosine, paper.patience) == (1e-4, 200_000, False, 5)
    assert (module.BATCH, module.WEIGHT_DECAY, module.CHECK_EVERY, module.CHECK_BATCHES, module.CHECK_SIZE) == (
        256,
        0.01,
        200,
        20,
        512,
    )
    training = Training([TASK], fast)
    (group,) = training.optimiser.param_groups
    assert group["weight_decay"] == 0.01
    assert {id(W) for W in group["params"]} == {id(W) for W in training.stack.weights.values()}


def test_a_head_begins_uniform_within_one_over_the_root_of_its_inputs():
    W = initial(Payload("discrete", 16, 2, 3))
    assert {name: w.shape for name, w in W.items()} == {
        "W_Q": (16, 32),
        "W_K": (16, 32),
        "W_V": (16, 32),
        "W_O": (10, 16),
    }
    for name, w in W.items():
        bound = 1 / np.sqrt(w.shape[1])
        assert 0.95 * bound < np.abs(w).max() <= bound, name
        assert abs(w.mean()) < bound / 5, name
    assert not np.array_equal(W["W_Q"], W["W_K"])
    assert not np.array_equal(W["W_Q"], initial(Payload("discrete", 16, 3, 2))["W_Q"])
    assert not np.array_equal(W["W_Q"], initial(Payload("discrete", 16, 2, 3, seed=1))["W_Q"])


def test_drawing_twice_is_going_on_and_not_beginning_again():
    stream = Stream(TASK, 2, 3)
    first, second = stream.draw(8), stream.draw(8)
    assert not torch.equal(first.u, second.u)
    assert torch.equal(Stream(TASK, 2, 3).draw(8).u, first.u)
    assert first.u.shape == (8, 16, 2 + 3 + 10 + 32)
    assert first.u_q.shape == (8, 47)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_the_streams_noise_is_the_tasks_on_tokens_and_selectors(noise):
    batch = Stream(replace(TASK, noise=noise), 2, 3, dtype=torch.float64).draw(200)
    assert batch.u[..., 15:].std().item() == pytest.approx(noise, rel=0.03)
    assert batch.u_q[:, 15:].std().item() == pytest.approx(noise, rel=0.03)


def test_what_is_judged_is_what_attends():
    """A head whose weights find every token by its latents, and one of zeros that attends to all alike."""
    task = Payload("continuous", 8, 2, 3, noise=0.0)
    m, none = task.maps(), {name: np.zeros_like(w) for name, w in initial(task).items()}
    seen, code = np.hstack([m["A1"], m["A2"]]), np.hstack([m["B1"], m["B2"]])
    read_q, read_k = (
        np.linalg.pinv(code),
        np.linalg.pinv(np.hstack([seen, m["A_y"]]))[:5],
    )  # the latents, whatever the payload
    W = none | {"W_Q": 30 * np.pad(read_q, ((0, 3), (0, 0))), "W_K": np.pad(read_k, ((0, 3), (0, 0)))}
    accuracy, attention, loss = judge([task, task], [none, W])
    assert attention[0] == pytest.approx(1 / 16, abs=1e-6)
    assert accuracy[0] == pytest.approx(0.1, abs=0.03)
    assert loss[0] == pytest.approx(np.log(10), abs=1e-4)
    assert attention[1] > 0.5, "z·z is largest with itself more often than not"
    assert accuracy[1] == pytest.approx(0.1, abs=0.03), "with W_O of zeros nothing is said all the same"


# -- odd sizes ---------------------------------------------------------------------------------------------------

ODD = {
    "one dimension": Payload("discrete", 1, 1, 1),
    "latents as wide as the embedding": Payload("continuous", 8, 32, 32),
    "a narrow embedding": Payload("discrete", 4, 2, 2, d=6),
    "a wide one": Payload("continuous", 4, 2, 2, d=48),
    "one token": Payload("discrete", 4, 2, 2, n_keys=1),
    "two tokens": Payload("continuous", 4, 2, 2, n_keys=2),
    "one payload": Payload("discrete", 4, 2, 2, n_payloads=1),
    "no noise": Payload("discrete", 4, 2, 2, noise=0.0),
}


@pytest.mark.parametrize("task", ODD.values(), ids=ODD)
def test_odd_sizes_make_runs_of_those_sizes(tmp_path, task):
    (name,) = toy.build(tmp_path, [task], SHORT, SIZES)
    run = qkstore.open(tmp_path).run(name)
    assert run.d_head == task.d_head
    assert all(run.settings[name] == getattr(task, name) for name in ("r1", "r2", "d", "n_keys", "n_payloads", "noise"))
    assert run.weights["W_Q"].shape == (task.d_head, task.d)
    assert run.weights["W_O"].shape == (
        task.n_payloads,
        task.d_head,
    )
    assert run.weights["A1"].shape == (task.d, task.r1)
    assert run.n_keys == 4 * 40 * 2 + 20 * task.n_keys
    assert np.isfinite(run.keys(0, 0)).all()
    context = run.table(
        "SELECT count(*) AS n FROM token JOIN prompt USING (prompt_id) WHERE variant = 'context' GROUP BY prompt_id"
    ).to_pylist()
    assert {row["n"] for row in context} == {task.n_keys + 1}
    assert run.layer(0, 0).scaling == pytest.approx(task.d_head**-0.5)
    assert run.measures["bound"] == pytest.approx(task.bound())


def test_one_token_or_one_payload_leaves_nothing_to_find():
    (alone, one), (many,) = (
        trained(ODD["one token"], steps=2) + trained(ODD["one payload"], steps=2),
        trained(ODD["no noise"], steps=2),
    )
    assert alone.measures["attention"] == pytest.approx(1)
    assert one.measures["accuracy"] == 1
    assert one.measures["loss"] == pytest.approx(0, abs=1e-6)
    assert many.measures["attention"] < 0.5, "the control"
    assert collision_bound(4, 16, 1) == pytest.approx(1)
    assert collision_bound(4, 1, 10) == 1


def test_one_dimension_is_too_few_for_two_latents_and_eight_are_enough():
    small, large = (trained(Payload("discrete", d_head, 3, 3), steps=200)[0].measures["accuracy"] for d_head in (1, 8))
    assert small < 0.5 < 0.8 < large


def test_noise_as_loud_as_the_embedding_costs_accuracy_and_is_no_collision():
    quiet, loud = (trained(Payload("discrete", 16, 3, 5, noise=noise))[0] for noise in (0.01, 1.0))
    assert quiet.measures["accuracy"] > loud.measures["accuracy"] + 0.05
    assert quiet.measures["bound"] == loud.measures["bound"]
    assert 0.2 < loud.measures["accuracy"] < 0.93
    assert quiet.measures["accuracy"] > 0.94


def test_noise_is_in_the_stored_vectors():
    """The selector of an exact triplet has noise too.

    Without noise the selectors of one code are one vector, with it they spread by W_Q ε.
    """
    for noise in (0.0, 0.5):
        task = replace(TASK, noise=noise)
        made = Sample(task, initial(task), np.random.default_rng(0))
        made.triplets(1, 2000, exact=True)
        tokens = made.frames()[1].filter(role="selector")
        code = np.array([a + b for a, b in tokens.select("z1", "z2").iter_rows()])
        spread = np.mean([made.q[0][code == c].astype(float).var(axis=0) for c in set(code)], axis=0)
        assert spread == pytest.approx(noise**2 * np.sum(initial(task)["W_Q"] ** 2, axis=1), rel=0.15, abs=1e-10)


# -- a state that was damaged --------------------------------------------------------------------------------------
