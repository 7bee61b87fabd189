"""Incoming: nothing is visible before it is whole, what was spooled is kept, and nothing is overwritten."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from conftest import ROOT
from synthetic import synthetic, write

import qkstore
from qkstore.errors import ModelError, PromptError, RunError, StoreError
from qkstore.run.incoming import Incoming
from qkstore.run.incoming import spool as module


@pytest.fixture
def store(tmp_path):
    qkstore.open(tmp_path, create=True)
    return tmp_path


def publish(incoming, data):
    return incoming.publish(data.manifest, data.layers, data.prompts, data.tokens, data.query_rows, data.key_rows)


def vectors(store, name="synthetic"):
    run = qkstore.open(store).run(name)
    return [run.queries(layer, head) for layer in run.layers for head in range(4)] + [
        run.keys(layer, head) for layer in run.layers for head in range(4)
    ]


def test_unfinished_run_is_not_visible_and_resumes(store, tmp_path_factory):
    data = synthetic()
    with Incoming(store, "r", data.plan) as incoming:
        for batch in list(data.batches())[:2]:
            incoming.put(*batch)
    assert qkstore.open(store).runs() == []
    with Incoming(store, "r", data.plan) as incoming:
        assert incoming.done() == {0, 1}
        for batch in data.batches():
            if batch[0] not in incoming.done():
                incoming.put(*batch)
        publish(incoming, data)
    whole = tmp_path_factory.mktemp("whole")
    write(whole)
    assert all(np.array_equal(a, b) for a, b in zip(vectors(store, "r"), vectors(whole)))
    assert not (store / "runs" / ".incoming" / "r").exists()


def test_batches_may_come_in_any_order(store):
    data = synthetic()
    with Incoming(store, "r", data.plan) as incoming:
        for batch in reversed(list(data.batches())):
            incoming.put(*batch)
        publish(incoming, data)
    assert np.array_equal(qkstore.open(store).run("r").queries(1, 3), data.q[1, 3])


def test_another_plan_does_not_resume(store):
    data = synthetic()
    with Incoming(store, "r", data.plan | {"dtype": "float32"}):
        pass
    with pytest.raises(
        RunError, match=f"begun differently .*float32 → bfloat16.*`qkstore remove --store {store} --run r --unfinished`"
    ):
        Incoming(store, "r", data.plan | {"dtype": "bfloat16"})


def test_two_runs_of_one_name(store):
    write(store, "r")
    before = (store / "runs" / "r.duckdb").read_bytes()
    with pytest.raises(RunError, match=f"'r' is in the store already.*`qkstore remove --store {store} --run r`"):
        Incoming(store, "r", {})
    assert (store / "runs" / "r.duckdb").read_bytes() == before


def test_two_ingests_of_one_run_at_once(store):
    with Incoming(store, "r", {}), pytest.raises(RunError, match="being ingested by another process"):
        Incoming(store, "r", {})
    with Incoming(store, "r", {}):  # the first one let go
        pass


def test_a_run_that_came_in_between_is_not_replaced(store):
    data = synthetic()
    with Incoming(store, "r", data.plan) as incoming:
        for batch in data.batches():
            incoming.put(*batch)
        (store / "runs" / "r.duckdb").write_bytes(b"a colleague's")
        with pytest.raises(RunError, match="came into the store meanwhile"):
            publish(incoming, data)
    assert (store / "runs" / "r.duckdb").read_bytes() == b"a colleague's"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", [3, 4, 5])
def test_nan_and_inf_are_refused(store, bad, part):
    data = synthetic()
    batch = list(next(iter(data.batches())))
    batch[part] = batch[part].copy()
    batch[part][1, 0, 2] = bad
    with Incoming(store, "r", data.plan, layers=[5, 7]) as incoming:
        with pytest.raises(ModelError, match=r"batch 0: .* NaN or Inf, the first in layer 7, head 0") as error:
            incoming.put(*batch)
        assert incoming.done() == set()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("which", [0, 1, 2, 9, 17, "ledger"])
def test_full_disk_is_one_line_and_keeps_what_was_there(store, monkeypatch, which):
    """A batch is some files and a line of the ledger; the disk is full at one of them, of which it takes a half."""
    data, written, write = synthetic(), [], module._write
    batches = list(data.batches())

    def full(path, at, data, **options):
        written.append(path.name)
        if path.name == module.LEDGER if which == "ledger" else len(written) == which + 1:
            write(path, at, data[: len(data) // 2], **options)
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, at, data, **options)

    with Incoming(store, "r", data.plan) as incoming:
        incoming.put(*batches[0])
        before = {path: path.stat().st_size for path in incoming.folder.glob("*-*")}
        monkeypatch.setattr(module, "_write", full)
        with pytest.raises(StoreError, match="batch 1 of run 'r' was not written: No space left on device"):
            incoming.put(*batches[1])
        monkeypatch.undo()
        assert {path: path.stat().st_size for path in incoming.folder.glob("*-*")} == before, "room for others"
        assert incoming.done() == module.batches(incoming.folder) == {0}
    with Incoming(store, "r", data.plan) as incoming:
        for batch in batches[1:]:
            incoming.put(*batch)
        publish(incoming, data)
    run = qkstore.open(store).run("r")
    assert run.n_prompts == 64
    assert all(np.array_equal(run.queries(1, head), data.q[1, head]) for head in range(4))


def test_a_batch_put_again_takes_the_place_of_the_first(store):
    data = synthetic()
    with Incoming(store, "r", data.plan) as incoming:
        for number, query_rows, key_rows, q, k, logsumexp in data.batches():
            incoming.put(number, query_rows, key_rows, q + 1, k, logsumexp)
            incoming.put(number, query_rows, key_rows, q, k, logsumexp)
        publish(incoming, data)
    run = qkstore.open(store).run("r")
    assert all(np.array_equal(run.queries(1, head), data.q[1, head]) for head in range(4))
    assert all(np.array_equal(run.keys(1, 2 * head), data.k[1, head]) for head in range(2))


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 101, "a b", "ü"])
def test_names_that_no_file_should_have(store, name):
    with pytest.raises(RunError, match="run name"):
        Incoming(store, name, {})


@pytest.mark.parametrize("label", ["pos", "Text", "query_row", "two words", "1st", "v", 'x"; drop table prompt; --'])
def test_labels_that_cannot_be_columns(store, label):
    data = synthetic()
    data.tokens = (
        data.tokens.rename({"entity": label})
        if label.lower() not in data.tokens.columns
        else data.tokens.with_columns(pl.lit(1).alias(label))
    )
    if label in ("pos",):
        data.prompts = data.prompts.with_columns(pl.lit(1).alias(label))
        data.tokens = synthetic().tokens
    with Incoming(store, "r", data.plan) as incoming:
        for batch in data.batches():
            incoming.put(*batch)
        with pytest.raises(PromptError, match="cannot be a column"):
            publish(incoming, data)
    assert qkstore.open(store).runs() == []


def test_one_label_on_tokens_and_prompts(store):
    data = synthetic()
    data.prompts = data.prompts.with_columns(entity=pl.lit("jam"))
    with Incoming(store, "r", data.plan) as incoming:
        for batch in data.batches():
            incoming.put(*batch)
        with pytest.raises(PromptError, match="label 'entity' stands on tokens and on prompts"):
            publish(incoming, data)


def test_types_of_labels_are_kept(store):
    data = synthetic()
    data.prompts = data.prompts.with_columns(score=pl.lit(0.5), flag=pl.lit(True), nothing=pl.lit(None))
    write(store, "r", data)
    run = qkstore.open(store).run("r")
    kinds = dict(
        run.cursor()
        .execute("SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'prompt'")
        .fetchall()
    )
    assert (kinds["score"], kinds["flag"], kinds["nothing"], kinds["queried_order"]) == (
        "DOUBLE",
        "BOOLEAN",
        "VARCHAR",
        "BIGINT",
    )


# Of 64 descriptors the process has about ten for itself; each batch is one prompt.
FEW_DESCRIPTORS = """
import resource, sys
from synthetic import synthetic
from qkstore.run.incoming import Incoming
{planted}
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
data = synthetic()
with Incoming(sys.argv[1], "r", data.plan) as incoming:
    for batch in data.batches(1):
        incoming.put(*batch)
    incoming.publish(data.manifest, data.layers, data.prompts, data.tokens, data.query_rows, data.key_rows)
"""
HELD = """
from qkstore.run.incoming import spool as module
write, held = module._write, []
module._write = lambda path, *given, **options: held.append(open(path, "ab")) or write(path, *given, **options)
"""


def with_few_descriptors(store, planted: str = "") -> subprocess.CompletedProcess:
    code = FEW_DESCRIPTORS.format(planted=planted)
    where = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    return subprocess.run([sys.executable, "-c", code, store], capture_output=True, text=True, env=os.environ | where)


def test_more_batches_than_the_process_may_open_files(store):
    done = with_few_descriptors(store)
    assert done.returncode == 0, done.stderr
    data, run = synthetic(), qkstore.open(store).run("r")
    for layer in range(2):
        assert all(np.array_equal(run.queries(layer, head), data.q[layer, head]) for head in range(4))
        assert all(np.array_equal(run.keys(layer, 2 * head), data.k[layer, head]) for head in range(2))


def test_a_file_that_stays_open_for_each_batch_would_be_noticed(store):
    done = with_few_descriptors(store, HELD)
    assert done.returncode != 0
    assert "Too many open files" in done.stderr


def test_a_batch_that_was_cut_off_is_not_published(store):
    data = synthetic()
    with Incoming(store, "r", data.plan) as incoming:
        for batch in data.batches():
            incoming.put(*batch)
        file = incoming.folder / "k-001-001"
        file.write_bytes(file.read_bytes()[:-4])
        with pytest.raises(StoreError, match="k-001-001 in .* is gone or was cut off"):
            publish(incoming, data)
    assert qkstore.open(store).runs() == []
