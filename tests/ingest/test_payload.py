"""Payload retrieval: the bound that collisions set, the stream of training data, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ingest.toy.payload import Payload, collision_bound
from ingest.toy.stream import Stream
from qkstore.errors import ModelError


def simulated(r: int, n: int = 40_000, n_keys: int = 16, n_payloads: int = 10) -> float:
    """The accuracy of a reader who knows every code and says the most frequent payload among those that match."""
    rng = np.random.default_rng(r)
    codes, payload = rng.integers(0, 2**r, (n, n_keys)), rng.integers(0, n_payloads, (n, n_keys))
    match = codes == codes[:, :1]  # the sought token is the first; which one does not matter
    counts = np.stack([(match & (payload == p)).sum(1) for p in range(n_payloads)], axis=1)
    guess = (counts + rng.random(counts.shape) / 2).argmax(1)  # ties at random
    return float((guess == payload[:, 0]).mean())


@pytest.mark.parametrize("r", [1, 2, 4, 6, 8])
def test_the_bound_is_what_a_reader_of_all_codes_reaches(r):
    assert abs(collision_bound(r) - simulated(r)) < 4 * 0.5 / 200  # four standard errors of 40,000 coins


def test_the_bound_by_hand():
    assert collision_bound(40) == pytest.approx(1, abs=1e-9)  # no two tokens share a code
    assert collision_bound(3, n_keys=1) == 1  # nothing to confuse it with
    # two tokens, one sign: alone half of the time; else the other has the same payload (1/2),
    # or a coin decides (1/2 · 1/2)
    assert collision_bound(1, n_keys=2, n_payloads=2) == pytest.approx(0.5 + 0.5 * 0.75)


def test_gaussian_latents_have_no_collisions():
    assert Payload("continuous", 8, 2, 2).bound() == 1
    assert Payload("discrete", 8, 2, 2).bound() == collision_bound(4) < 0.7


def test_maps_come_from_the_seed_and_have_the_scripts_scale():
    task = Payload("discrete", 8, 3, 5)
    again, other = Payload("discrete", 8, 3, 5).maps(), Payload("discrete", 8, 3, 5, seed=1).maps()
    for name, shape in {"A1": (32, 3), "A2": (32, 5), "B1": (32, 3), "B2": (32, 5), "A_y": (32, 10)}.items():
        assert task.maps()[name].shape == shape
        assert np.array_equal(task.maps()[name], again[name])
        assert not np.array_equal(task.maps()[name], other[name])
    wide = Payload("discrete", 8, 16, 4, d=400).maps()
    assert np.std(wide["A1"]) == pytest.approx(1 / 4, rel=0.05)
    assert np.std(wide["A_y"]) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"variant": "discreet"}, "variant 'discreet': did you mean 'discrete'"),
        ({"d_head": 0}, "d_head 0: a head has 1 dimension or more"),
        ({"r1": 0}, "r1 0: a latent has from 1 to 32"),
        ({"r2": 33}, "r2 33: a latent has from 1 to 32"),
        ({"noise": -1.0}, "noise -1.0: a standard deviation is 0 or more"),
        ({"noise": float("nan")}, "noise nan"),
        ({"seed": -1}, "seed -1: a seed is 0 or more"),
    ],
)
def test_what_makes_no_task_is_named(change, said):
    sizes = {"variant": "discrete", "d_head": 8, "r1": 2, "r2": 3} | change
    with pytest.raises(ModelError, match=said):
        Payload(**sizes)


def test_names_tell_tasks_apart():
    task = Payload("discrete", 8, 2, 3)
    names = {
        task.name,
        *(
            Payload(**{"variant": "discrete", "d_head": 8, "r1": 2, "r2": 3} | c).name
            for c in ({"r1": 3}, {"r2": 2}, {"d_head": 16}, {"variant": "continuous"}, {"seed": 1}, {"noise": 1.0})
        ),
    }
    assert task.name == "discrete-d8-2-3"
    assert len(names) == 7


# -- the stream --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["discrete", "continuous"])
def test_a_batch_is_the_task(variant):
    task = Payload(variant, 8, 3, 4)
    batch = Stream(task, 3, 4, dtype=torch.float64).draw(2000)
    z, y, noise = batch.u[..., :7], batch.u[..., 7:17], batch.u[..., 17:]
    rows = torch.arange(2000)
    assert torch.equal(batch.u_q[:, :7], z[rows, batch.sought])  # the selector has the sought token's latents
    assert not torch.equal(batch.u_q[:, :7], z[rows, (batch.sought + 1) % 16])
    assert torch.equal(batch.u_q[:, 7:17], torch.zeros(2000, 10, dtype=torch.float64))  # and no payload
    assert torch.equal(y.sum(-1), torch.ones(2000, 16, dtype=torch.float64))
    assert torch.equal(y.argmax(-1)[rows, batch.sought], batch.y)
    assert noise.std().item() == pytest.approx(0.01, rel=0.02)
    assert batch.u_q[:, 17:].std().item() == pytest.approx(0.01, rel=0.02)
    assert (set(z.unique().tolist()) == {-1.0, 1.0}) == (variant == "discrete")
    assert z.mean().item() == pytest.approx(0, abs=0.02)
    assert z.square().mean().item() == pytest.approx(1, abs=0.02)
    assert torch.corrcoef(z.reshape(-1, 7).T).fill_diagonal_(0).abs().max() < 0.03


def test_a_head_reads_the_same_whatever_is_trained_beside_it():
    task = Payload("discrete", 8, 2, 3)
    alone, beside = Stream(task, 2, 3).draw(64), Stream(task, 6, 5).draw(64)
    assert torch.equal(alone.u[..., :2], beside.u[..., :2])
    assert torch.equal(alone.u[..., 2:5], beside.u[..., 6:9])
    assert torch.equal(alone.y, beside.y)
    assert torch.equal(alone.sought, beside.sought)
    assert torch.equal(alone.u[..., 5:], beside.u[..., 11:])  # payload and noise


def test_training_validation_and_test_are_different_samples():
    task = Payload("continuous", 8, 2, 2)
    batches = [Stream(task, 2, 2, kind).draw(8).u for kind in ("train", "validate", "test")]
    assert not any(torch.equal(a, b) for a, b in zip(batches, batches[1:] + batches[:1]))
    assert torch.equal(batches[0], Stream(task, 2, 2, "train").draw(8).u)
