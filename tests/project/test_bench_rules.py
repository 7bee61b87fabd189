"""The benches can fail.

Each has a rule, a small run of each reaches it, and what breaks the rule is said with exit code 1.
"""

from __future__ import annotations

import importlib.util
import itertools
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import stores
import synthetic
import torch
from conftest import ROOT

import qkstore
from ingest.toy.payload import Payload
from qkstore import analysis
from qkstore.analysis.live import Live, Outcome, Replies, answers
from qkstore.contrast import pairs

torch.set_num_threads(1)


def load(name: str):
    spec = importlib.util.spec_from_file_location(f"rule_{name}", ROOT / "bench" / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


toy, live, truth, rank = map(load, ("toy", "live", "truth", "rank"))


# -- bench/toy.py ------------------------------------------------------------------------------------------------


def timed(monkeypatch, seconds) -> None:
    """The bench's clock: each piece of work is done, and takes as long as is said."""
    told = itertools.cycle(seconds)
    monkeypatch.setattr(toy, "_seconds", lambda work: (work(), next(told))[1])


def run_toy(monkeypatch, *more) -> int:
    monkeypatch.setattr(
        sys, "argv", ["toy.py", "--grid", "2,3", "--steps", "1", "--rounds", "1", "--d-head", "4", *more]
    )
    return toy.main()


def test_the_ratio_is_that_of_seconds_a_step_and_model(monkeypatch, capsys):
    """A stack of four in 4 s is 1 s a model; one at a time, first and last of the grid, 5 and 7 s: a ratio of 6."""
    timed(monkeypatch, [4.0, 2.0, 5.0, 7.0])
    assert run_toy(monkeypatch, "--limit", "6") == 0
    out = capsys.readouterr().out
    assert "stacked ÷ one at a time: 6.0 (limit 6)" in out
    assert "(1000.00 ms a step and model)" in out
    assert "(6000.00 ms a step and model)" in out
    assert re.search(r"stack of 4 +0\.0 models a minute", out), "60 s ÷ (1 s · 2,000 steps)"
    timed(monkeypatch, [4.0, 2.0, 5.0, 6.9])
    assert run_toy(monkeypatch, "--limit", "6") == 1
    assert run_toy(monkeypatch, "--limit", "5.9") == 0


def test_rounds_are_judged_by_their_median(monkeypatch, capsys):
    timed(monkeypatch, [4.0, 1.0, 8.0, 8.0, 4.0, 1.0, 1.0, 1.0, 4.0, 1.0, 6.0, 6.0])
    assert run_toy(monkeypatch, "--rounds", "3", "--limit", "6.5") == 1
    assert "one at a time: 6.0" in capsys.readouterr().out


def test_both_sides_of_the_toy_bench_do_the_steps_they_say(monkeypatch, capsys):
    seen = {"stack": 0, "plain": 0}
    advance, loss = toy.Training.advance, toy.Head.loss
    monkeypatch.setattr(toy.Training, "advance", lambda t: (seen.__setitem__("stack", seen["stack"] + 1), advance(t)))
    monkeypatch.setattr(toy.Head, "loss", lambda h, *a: (seen.__setitem__("plain", seen["plain"] + 1), loss(h, *a))[1])
    assert run_toy(monkeypatch, "--steps", "3", "--limit", "0") == 0
    assert seen == {"stack": 2 * 3, "plain": 2 * 3}, "a stack of four and one of one; the first and the last head"


def test_the_plain_head_is_a_head_of_the_task():
    task = Payload("discrete", 4, 2, 3)
    begun, done = (dict(toy.alone(task, 2, 3, steps, 1e-2)) for steps in (0, 5))
    assert all(not torch.equal(begun[n], done[n]) for n in begun)
    assert {n: tuple(v.shape) for n, v in begun.items()}["W_O"] == (10, 4)
    wider = toy.alone(task, 4, 5, 5, 1e-2)
    assert all(torch.allclose(done[n], wider[n], atol=1e-5) for n in done), "it reads its own share of a wider stream"


# -- bench/live.py -----------------------------------------------------------------------------------------------


def outcome(name: str, moved: float, n: int = 100) -> Outcome:
    rng = np.random.default_rng(0)
    to_target = np.arange(n) < moved * n
    before, after = (
        Replies(rng.normal(size=n), np.ones(n, bool), np.zeros(n, bool)),
        Replies(rng.normal(size=n), ~to_target, to_target),
    )
    told = answers(before, [after])
    return Outcome(name, 10 if "random" in name else None, {"1:0": 2}, {}, {}, None, [], told)


def answered(**moved) -> Live:
    named = {"order": 0.0, "lexical": 0.0, live.JOINT: 0.0, "random": 0.0} | moved
    noise = {"attention": 1e-7, "difference": 1e-6}
    return Live(
        "r",
        ["i"],
        "0" * 64,
        {"order": ["k"]},
        ["1:0"],
        "last",
        "float32",
        "cpu",
        "now",
        100,
        0,
        10,
        100,
        0,
        1e-7,
        noise,
        None,
        tuple(outcome(name, share) for name, share in named.items()),
    )


RIGHT = {"ent": answered(lexical=0.99), "ord": answered(order=0.9), "both": answered(**{live.JOINT: 0.95})}


@pytest.mark.parametrize("kind", RIGHT)
def test_the_live_bench_passes_its_own_mechanism_and_no_other(kind):
    assert live.failures(kind, RIGHT[kind]) == []
    assert all(live.failures(kind, RIGHT[other]) for other in RIGHT if other != kind)
    assert live.failures(kind, replace(RIGHT[kind], gap=1e-3)) == [
        f"demo-boxes-{kind}: live and closed form differ by 1.0e-03"
    ]
    loud = replace(RIGHT[kind], conditions=(*RIGHT[kind].conditions[:3], outcome("random", 0.5)))
    assert live.failures(kind, loud) == [f"demo-boxes-{kind}: random moves 0.500 of the answers, not 0.0 to 0.1"]


def test_the_live_bench_prints_intervals_and_its_exit_code_follows_the_rule(tmp_path, monkeypatch, capsys):
    stores.write(tmp_path, n=16)
    asked = []
    monkeypatch.setattr(live.model, "load", lambda *_, **__: "the model")
    monkeypatch.setattr(
        live,
        "box_run",
        lambda store, small, kind, layer, most, progress: (asked.append((small, kind, layer, most)), RIGHT[kind])[1],
    )
    assert live.main(["--store", str(tmp_path), "--layer", "0", "--most", "7"]) == 0
    out = capsys.readouterr().out
    assert asked == [("the model", kind, 0, 7) for kind in live.RULES]
    assert out.endswith("all as it must be\n")
    assert "original 1.000 → 0.010  target 0.000 → 0.990 [" in out
    assert out.count("answers: original") == 12
    monkeypatch.setattr(live, "box_run", lambda *_: RIGHT["ord"])
    assert live.main(["--store", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "demo-boxes-ent: lexical moves 0.000" in out
    assert "demo-boxes-both" in out
    assert "all as it must be" not in out


# -- bench/truth.py ----------------------------------------------------------------------------------------------


def swapped(after: float):
    shares = dict(original_before=0.9, original_after=0.1, target_before=0.01, target_after=after)
    return SimpleNamespace(rank=2, ci={"target_after": (after, after)}, spread={"target_after": 0.0}, **shares)


def boxed(order=0.1, lexical=0.1, joint=0.1, centred=0.1, random=0.1, share=(0.5, 0.4)) -> dict:
    swaps = {"order": order, "lexical": lexical, "order+lexical": joint, "order-centred": centred}
    pairs_ = {name: (swapped(value), swapped(random)) for name, value in swaps.items()}
    return {"head": 0, "accuracy": 1.0, "n": 5, "swaps": pairs_, "shares": dict(zip(("order", "lexical"), share))}


TRUE = {"ent": boxed(lexical=0.9, share=(0.1, 0.6)), "ord": boxed(order=0.9), "both": boxed(0.5, 0.5, 0.9)}
RULES = [
    ("ent", dict(lexical=0.59), "lexical moves ≥ 0.6"),
    ("ent", dict(order=0.16), "order ≤ random + 0.05"),
    ("ent", dict(centred=0.16), "order-centred ≤ random + 0.05"),
    ("ent", dict(share=(0.6, 0.5)), "lexical has the larger share"),
    ("ord", dict(order=0.59), "order moves ≥ 0.6"),
    ("ord", dict(lexical=0.16), "lexical ≤ random + 0.05"),
    ("ord", dict(share=(0.4, 0.5)), "order has the larger share"),
    ("both", dict(joint=0.69), "both move ≥ 0.7"),
    ("both", dict(order=0.81), "both at least 0.1 more than either"),
    ("both", dict(random=0.16), "random of equal rank ≤ 0.15"),
]
KNOWN = {
    "ent": dict(lexical=0.9, share=(0.1, 0.6)),
    "ord": dict(order=0.9),
    "both": dict(order=0.5, lexical=0.5, joint=0.9),
}


@pytest.mark.parametrize(("kind", "wrong", "rule"), RULES, ids=[f"{k}: {r}" for k, _, r in RULES])
def test_each_rule_of_the_truth_fails_alone(kind, wrong, rule):
    assert truth.box_failures(kind, TRUE[kind]) == []
    assert truth.box_failures(kind, boxed(**KNOWN[kind] | wrong)) == [f"demo-boxes-{kind}: {rule} does not hold"]


def test_the_truth_of_lists_is_rank_one_and_a_ratio_of_three(tmp_path, monkeypatch, capsys):
    for name in ("demo-boxes-ent", "demo-boxes-ord", "demo-boxes-both", "demo-lists"):
        stores.write(tmp_path, name, synthetic.synthetic(8))
    found = {
        "head": 0,
        "ratio": 3.0,
        "ranks": {"fruit": 1, "tool": 1},
        "swap": SimpleNamespace(conditions=[swapped(0.9), swapped(0.1)], n=5),
    }
    monkeypatch.setattr(truth, "box_run", lambda store, run, layer: TRUE[run.name.rsplit("-", 1)[1]])
    wrong = {"ratio": 2.99}, {"ranks": {"fruit": 1, "tool": 2}}
    said_of = "all as it must be", "demo-lists: the ratio is 2.99, below 3", "category tool has rank 2"
    for change, said in zip(({}, *wrong), said_of):
        monkeypatch.setattr(truth, "list_run", lambda *_, change=change: found | change)
        assert truth.main(["--store", str(tmp_path)]) == int(bool(change))
        assert said in capsys.readouterr().out


def test_the_truth_of_a_run_is_the_librarys(tmp_path):
    """On a synthetic run, whose head 0 reads the order and head 2 the entity."""
    store = qkstore.open(stores.write(tmp_path, n=400))
    run = store.run("boxes")
    found = truth.box_run(store, run, 1)
    assert found["head"] in (0, 1, 2)
    assert found["n"] == len(np.unique(pairs(run, store.feature(run, "order")[0], "test").query))
    features = {name: store.feature(run, name) for name in ("order", "lexical")}
    swaps = {c.name: c.target_after for c in analysis.intervene(run, features, 1, found["head"]).conditions}
    assert all(found["swaps"][name][0].target_after == swaps[name] for name in (*features, "order+lexical"))
    assert found["swaps"]["order"][1].bases == 10


# -- bench/rank.py ----------------------------------------------------------------------------------------------------


def test_the_rank_benchs_exit_code_follows_its_rule(monkeypatch, capsys):
    """Cells whose statistical rank is right, then ones where it is no better than the 99 % rule's."""

    def cells(statistical: int):
        return lambda seed, kind: dict(
            kind=kind,
            d_head=8,
            r1=2,
            r2=3,
            true=2,
            n=1024,
            discrete=seed % 2 == 0,
            noise=0.01,
            pairing="authors",
            energy=4,
            statistical=statistical,
            cross_validated=3,
        )

    for statistical, code in ((2, 0), (4, 1)):
        monkeypatch.setattr(rank, "cell", cells(statistical))
        assert rank.main(["--cells", "8", "--first", "900", "--level", "0"]) == code
        out = capsys.readouterr().out
        assert ("all as it must be" in out) == (code == 0)
        assert ("drawn heads from 256 triplets: mean errors are 2.00" in out) == (code == 1)
        assert re.search(r"^room +8 +0\.00  2\.00  1\.000", out, re.M)
        assert re.search(r"^crowded +4 ", out, re.M)
