"""Publishing on a disk that fills up, where nothing can be written, and beside another ingest.

Nothing broken appears.
"""

from __future__ import annotations

import fcntl
import resource
import subprocess
import sys

import duckdb
import numpy as np
import pytest
from conftest import ROOT
from synthetic import BOXES, synthetic, write

import qkstore
from qkstore.contrast import Contrast
from qkstore.errors import PromptError, RunError, StoreError
from qkstore.run.incoming import Incoming, publication
from qkstore.run.incoming import spool as module
from qkstore.store.archive import check

ORDER = Contrast(
    name="mine",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)


@pytest.fixture
def store(tmp_path):
    write(tmp_path, "a", data=synthetic(8))
    return qkstore.open(tmp_path)


PUBLISH = """
import resource, sys
sys.path[:0] = [{root!r}, {tests!r}]
import synthetic
from qkstore.run.incoming import Incoming
from qkstore.errors import QKStoreError
data = synthetic.synthetic(300)
with Incoming(sys.argv[1], "r", data.plan) as incoming:
    for batch in data.batches():
        incoming.put(*batch)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
    try:
        incoming.publish(data.manifest, data.layers, data.prompts, data.tokens, data.query_rows, data.key_rows)
        print("published")
    except QKStoreError as error:
        print(error)
"""


@pytest.mark.parametrize("limit", [1_000, 300_000, 800_000, 1_400_000, 1_800_000, 2_300_000, 8_000_000])
def test_a_disk_that_is_full_at_any_moment_publishes_nothing_broken(tmp_path, limit):
    """Files may not grow past a limit, as on a full disk: DuckDB meets it at an insert, a commit or its checkpoint."""
    store = qkstore.open(tmp_path, create=True)
    code = PUBLISH.format(root=str(ROOT), tests=str(ROOT / "tests"))
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), str(limit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if limit == 8_000_000:
        assert done.stdout.endswith("published\n")  # on a busy machine DuckDB shows its progress before
        assert check(store)[1] == []
        assert store.run("r").n_prompts == 300
        return
    assert "run 'r' was not published" in done.stdout
    assert "batches are kept" in done.stdout
    assert done.stdout.count("\n") == 1
    assert store.scan() == ([], [])
    assert not list((tmp_path / "runs/.incoming/r").glob("run.duckdb*"))
    data = synthetic(300)
    with Incoming(tmp_path, "r", data.plan) as incoming:  # with room again the kept batches are the run
        assert len(incoming.done()) == len(list(data.batches()))
        incoming.publish(data.manifest, data.layers, data.prompts, data.tokens, data.query_rows, data.key_rows)
    assert check(store)[1] == []
    assert np.array_equal(store.run("r").queries(1, 3), data.q[1, 3])


def test_a_full_disk_loses_no_saved_contrast(store):
    store.catalog.save(ORDER)
    size = (store.path / "catalog.duckdb").stat().st_size
    code = (
        "import sys, resource; from qkstore.store.catalog import Catalog; "
        "from qkstore.errors import QKStoreError\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size // 4},) * 2)\n"
        f"catalog, big = Catalog({str(store.path / 'catalog.duckdb')!r}), 'x' * {size}\n"
        "try: catalog.keep_result('key', 'heads', 'r', 'big', big); "
        "print('saved')\n"
        "except QKStoreError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done
    assert done.stdout.startswith("catalogue catalog.duckdb was not written"), done
    assert done.stdout.count("\n") == 1, done
    assert [c.name for c in store.catalog.contrasts()] == ["mine"]
    store.catalog.save(ORDER)
    assert len(store.catalog.versions("mine")) == 2
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.mark.parametrize("where", ["file/runs", "file"])
def test_an_ingest_where_nothing_can_be_written_is_one_line(tmp_path, where):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="run 'r' cannot be begun in .*: Not a directory"):
        Incoming(tmp_path / where, "r", {})


def test_a_refused_ingest_lets_go_of_its_lock(store):
    with Incoming(store.path, "r", {"a": 1}):
        pass
    with pytest.raises(RunError, match="begun differently") as kept:
        Incoming(store.path, "r", {"a": 2})
    with Incoming(store.path, "r", {"a": 1}) as again:
        assert again.done() == set()
        assert kept


def test_a_run_published_while_we_waited_for_its_lock_is_not_made_twice(store, monkeypatch):
    flock = fcntl.flock

    def published_meanwhile(*arguments):
        (store.path / "runs/r.duckdb").write_bytes(b"another's")
        return flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", published_meanwhile)
    with pytest.raises(RunError, match="'r' is in the store already"):
        Incoming(store.path, "r", {})
    assert (store.path / "runs/r.duckdb").read_bytes() == b"another's"


def test_vectors_are_stored_as_they_are(store):
    """Incompressible values are read back 1.7 times sooner without DuckDB's floating-point codecs."""
    kinds = {
        c
        for (c,) in store.run("a")
        .cursor()
        .execute(
            "SELECT DISTINCT compression FROM pragma_storage_info('query_vector') WHERE column_name = 'v' "
            "AND segment_type = 'FLOAT'"
        )
        .fetchall()
    }
    assert kinds
    assert not {k.lower() for k in kinds} & {"alp", "alprd", "chimp", "patas"}


def test_rows_of_batches_may_lie_anywhere(tmp_path, monkeypatch):
    """Batches are of prompts of like length, not of neighbours; and a head is inserted in several parts."""
    monkeypatch.setattr(publication, "GROUP", 7)
    data = synthetic(30)
    qkstore.open(tmp_path, create=True)
    shuffled = np.random.default_rng(0).permutation(30)
    with Incoming(tmp_path, "r", data.plan) as ingest:
        for number, rows in enumerate(np.array_split(shuffled, 4)):
            keys = (rows[:, None] * BOXES + np.arange(BOXES)).ravel()
            ingest.put(number, rows, keys, data.q[:, :, rows], data.k[:, :, keys], data.logsumexp[:, :, rows])
        assert not list(ingest.folder.glob(".part-*")), "a part that stays would be taken for an unfinished batch"
        ingest.publish(data.manifest, data.layers, data.prompts, data.tokens, data.query_rows, data.key_rows)
    run = qkstore.open(tmp_path).run("r")
    assert check(qkstore.open(tmp_path))[1] == []
    for layer in range(2):
        for head in range(4):
            assert np.array_equal(run.queries(layer, head), data.q[layer, head])
            assert np.array_equal(run.keys(layer, head), data.k[layer, head // 2])
            assert np.array_equal(run.logsumexp(layer, head, np.arange(30)), data.logsumexp[layer, head])


def test_progress_is_told_in_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(publication, "GROUP", 16)
    data, seen = synthetic(8), []
    with Incoming(qkstore.open(tmp_path, create=True).path, "r", data.plan) as ingest:
        for batch in data.batches():
            ingest.put(*batch)
        ingest.publish(
            data.manifest,
            data.layers,
            data.prompts,
            data.tokens,
            data.query_rows,
            data.key_rows,
            progress=lambda i, n: seen.append((i, n)),
        )
    total = 2 * 8 * (4 + 2 * BOXES + 4)  # queries, keys and log-sum-exps of two layers
    assert seen[-1] == (total, total)
    assert len(seen) > 6
    assert sorted(set(seen)) == seen


@pytest.mark.parametrize(("on_tokens", "on_prompts"), [("entity", "Entity"), ("ENTITY", "entity")])
def test_labels_that_differ_in_case_only_are_one_to_sql(tmp_path, on_tokens, on_prompts):
    data = synthetic(8)
    data.tokens, data.prompts = (
        data.tokens.rename({"entity": on_tokens}),
        data.prompts.rename({"queried_entity": on_prompts}),
    )
    with pytest.raises(PromptError, match="label 'entity' stands on tokens and on prompts"):
        write(tmp_path, "r", data)
    assert qkstore.open(tmp_path).runs() == []


def test_a_stored_row_without_its_token_is_a_bug_and_crashes(tmp_path):
    data = synthetic(8)
    data.tokens = data.tokens.filter(
        ~((data.tokens["prompt_id"] == 3) & (data.tokens["role"] == "answer_slot").fill_null(False))
    )
    with pytest.raises(AssertionError, match="q has 7 rows of 8"):
        write(tmp_path, "r", data)
    assert qkstore.open(tmp_path).runs() == []


@pytest.mark.parametrize("left", [b"", b"half a file", None])
def test_what_a_killed_publication_left_is_begun_anew(tmp_path, left):
    data = synthetic(8)
    with Incoming(qkstore.open(tmp_path, create=True).path, "r", data.plan) as ingest:
        for batch in data.batches():
            ingest.put(*batch)
        (ingest.folder / "run.duckdb.wal").write_bytes(b"log of a file that is gone")
        if left is None:
            with duckdb.connect(str(ingest.folder / "run.duckdb")) as con:
                con.execute("CREATE TABLE prompt (a INTEGER)")
        else:
            (ingest.folder / "run.duckdb").write_bytes(left)
        ingest.publish(data.manifest, data.layers, data.prompts, data.tokens, data.query_rows, data.key_rows)
    assert check(qkstore.open(tmp_path))[1] == []
    assert qkstore.open(tmp_path).run("r").n_prompts == 8


def test_a_plan_with_tuples_is_the_same_plan_when_it_resumes(tmp_path):
    """JSON has only lists."""
    plan = {"layers": (1, 2), "none": None, "roles": ["a"]}
    for _ in range(2):
        with Incoming(qkstore.open(tmp_path, create=True).path, "r", plan) as ingest:
            assert ingest.done() == set()
    with pytest.raises(RunError, match=r"layers \[1, 2\] → \[1, 3\]"):
        Incoming(tmp_path, "r", plan | {"layers": (1, 3)})


def test_what_a_killed_ingest_was_writing_is_swept_away_when_it_goes_on(tmp_path):
    store, data = qkstore.open(tmp_path, create=True).path, synthetic(8)
    batches = list(data.batches())
    with Incoming(store, "r", data.plan) as ingest:
        ingest.put(*batches[0])
        (ingest.folder / ".part-00c0ffee-plan.json").write_text("{")
        sizes = {path.name: path.stat().st_size for path in ingest.folder.iterdir()} | {".part-00c0ffee-plan.json": 0}
        for name in ("q-000-000", "k-001-000", "query_rows", module.LEDGER):
            with open(ingest.folder / name, "ab") as file:
                file.write(b'{"batch": 1, ')
        with pytest.raises(RunError, match="being ingested by another process"):
            Incoming(store, "r", data.plan)
        assert len(list(ingest.folder.glob(".part-*"))) == 1, "another's parts may be alive"
    del sizes[".part-00c0ffee-plan.json"], sizes[module.LEDGER]
    with Incoming(store, "r", data.plan) as ingest:
        left = {path.name: path.stat().st_size for path in ingest.folder.iterdir()}
        assert left.pop(module.LEDGER)
        assert left == sizes
        assert ingest.done() == {0}
        for batch in batches[1:]:
            ingest.put(*batch)
        ingest.publish(data.manifest, data.layers, data.prompts, data.tokens, data.query_rows, data.key_rows)
    assert check(qkstore.open(store))[1] == []
    assert np.array_equal(qkstore.open(store).run("r").queries(1, 3), data.q[1, 3])
