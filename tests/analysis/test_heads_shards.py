"""Heads give the same on queries that lie in shards, and by workers: their sums are put together in one order."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from test_heads_sweep import CONTRASTS, DEALS, ELSEWHERE, LAYERS, ORDER, SEED, made

import qkstore
from qkstore.analysis.heads import heads
from qkstore.analysis.heads.task import Asked, Task, Work, scored
from qkstore.analysis.tasks import Place
from qkstore.errors import ContrastError, StoreError
from qkstore.pool import opened
from qkstore.run.incoming.reshard import reshard


def close(found, whole):
    """Scores of the same vectors, summed in another order: equal but for rounding of sums in float32."""
    for s, one in zip(found, whole, strict=True):
        near = {name: pytest.approx(getattr(one, name), rel=1e-6) for name in ("delta_norm", "delta_null")}
        near["delta_centred"] = pytest.approx(one.delta_centred, rel=1e-6)
        for name in ("attention_positive", "attention_negative", "selectivity"):
            near[name] = None if (value := getattr(one, name)) is None else pytest.approx(value, rel=1e-12)
            near[f"{name}_ci"] = None if value is None else pytest.approx(getattr(one, f"{name}_ci"), rel=1e-9)
        choice = {
            name: value if value is None or isinstance(value, (int, str)) else pytest.approx(value, rel=1e-9)
            for name, value in asdict(one.choice).items()
        }
        assert asdict(s) == asdict(one) | near | {"choice": choice}


@pytest.mark.parametrize(("layer", "shards"), [("plain", 64), ("windowed", 2), ("capped", 5)])
@pytest.mark.parametrize("name", CONTRASTS)
def test_shards_give_what_the_whole_run_gives(tmp_path, name, layer, shards):
    """64: a shard is one prompt, so that most have no query of a split."""
    run, contrast = made(tmp_path, LAYERS[layer]), CONTRASTS[name]
    close(heads(run, contrast, DEALS, SEED, shards=shards), heads(run, contrast, DEALS, SEED))


def test_other_vectors_and_other_signs_are_not_close(tmp_path):
    """The control of `close`."""
    run = made(tmp_path, {})
    whole = heads(run, ORDER, DEALS, SEED)
    for other in (
        heads(run, ORDER, DEALS, SEED + 1, shards=2),
        heads(run, ORDER.replace(weighting="sum"), DEALS, SEED),
    ):
        with pytest.raises(AssertionError):
            close(other, whole)


@pytest.mark.parametrize("shards", [1, 3])
def test_workers_give_the_same_to_the_bit(tmp_path, shards):
    run, told, tables = made(tmp_path, {}), [], []
    here = heads(run, ORDER, DEALS, SEED, shards=shards)
    with opened(2) as pool:
        found = heads(run, ORDER, DEALS, SEED, lambda *at: told.append(at), tables.append, pool, shards)
        with pytest.raises(ContrastError, match="has no positive"):
            heads(run, ORDER.replace(positive="k.order_id = 99"), pool=pool)
    assert found == here == tables[-1]
    assert told[-1] == (8, 8)
    assert [at for at, _ in told] == sorted(at for at, _ in told[: len(told) // 2]) * 2


@pytest.mark.parametrize("name", ["pair", "elsewhere", "one-sided, centred"])
def test_a_run_in_shards_gives_what_it_gave_as_one_file(tmp_path, name):
    """reshard puts neighbours together, so that train and test prompts share one shard at the most."""
    whole, contrast = made(tmp_path, {}), CONTRASTS[name]
    reshard(whole, 5, "dealt")
    run = qkstore.open(tmp_path).run("dealt")
    assert run.n_shards == 5
    here = heads(run, contrast, DEALS, SEED)
    close(here, heads(whole, contrast, DEALS, SEED))
    with opened(2) as pool:
        assert heads(run, contrast, DEALS, SEED, pool=pool) == here


def test_a_task_attaches_its_own_shard_alone(tmp_path):
    """But for keys of other prompts."""
    reshard(made(tmp_path, {}), 4, "dealt")
    for contrast, there in ((ORDER, {1}), (ELSEWHERE, {0, 1})):
        run = qkstore.open(tmp_path).run("dealt")
        run = type(run)(run.path)  # whose files nobody else has attached
        work, asked = Work(run, contrast, DEALS, SEED, 4), Asked(Place.of(run), contrast, DEALS, SEED, 4)
        assert set(run.shards._files) == set()
        work.scored(Task(asked, 0, range(4), 1))
        assert set(run.shards._files) == there


def test_a_worker_reads_the_run_that_was_asked_for(tmp_path):
    run = made(tmp_path, {})
    place = Place.of(run)
    task = Task(Asked(place, ORDER, 0, 0, 1), 0, range(2), 0)
    assert len(scored(task).judged) == 2
    for wrong, said in (({"digest": "x"}, "another one where a worker reads it"), ({"code": "x"}, "another version")):
        with pytest.raises(StoreError, match=said):
            scored(replace(task, asked=replace(task.asked, place=replace(place, **wrong))))
