"""One shared store, used at once by a script, commands, two ingests and a page, each a process of its own or its like.

The catalogue is PostgreSQL's, the runs lie on S3-compatible storage.
"""

from __future__ import annotations

import concurrent.futures
import logging
import subprocess
import sys
import time

import pytest
import servers
from conftest import ROOT

import qkstore
from qkstore.contrast import Contrast
from qkstore.store.catalog.postgres import Postgres

pytestmark = [
    pytest.mark.slow,
    servers.needs_postgres,
]
MINE = Contrast(name="mine", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")
INGEST = [
    "ingest",
    "model",
    "--model",
    str(ROOT / "ingest" / "demo_model"),
    "--task",
    "boxes",
    "--n",
    "30",
    "--n-test",
    "30",
]


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """Of three machines: {name: its team.toml}, with a cache each."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch, servers.postgres() as database:
        s3 = servers.S3Server()
        for name, value in (database.environment | servers.KEYS).items():
            patch.setenv(name, value)
        Postgres(database.url()).migrate()
        files = {}
        for machine in ("one", "two", "three"):
            folder = tmp_path_factory.mktemp(machine)
            files[machine] = folder / "team.toml"
            files[machine].write_text(
                f'catalogue = "{database.url()}"\nruns = "{s3.place}"\n'
                f'endpoint = "{s3.endpoint}"\ncache = "{folder / "cache"}"\n'
            )
        yield files
        s3.stop()


def command(*words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def done(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def test_all_see_what_each_adds(team, show):
    ingests = [command(*INGEST, "--store", str(team[m]), "--run", f"of-{m}", "--layers", "1") for m in ("one", "two")]
    there = qkstore.open(team["three"])
    seen = []
    while any(process.poll() is None for process in ingests):
        seen.append([run.name for run in there.runs()])  # a run that is listed is whole
        time.sleep(0.5)
    for process in ingests:
        done(process)
    assert seen[0] == []
    assert [run.name for run in there.runs()] == ["of-one", "of-two"]
    predicates = ["--positive", MINE.positive, "--negative", MINE.negative]
    done(command("qkstore", "contrasts", "--store", str(team["one"]), "--save", "mine", *predicates))
    assert [c.name for c in there.catalog.contrasts()] == ["mine"]
    assert "mine" in done(command("qkstore", "contrasts", "--store", str(team["two"])))
    first = done(command("qkstore", "heads", "--store", str(team["two"]), "--run", "of-one", "--contrast", "mine"))
    kept = there.catalog.results("heads", "of-one")
    assert len(kept) == 1
    assert (
        done(command("qkstore", "heads", "--store", str(team["one"]), "--run", "of-one", "--contrast", "mine")) == first
    )
    assert there.catalog.results("heads", "of-one") == kept, "computed once, for all"
    page = show(team["three"], "overview")
    assert not page.exception
    assert {"of-one", "of-two"} <= set(page.dataframe[0].value["run"])


def test_a_name_is_one_run_however_many_want_it(team):
    """The second of two ingests of one name, on two machines, ends with one line and changes nothing."""
    both = [command(*INGEST, "--store", str(team[m]), "--run", "wanted", "--layers", "1") for m in ("one", "two")]
    ended = [(process.communicate(timeout=300)[1], process.returncode) for process in both]
    assert sorted(code for _, code in ended) == [0, 2]
    (refused,) = [err.strip().splitlines()[-1] for err, code in ended if code]
    assert "run 'wanted'" in refused
    one, two, three = (qkstore.open(team[machine]).run("wanted").identity for machine in ("one", "two", "three"))
    assert one == two == three, "all have the first one's, whose second was refused too"


def test_ten_savers_and_readers_at_once(team):
    def act(i: int) -> None:
        store = qkstore.open(team[("one", "two", "three")[i % 3]])
        for n in range(5):
            store.catalog.save(MINE.replace(name=f"of {i}", description=str(n)))
            assert store.runs()
            assert len(store.catalog.versions(f"of {i}")) == n + 1

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        list(pool.map(act, range(10)))
    assert len([c for c in qkstore.open(team["two"]).catalog.contrasts() if c.name.startswith("of ")]) == 10
