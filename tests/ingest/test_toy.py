"""Toy runs: trained and published by one command, and analysed by the same contrasts as any run.

They can be resumed, and what is wrong is refused in one line.
"""

from __future__ import annotations

import numpy as np
import pytest

import qkstore
from ingest.__main__ import main
from ingest.toy import toy
from ingest.toy.payload import Payload
from ingest.toy.recipe import Recipe, judge
from ingest.toy.sample import Sample
from qkstore.analysis import covariance, intervene
from qkstore.contrast import pairs
from qkstore.errors import RunError
from qkstore.store.archive import check
from qkstore.subspace import overlap

TASKS = [Payload("discrete", 8, 2, 3), Payload("discrete", 8, 3, 2)]
SHORT = Recipe("short", 3e-2, 400, cosine=True)
SIZES = toy.Sizes(n=2048, n_exact=64, n_test=200)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("toys")
    assert toy.build(path, TASKS, SHORT, SIZES) == ["toy-discrete-d8-2-3-short", "toy-discrete-d8-3-2-short"]
    return qkstore.open(path)


@pytest.fixture
def run(store):
    return store.run("toy-discrete-d8-2-3-short")


def test_a_toy_run_is_an_ordinary_run(store, run):
    assert list(run.layers) == [0]
    assert run.n_heads == 1
    assert run.d_head == 8
    assert run.splits == ["train", "test"]
    assert list(store.features(run)) == ["z1", "z2", "exact/z1", "exact/z2"]
    well, ill = check(store)
    assert len(well) >= 2
    assert not ill
    counts = pairs(run, store.feature(run, "z1")[0], "train").counts
    assert counts.n_pos == counts.n_neg == counts.n_q == SIZES.n
    assert pairs(run, store.feature(run, "exact/z2")[0], "train").counts.n_q == SIZES.n_exact
    judged = pairs(run, store.feature(run, "z1")[0], "test").counts
    assert judged.n_pos == SIZES.n_test  # the sought key alone, though others share its z1 by chance
    assert SIZES.n_test * 15 * 0.65 < judged.n_neg < SIZES.n_test * 15 * 0.85


def test_weights_maps_seed_and_settings_are_kept(run):
    task = TASKS[0]
    assert all(np.array_equal(run.weights[name], value.astype(np.float32)) for name, value in task.maps().items())
    assert run.weights["W_Q"].shape == (8, 32)
    assert run.weights["W_O"].shape == (10, 8)
    kept = {name: run.settings[name] for name in ("variant", "d_head", "r1", "r2", "noise", "seed", "recipe", "n")}
    assert kept == {
        "variant": "discrete",
        "d_head": 8,
        "r1": 2,
        "r2": 3,
        "noise": 0.01,
        "seed": 0,
        "recipe": "short",
        "n": 2048,
    }
    assert run.measures["steps"] == 400
    assert run.measures["bound"] == pytest.approx(task.bound())
    ((accuracy,), _, _) = judge([task], [{name: run.weights[name] for name in ("W_Q", "W_K", "W_V", "W_O")}])
    assert run.measures["accuracy"] == pytest.approx(accuracy, abs=1e-4)
    assert accuracy > 0.7


@pytest.mark.parametrize("name", ["z1", "z2", "exact/z1", "exact/z2"])
def test_contrasts_recover_the_latents(store, run, name):
    found = covariance(run, store.feature(run, name)[0], 0, 0).subspace
    r = {"1": 2, "2": 3}[name[-1]]
    assert found.rank == r
    W, A = run.weights["W_K"], run.weights[f"A{name[-1]}"]
    assert overlap(found.V, np.linalg.qr(W @ A)[0]) > 0.99
    assert overlap(found.V, np.linalg.qr(W @ run.weights[f"A{3 - int(name[-1])}"])[0]) < 0.9  # not the other latent's


def test_exact_pairing_has_the_exact_numerical_rank(store, run):
    exact, authors = (covariance(run, store.feature(run, name)[0], 0, 0).subspace.S for name in ("exact/z1", "z1"))
    assert (
        exact[2] / exact[0] < 1e-6 < 1e-4 < authors[2] / authors[0]
    )  # float32 vectors; the authors' pairing has a floor of noise


def test_sample_covariance_comes_near_the_closed_form_as_one_over_root_n(store, run):
    """ΔC of z1 = W_Q B1 (1 + 1/(2^r − 1)) A1ᵀ W_Kᵀ, as a sign vector's other codes have mean −z / (2^r − 1)."""
    W = {name: value.astype(np.float64) for name, value in run.weights.items()}
    exact = W["W_Q"] @ W["B1"] @ W["A1"].T @ W["W_K"].T * (1 + 1 / 3)
    wrong = W["W_Q"] @ W["B2"] @ W["A2"].T @ W["W_K"].T * (1 + 1 / 7)

    def error(n, to, seed):
        made = Sample(TASKS[0], {name: W[name] for name in ("W_Q", "W_K")}, np.random.default_rng(seed))
        made.triplets(1, n)
        q, k = made.q[0].astype(np.float64), made.k[0].astype(np.float64)
        return np.linalg.norm(q.T @ (k[0::2] - k[1::2]) / n - to) / np.linalg.norm(to)

    errors = [np.sqrt(np.mean([error(n, exact, seed) ** 2 for seed in range(6)])) for n in (4096, 16384, 65536)]
    assert errors[-1] < 0.03
    slope = np.polyfit(np.log([4096, 16384, 65536]), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.15)
    assert error(65536, wrong, 0) > 0.5


def test_swapping_both_latents_moves_attention_and_random_ones_do_not(store, run):
    features = {name: store.feature(run, name) for name in ("z1", "z2")}
    found = {c.name: c for c in intervene(run, features, 0, 0).conditions}
    both, random = found["z1+z2"], found["random"]
    assert both.rank == 5
    assert both.n == SIZES.n_test
    assert random.bases == 10
    assert both.target_after > 0.9 * both.original_before > 0.4
    assert random.target_after < 0.75 * both.target_after  # 5 of 8 dimensions: not little, but less


def test_nothing_is_made_twice_and_a_lost_run_is_made_again(store, tmp_path):
    assert toy.build(store.path, TASKS, SHORT, SIZES) == []
    alone = toy.build(tmp_path, TASKS[1:], SHORT, SIZES)
    assert alone == ["toy-discrete-d8-3-2-short"]
    a, b = (qkstore.open(p).run(alone[0]).weights["W_Q"] for p in (tmp_path, store.path))
    # alone or beside others: the same stream, rounded otherwise in 400 float32 steps
    assert np.allclose(a, b, atol=2e-2)


class Stop(Exception):
    pass


def stopping(at_stage: str, after: int):
    def progress(stage, done, total, now=""):
        if at_stage in stage and done >= after:
            raise Stop

    return progress


def cut_off(*_, **__):
    raise Stop


def test_an_interrupted_sweep_goes_on_where_it_stopped(store, tmp_path, monkeypatch):
    monkeypatch.setattr(toy, "SAVE_EVERY", 0.0)
    with pytest.raises(Stop):
        toy.build(tmp_path, TASKS, SHORT, SIZES, progress=stopping("train", 100))
    assert qkstore.open(tmp_path).runs() == []
    steps = []
    with pytest.raises(Stop):
        toy.build(
            tmp_path,
            TASKS,
            SHORT,
            SIZES,
            progress=lambda stage, done, total, now="": (
                steps.append(done) if "train" in stage else None,
                stopping("publish", 1)(stage, done, total),
            ),
        )
    assert steps[0] == 100  # step 99 was the last that was saved
    assert steps[-1] == 400
    assert [r.name for r in qkstore.open(tmp_path).runs()] == ["toy-discrete-d8-2-3-short"]  # one was published already
    toy.build(
        tmp_path,
        TASKS,
        SHORT,
        SIZES,
        progress=lambda stage, done, total, now="": pytest.fail("trained again") if "train" in stage else None,
    )
    for run in qkstore.open(tmp_path).runs():
        whole = store.run(run.name)
        assert np.array_equal(run.weights["W_K"], whole.weights["W_K"])
        assert np.array_equal(run.keys(0, 0), whole.keys(0, 0))
    assert not list((tmp_path / "runs" / ".incoming").iterdir())


def test_a_run_cut_off_while_it_was_published_is_published_anew(store, tmp_path, monkeypatch):
    """What a killed publish left in the spool may be of other weights.

    The vectors published are those of the weights that are stored.
    """
    with monkeypatch.context() as patched:
        patched.setattr(toy.Incoming, "publish", cut_off)
        with pytest.raises(Stop):
            toy.build(tmp_path, TASKS[:1], Recipe("short", 3e-2, 5, cosine=True), SIZES)
    (name,) = toy.build(tmp_path, TASKS[:1], SHORT, SIZES)
    run = qkstore.open(tmp_path).run(name)
    assert np.allclose(run.keys(0, 0), store.run(name).keys(0, 0), atol=0.1)
    assert run.measures["steps"] == 400
    made = Sample(TASKS[0], run.weights, np.random.default_rng([0, 4, 8, 2, 3]))
    made.triplets(1, SIZES.n)
    assert np.allclose(run.keys(0, 0)[: 2 * SIZES.n], made.k[0], atol=1e-5)


def test_a_stack_is_trained_by_one_process(tmp_path):
    def meddle(stage, done, total, now=""):
        with pytest.raises(RunError, match="is being ingested by another process"):
            toy.build(tmp_path, TASKS, SHORT, SIZES)
        raise Stop

    with pytest.raises(Stop):
        toy.build(tmp_path, TASKS, SHORT, SIZES, progress=meddle)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("toy --d-head 8 --r1 33 --r2 2", "r1 33: a latent has from 1 to 32"),
        ("toy --d-head 8 --r1 2 --r2 0", "r2 0: a latent has from 1 to 32"),
        ("toy --d-head 0 --r1 2 --r2 2", "d_head 0: a head has 1 dimension or more"),
        ("toy --d-head 8 --r1 2 --r2 2 --variant signs", "invalid choice: 'signs'"),
        ("toy --d-head 8 --r1 2 --r2 2 --recipe slow", "invalid choice: 'slow'"),
        ("toy --d-head 8 --r1 2 --r2 2 --n 0", "n 0: a run has 1 or more"),
        ("toy --d-head 8 --r1 2 --r2 2 --device tpu", "device"),
        ("toy --d-head 8 --r1 2 --r2 2 --run a/b", "run name 'a/b'"),
        ("toy --d-head 8 --r1 two --r2 2", "'two'"),
        ("toy-sweep --d-head 8 --grid 6-2", "grid '6-2': write numbers and ranges"),
        ("toy-sweep --d-head 8 --grid=", "grid '': write numbers and ranges"),
        ("toy-sweep --d-head 8 --grid 2-40", "r2 33: a latent has from 1 to 32"),
        ("toy-sweep --d-head 8 --grid 2-99999999999", "grid '2-99999999999': numbers are 9,999 at most"),
        (
            "toy --d-head 8 --r1 2 --r2 2 --seed 9223372036854775808",
            "'9223372036854775808' is no seed: give a whole number of at most 64 bits",
        ),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(tmp_path, capsys, command, said):
    assert main([*command.split(), "--store", str(tmp_path / "s")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "s").exists()


def test_a_run_that_is_there_is_not_trained(store, capsys):
    name = "toy-discrete-d8-2-3-short"
    assert main(["toy", "--store", str(store.path), "--run", name, "--d-head", "8", "--r1", "2", "--r2", "3"]) == 2
    assert "is in the store already" in capsys.readouterr().err


def test_the_commands_make_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(
        __import__("ingest.toy.recipe", fromlist=["RECIPES"]).RECIPES, "fast", Recipe("fast", 3e-2, 20, cosine=True)
    )
    sizes = "--n 64 --n-exact 16 --n-test 20".split()
    assert main(["toy-sweep", "--store", str(tmp_path), "--d-head", "4", "--grid", "1,2", *sizes]) == 0
    assert "8 toy runs made" in capsys.readouterr().out
    assert (
        main(
            ["toy-sweep", "--store", str(tmp_path), "--d-head", "4", "--grid", "1-3", "--variant", "continuous", *sizes]
        )
        == 0
    )
    assert "5 toy runs made, 4 were there already" in capsys.readouterr().out
    assert (
        main(
            [
                "toy",
                "--store",
                str(tmp_path),
                "--run",
                "mine",
                "--d-head",
                "4",
                "--r1",
                "1",
                "--r2",
                "2",
                "--noise",
                "0.5",
                *sizes,
            ]
        )
        == 0
    )
    runs = {run.name: run for run in qkstore.open(tmp_path).runs()}
    assert len(runs) == 14
    assert runs["mine"].settings["noise"] == 0.5
    assert runs["toy-continuous-d4-1-3"].settings["r2"] == 3
