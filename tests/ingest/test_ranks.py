"""Several ranks make one run: the vectors of one rank to the bit, whoever is late, lost or started twice."""

from __future__ import annotations

import json
from pathlib import Path

import models
import numpy as np
import polars as pl
import pytest
import sharded
import torch

import qkstore
from ingest import job, model
from ingest.__main__ import main
from ingest.job import Options, Share, ranks
from ingest.prompts import boxes
from qkstore.analysis.heads import heads
from qkstore.errors import PromptError, RunError
from qkstore.store import work
from qkstore.store.archive import check

torch.set_num_threads(1)
BOXES = boxes.build(40, "ent", 0, 16)
OPTIONS = Options(batch_size=4)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> model.Model:
    return model.load(str(folder(tmp_path_factory.mktemp("model"))), answers=None)


def folder(path: Path) -> Path:
    return models.folder(path, models.words(boxes.build(300, "both", 0, 300), BOXES))


def ingest(store: Path, small: model.Model, share: Share | None = None, run: str = "r", **told) -> Path:
    return job.ingest(store, run, small, BOXES, told.pop("options", OPTIONS), task="boxes", share=share, **told)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, small) -> qkstore.run.Run:
    """What one rank makes."""
    return qkstore.open(ingest(tmp_path_factory.mktemp("alone"), small).parent.parent).run("r")


def same(one, other) -> bool:
    """Whether two runs have the same vectors, to the bit, and the same labels and answers."""
    rows = np.arange(one.n_queries)
    for layer in one.layers:
        for head in range(one.n_heads):
            for run in (one, other):
                assert np.isfinite(run.queries(layer, head)).all()
            if (
                one.queries(layer, head).tobytes() != other.queries(layer, head).tobytes()
                or one.keys(layer, head).tobytes() != other.keys(layer, head).tobytes()
                or one.logsumexp(layer, head, rows).tobytes() != other.logsumexp(layer, head, rows).tobytes()
            ):
                return False
    return all(one.table(f"SELECT * FROM {t}").equals(other.table(f"SELECT * FROM {t}")) for t in ("prompt", "q", "k"))


@pytest.mark.parametrize("of", [2, 3])
def test_ranks_make_the_run_of_one_to_the_bit(tmp_path, small, alone, of):
    for number in reversed(range(of)):
        assert not (tmp_path / "runs" / "r.duckdb").exists()
        ingest(tmp_path, small, Share(number, of))
    store = qkstore.open(tmp_path)
    run = store.run("r")
    assert run.n_shards == of
    assert same(alone, run)
    assert check(store)[1] == []
    [contrast] = store.feature(run, "lexical")
    assert sharded.same(heads(run, contrast), heads(alone, contrast))
    assert pl.from_arrow(run.table("SELECT answered FROM prompt"))["answered"].null_count() == 0


def test_prompts_dealt_out_instead_of_batches_would_not_be_the_same(tmp_path, small, alone):
    """The control: in other batches the last bits of some vectors are others."""
    run = qkstore.open(ingest(tmp_path, small, options=Options(batch_size=7)).parent.parent).run("r")
    assert not same(alone, run)
    assert np.allclose(alone.queries(1, 0), run.queries(1, 0), atol=1e-4)


def test_a_rank_that_is_started_again_finds_the_run(tmp_path, small):
    for number in (0, 1):
        path = ingest(tmp_path, small, Share(number, 2))
    before = path.stat().st_mtime_ns
    assert ingest(tmp_path, small, Share(0, 2)) == path
    assert path.stat().st_mtime_ns == before
    with pytest.raises(RunError, match="in the store already, and was made differently"):
        ingest(tmp_path, small, Share(0, 2), options=Options(batch_size=5))
    with pytest.raises(RunError, match="in the store already"):
        ingest(tmp_path, small)


@pytest.mark.parametrize(
    ("share", "options", "says"),
    [
        (Share(1, 3), OPTIONS, "begun differently .shards 2 → 3"),
        (Share(1, 2), Options(batch_size=5), "begun differently .batch_size 4 → 5"),
        (None, OPTIONS, "begun differently .shards 2 → None"),
        (Share(0, 40), OPTIONS, "40 ranks for 38 batches: use at most 38 ranks, or a smaller --batch-size"),
        (Share(0, 2), Options(batch_size=1000), "2 ranks for 1 batch: use at most 1 rank, or a smaller --batch-size"),
    ],
)
def test_ranks_that_do_not_belong_together_are_one_line(tmp_path, small, share, options, says):
    ingest(tmp_path, small, Share(0, 2))
    with pytest.raises((RunError, PromptError), match=says) as error:
        ingest(tmp_path, small, share, options=options)
    assert "\n" not in str(error.value)
    assert qkstore.open(tmp_path).names() == []


def test_what_all_ranks_are_at_is_told_in_one_place(tmp_path, small):
    runs, seen = tmp_path / "runs", []

    def watched(stage, done, total, now=""):
        if stage == "capture":
            seen.append((stage, done, total, now))

    with work.Work(tmp_path, "r", 1) as other:
        runs.mkdir()
        other("capture", 3, 7)
        ingest(tmp_path, small, Share(0, 2), progress=watched)
        [told] = work.at_work(qkstore.open(tmp_path))
        assert told.alive
        assert all("2 of 2 ranks at work" in now for *_, now in seen)
        assert max(total for _, _, total, _ in seen) == 19 + 7  # of both together
        assert seen[-1][:3] == ("capture", 3, 7)  # of those that are furthest behind
    assert ranks.together(lambda *a, **k: seen.append(a), tmp_path, "r", Share(1, 2))("capture", 1, 2) is None
    assert seen[-1][0] == "capture"


def test_torchrun_says_which_rank_it_is():
    environment = {"TORCHELASTIC_RUN_ID": "none", "RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    assert ranks.of_environment(environment) == Share(3, 8)
    assert ranks.device("cuda", environment) == "cuda:1"
    assert ranks.device("cpu", environment) == "cpu"
    assert ranks.device("cuda:0", environment) == "cuda:0"
    assert ranks.of_environment({"RANK": "3", "WORLD_SIZE": "8"}) is None  # another program's
    assert ranks.of_environment(environment | {"WORLD_SIZE": "1"}) is None


@pytest.mark.parametrize("text", ["8/8", "x/8", "1", "-1/8", "1/0", "1/99999"])
def test_a_share_that_is_none_is_one_line(tmp_path, text, capsys):
    given = ["--store", str(tmp_path), "--run", "r", "--model", "m", "--task", "boxes", f"--shard={text}"]
    assert main(["model", *given]) == 2
    assert "write NUMBER/OF, such as 0/8 to 7/8" in capsys.readouterr().err


def test_a_shards_plan_is_that_of_the_run(tmp_path, small):
    for number in (0, 1):
        ingest(tmp_path, small, Share(number, 2))
    assert json.loads(qkstore.open(tmp_path).run("r").plan)["shards"] == 2
