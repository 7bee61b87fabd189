"""On a Ray cluster of local nodes: each task once, a node that is lost changes nothing, and mistakes are one line."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest
import stores
from conftest import ROOT
from synthetic import write
from test_pool import at_home, broken, ended, napped, refused, squared
from waits import nobody

import qkstore
from dashboard import job
from qkstore.analysis.heads import heads, kept
from qkstore.errors import QKStoreError, RunError
from qkstore.pool import opened
from qkstore.run.incoming.reshard import reshard

if find_spec("ray") is None:
    pytest.skip("the extra `cluster` is not installed", allow_module_level=True)

ORDER = qkstore.Contrast(
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one processor each, in processes of their own, which find the modules of the tests."""
    from ray.cluster_utils import Cluster

    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "RAY_USAGE_STATS_ENABLED")}
    os.environ |= {"PYTHONPATH": f"{ROOT}:{ROOT}/tests:{ROOT}/tests/pool", "RAY_USAGE_STATS_ENABLED": "0"}
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()
    for name, value in before.items():
        os.environ.pop(name)
        os.environ |= {} if value is None else {name: value}


@pytest.fixture(scope="module")
def pool(cluster):
    with opened(ray=cluster.address) as pool:
        yield pool


def marked(task: tuple[str, int]) -> int:
    folder, number = task
    open(os.path.join(folder, f"{number}.{os.getpid()}"), "w").close()
    time.sleep(0.1)
    return number


def test_each_task_has_its_own_result_once(pool):
    made = list(pool.map(squared, range(30)))
    assert sorted((task, square) for task, (square, _) in made) == [(i, i * i) for i in range(30)]
    assert pool._engine.slots == 2
    assert os.getpid() not in {pid for _, (_, pid) in made}


def test_tasks_of_one_place_go_to_one_node(pool):
    made = list(pool.map(napped, range(40), place=lambda task: task % 2))
    assert at_home(made) > 0.8


def test_a_mistake_of_the_user_comes_as_it_is_and_ends_the_rest(pool):
    with pytest.raises(RunError, match="run 'x' has no layer 5"):
        list(pool.map(refused, range(1000)))
    assert {task for task, _ in pool.map(refused, [1, 2])} == {1, 2}


def test_an_error_in_the_code_is_no_mistake_of_the_user(pool):
    with pytest.raises(ZeroDivisionError):
        list(pool.map(broken, [0]))


def test_what_a_worker_cannot_import_is_one_line(pool, tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("def work(task):\n    return task\n")
    monkeypatch.syspath_prepend(tmp_path)
    work = importlib.import_module("only_here").work
    with pytest.raises(QKStoreError, match="a Ray worker cannot read its task .*only_here.*; qkstore has to be"):
        list(pool.map(work, [1]))


def test_a_worker_that_ends_every_time_is_given_up(pool):
    with pytest.raises(QKStoreError, match="a task of the Ray cluster was lost 4 times"):
        list(pool.map(ended, [1]))


@pytest.mark.parametrize("shards", [1, 3])
def test_heads_are_what_they_are_here_to_the_bit(pool, tmp_path, shards):
    write(tmp_path, "r")
    store = qkstore.open(tmp_path)
    reshard(store.run("r"), shards, "dealt")
    run = store.run("dealt")
    assert heads(run, ORDER, pool=pool) == heads(run, ORDER)


def test_two_threads_share_a_pool(pool):
    """As two pages of one server do."""
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda begin: list(pool.map(napped, range(begin, begin + 20))), (0, 100)))
    for begin, made in zip((0, 100), found, strict=True):
        assert sorted((task, square) for task, (square, _) in made) == [(i, i * i) for i in range(begin, begin + 20)]


def test_a_dashboard_gives_its_sweeps_to_the_cluster(cluster, pool, show, tmp_path, monkeypatch):
    store = stores.write(tmp_path / "store", n=200)
    monkeypatch.setenv("QKSTORE_RAY", cluster.address)
    job.pool.clear()
    try:
        page = show(store, "heads", run="boxes", contrast="order")
        assert not page.exception
        assert type(job.pool()._engine).__name__ == "Cluster"
        assert nobody(), "the nulls are computed behind the page"
        run = qkstore.open(store).run("boxes")
        order = qkstore.open(store).feature(run, "order")[0]
        assert kept(qkstore.open(store), run, order, progress=lambda *_: pytest.fail("anew")) == heads(run, order)
    finally:
        job.pool.clear()


def test_what_a_lost_node_had_is_done_elsewhere(cluster, pool, tmp_path):
    """Last: the node is gone then."""
    tasks = [(str(tmp_path), i) for i in range(60)]
    results, done = pool.map(marked, tasks, place=lambda task: task[1] % 2), []
    for task, number in results:
        done.append((task[1], number))
        if len(done) == 20:
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert sorted(done) == [(i, i) for i in range(60)]
    begun = [int(path.name.split(".")[0]) for path in tmp_path.iterdir()]
    assert len({path.name.split(".")[1] for path in tmp_path.iterdir()}) >= 2, "the control: both nodes had begun"
    assert len(begun) >= 60


def asked(*given: str, before: str = "") -> tuple[int, str, str]:
    """What the command line answers: code, output, errors."""
    told = f"import sys; {before}\nfrom qkstore.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    found = subprocess.run([sys.executable, "-c", told, *given], cwd=ROOT, capture_output=True, text=True, timeout=120)
    return found.returncode, found.stdout, found.stderr


def test_an_address_without_a_cluster_is_one_line(tmp_path):
    write(tmp_path, "r")
    sides = ["--positive", "k.order_id = q.queried_order", "--negative", "k.order_id <> q.queried_order"]
    code, out, told = asked("heads", "--store", str(tmp_path), "--run", "r", *sides, "--ray", "127.0.0.1:1")
    assert (code, out) == (2, "")
    assert re.fullmatch(
        r"qkstore: no Ray cluster at '127.0.0.1:1' \(.*refused\): `ray start --head` starts one\n", told
    )


def test_without_the_extra_it_is_said_what_to_install():
    given = ["heads", "--store", "nowhere", "--run", "r", "--contrast", "c", "--ray", "auto"]
    assert asked(*given, before="sys.modules['ray'] = None") == (
        2,
        "",
        "qkstore: --ray needs Ray, which is not installed: pip install 'qkstore[cluster]'\n",
    )
    both = asked(*given, "--workers", "2")
    assert both == (
        2,
        "",
        "qkstore: --workers are processes of this machine and --ray is a cluster: give one of them\n",
    )
