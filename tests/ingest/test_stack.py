"""A stack of toy heads is the plain heads, one by one: their losses, their training, and when each of them stops."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT

from ingest.toy.payload import Payload
from ingest.toy.recipe import BATCH, Recipe, Training, judge, recipe
from ingest.toy.stack import NAMES, Stack
from ingest.toy.stream import Stream
from qkstore.errors import ModelError

spec = importlib.util.spec_from_file_location("bench_toy", ROOT / "bench" / "toy.py")
plain = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plain)

TASKS = [Payload("discrete", 8, r1, r2) for r1, r2 in ((2, 3), (4, 2), (5, 6))]
R = 5, 6
DOUBLE = torch.float64


@pytest.mark.parametrize("variant", ["discrete", "continuous"])
def test_losses_are_those_of_the_plain_heads(variant):
    tasks = [replace(task, variant=variant) for task in TASKS]
    batch = Stream(tasks[0], *R, dtype=DOUBLE).draw(64)
    stacked = Stack(tasks, *R, dtype=DOUBLE).losses(batch)
    single = torch.stack([plain.Head(task, DOUBLE).loss(batch, *R) for task in tasks])
    assert torch.allclose(stacked, single, rtol=1e-12, atol=0)
    assert not torch.allclose(stacked, single.roll(1), rtol=1e-3)  # the heads do differ


def trained(tasks, steps, **how):
    training = Training(tasks, Recipe("constant", 1e-2, steps, **how), dtype=DOUBLE)
    while not training.finished:
        training.advance()
    return training


def worst(stacked: dict[str, np.ndarray], single: dict[str, torch.Tensor]) -> float:
    """The largest relative difference of any weight matrix."""
    return max(np.linalg.norm(stacked[n] - single[n].numpy()) / np.linalg.norm(single[n].numpy()) for n in NAMES)


def test_training_together_is_training_alone():
    training = trained(TASKS, 100)
    for i, task in enumerate(TASKS):
        assert worst(training.done[i][0], plain.alone(task, *R, 100, 1e-2, dtype=DOUBLE)) < 1e-8
    assert worst(training.done[0][0], plain.alone(TASKS[0], *R, 100, 1e-2, weight_decay=0.02, dtype=DOUBLE)) > 1e-5


def test_a_head_that_stops_leaves_the_others_as_they_were():
    whole, cut = (
        Training(TASKS, Recipe("c", 1e-2, 60), dtype=DOUBLE),
        Training(TASKS, Recipe("c", 1e-2, 60), dtype=DOUBLE),
    )
    for step in range(60):
        if step == 20:
            cut._stop(torch.tensor([False, True, False]))
        whole.advance()
        cut.advance()
    assert cut.done[1][1] == 20
    assert cut.done[0][1] == cut.done[2][1] == 60
    for i in (0, 2):
        assert worst(cut.done[i][0], {n: torch.tensor(W) for n, W in whole.done[i][0].items()}) < 1e-10
    assert worst(cut.done[1][0], {n: torch.tensor(W) for n, W in whole.done[1][0].items()}) > 1e-3


def test_patience_stops_each_head_by_itself_at_its_best(monkeypatch):
    """Losses of validation are dictated: head 0 gets worse after the second check, head 1 after the fourth."""
    dictated = iter(torch.tensor([[5.0, 9], [4, 8], [6, 7], [6, 6], [6, 7], [6, 7], [6, 7]]).double())
    training = Training(TASKS[:2], Recipe("p", 1e-2, 1000, patience=2), dtype=DOUBLE)
    monkeypatch.setattr("ingest.toy.recipe.CHECK_EVERY", 5)
    monkeypatch.setattr("ingest.toy.recipe.CHECK_BATCHES", 1)
    losses, snapshots = Stack.losses, {}

    def validate(stack, batch):
        return next(dictated)[training.left] if len(batch.y) != BATCH else losses(stack, batch)

    monkeypatch.setattr(Stack, "losses", validate)
    while not training.finished:
        training.advance()
        if training.step % 5 == 0:
            snapshots[training.step] = training._snapshot()
    assert [training.done[i][1] for i in (0, 1)] == [25, 35]  # more than 2 checks without a better loss
    assert np.array_equal(training.done[0][0]["W_Q"], snapshots[10]["W_Q"][0].numpy())  # back to the best
    assert not np.array_equal(training.done[0][0]["W_Q"], snapshots[20]["W_Q"][0].numpy())
    assert np.array_equal(training.done[1][0]["W_Q"], snapshots[20]["W_Q"][1].numpy())


@pytest.mark.parametrize("how", [Recipe("fast", 1e-2, 60, cosine=True), Recipe("paper", 1e-2, 60, patience=1)])
def test_a_training_that_was_put_aside_goes_on_to_the_same_weights(tmp_path, monkeypatch, how):
    monkeypatch.setattr("ingest.toy.recipe.CHECK_EVERY", 10)
    monkeypatch.setattr("ingest.toy.recipe.CHECK_BATCHES", 1)
    whole, part = Training(TASKS, how), Training(TASKS, how)
    for _ in range(25):
        part.advance()
    part.save(tmp_path / "state.pt")
    resumed = Training.resume(tmp_path / "state.pt")
    for training in (whole, resumed):
        while not training.finished:
            training.advance()
    for i in range(len(TASKS)):
        assert whole.done[i][1] == resumed.done[i][1]
        assert all(np.array_equal(whole.done[i][0][n], resumed.done[i][0][n]) for n in NAMES)
    again = Training(TASKS, how)
    assert not np.array_equal(again.stack.weights["W_Q"].detach()[0].numpy(), whole.done[0][0]["W_Q"])


def test_the_fast_recipe_learns_the_task():
    training = Training([Payload("discrete", 8, 2, 3)], replace(recipe("fast"), steps=600))
    before = judge(training.tasks, [{n: W[0] for n, W in training._snapshot().items()}])[0][0]
    while not training.finished:
        training.advance()
    (found,) = training.result()
    assert before < 0.2 < 0.78 < found.measures["accuracy"] < found.measures["bound"] + 0.01
    assert found.measures["steps"] == 600
    assert found.measures["train_seconds"] > 0
    assert found.measures["attention"] > 5 / 16
    assert found.measures["loss"] > 0


def test_an_unknown_recipe_is_named():
    with pytest.raises(ModelError, match="recipe 'slow': "):
        recipe("slow")


def test_the_device_is_where_it_trains():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    training = Training(TASKS, Recipe("c", 1e-2, 3), device)
    training.advance()
    assert {W.device.type for W in training.stack.weights.values()} == {training.best.device.type} == {device}
