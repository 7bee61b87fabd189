"""The command `components --all`: the map of numbers, names, clusters, JSON, what is kept, bad input in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import synthetic

import qkstore
from qkstore.__main__ import main
from qkstore.analysis.decomposition import HeadCount
from qkstore.analysis.decomposition.across import counts, sweep


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two layers of four heads; layer 0 heads 0 and 1 are those of layer 1 in another basis, head 2's query is one."""
    path, data = tmp_path_factory.mktemp("store"), synthetic.synthetic(600)
    M = np.random.default_rng(0).standard_normal((synthetic.D, synthetic.D))
    data.q[0, :2], data.k[0, 0] = data.q[1, :2] @ M, data.k[1, 0] @ np.linalg.inv(M).T
    data.logsumexp[0, :2] = data.logsumexp[1, :2]
    data.q[0, 2] = data.q[0, 2, 0]
    synthetic.write(path, data=data)
    few = synthetic.synthetic(40)
    few.q[:] = few.q[:, :, :1]
    synthetic.write(path, "nothing", few)
    return path


@pytest.fixture
def cli(store, capsys):
    def call(*arguments, run="synthetic", code=0):
        assert main(["components", "--store", str(store), "--run", run, *map(str, arguments)]) == code
        out = capsys.readouterr()
        return out.err if code else out.out

    return call


def test_the_map_has_a_row_a_layer_and_the_number_with_its_interval(cli):
    lines = cli("--all").splitlines()
    assert lines[0].split() == ["layer", "H0", "H1", "H2", "H3"]
    assert [line.split()[0] for line in lines[1:3]] == ["L1", "L0"]
    assert "3 [3, 3]" in lines[1]
    assert lines[2].split()[-3] == "–" or "–" in lines[2], "a head that chooses nothing has no number"
    assert lines[4].split()[:2] == ["head", "components"]
    assert "explained" not in lines[4]
    assert any(line.startswith("1 head without: queries of this head are all the same") for line in lines)
    assert "no name" not in lines[-1]
    assert "of 8 heads have components" in lines[-1]


def test_names_are_there_when_they_are_asked_for(cli):
    lines = cli("--all", "--names").splitlines()
    assert (
        lines[-1] == "Names rest on 19 deals of the labels here, where one head is shown on 99: where the two differ, "
        "believe the latter."
    )
    assert "19 deals" not in cli("--all")
    assert "unnamed" in lines[4]
    row = next(line for line in lines if line.startswith("L1H0"))
    assert row.endswith("q.queried_order = k.order_id")
    assert "have no name" in lines[-2]


def test_json_is_what_the_library_gives_and_a_second_call_computes_nothing(cli, store, monkeypatch):
    told = [HeadCount.from_dict(row) for row in json.loads(cli("--all", "--names", "--json"))]
    assert told == counts(qkstore.open(store).run("synthetic"))
    monkeypatch.setattr(sweep.Sweep, "count", lambda *_: pytest.fail("computed anew"))
    assert len(json.loads(cli("--all", "--json"))) == 8
    assert cli("--all", "--names").splitlines()[0].split()[0] == "layer"
    with pytest.raises(pytest.fail.Exception):
        cli("--all", "--seed", 1)


def test_clusters_have_names_members_likeness_and_chance(cli):
    lines = cli("--all", "--clusters").splitlines()
    assert lines[0].split()[:3] == ["cluster", "heads", "components"]
    first = next(line for line in lines if "order (queried_order = order_id)" in line)
    assert "L0H0:" in first
    assert "L1H0:" in first
    assert "by chance" in lines[-1]
    told = json.loads(cli("--all", "--clusters", "--json"))
    assert set(told) >= {"chance", "threshold", "clusters", "members"}
    of = told["clusters"][0]
    assert {(m["layer"], m["head"]) for m in of["members"]} == {tuple(h) for h in of["heads"]}
    assert "order" in of["name"]


def test_fewer_rows_are_asked_for_and_the_rest_counted(cli):
    lines = cli("--all", "--top", 2).splitlines()
    assert len([line for line in lines if line.startswith(("L0H", "L1H"))]) == 2
    assert any(line.startswith("and ") and line.endswith("more (--top)") for line in lines)


def test_a_wide_models_map_has_numbers_alone(monkeypatch, cli):
    monkeypatch.setattr("qkstore.cli.heads.across.WIDE", 3)
    assert "[" not in "".join(cli("--all").splitlines()[:3])


@pytest.mark.parametrize(
    ("run", "arguments", "said"),
    [
        ("synthetic", (), "--layer is missing: name a head by --layer and --head, or give --all"),
        ("synthetic", ("--layer", 1), "--head is missing"),
        ("synthetic", ("--all", "--layer", 1), "--all is of every head: leave out --layer, or --all"),
        ("synthetic", ("--all", "--head", 0), "leave out --head, or --all"),
        ("synthetic", ("--all", "--prompts", 0), "leave out --prompts"),
        ("synthetic", ("--all", "--group", "0,1"), "leave out --group"),
        ("synthetic", ("--all", "--n", 2), "leave out --n"),
        ("synthetic", ("--all", "--left-out"), "leave out --left-out"),
        ("synthetic", ("--layer", 1, "--head", 0, "--workers", 2), "--workers is of every head: give --all too"),
        ("synthetic", ("--layer", 1, "--head", 0, "--clusters"), "--clusters is of every head: give --all too"),
        ("synthetic", ("--layer", 1, "--head", 0, "--names"), "--names is of every head: give --all too"),
        ("synthetic", ("--all", "--where", "q.nonsense = 1"), "no column 'nonsense' in q"),
        ("synthetic", ("--all", "--where", "q.query_row = 0"), "no query of the test split"),
        ("nothing", ("--all", "--clusters"), "no head of run 'nothing' has a component that its judged split confirms"),
        ("none", ("--all",), "none"),
    ],
)
def test_bad_input_is_one_line(cli, run, arguments, said):
    told = cli(*arguments, run=run, code=2)
    assert said in told
    assert told.startswith("qkstore: ")
    assert told.count("\n") == 1


def test_a_run_whose_heads_choose_nothing_says_so(cli):
    lines = cli("--all", run="nothing").splitlines()
    assert lines[-1] == "None of 8 heads has a component; 8 have nothing to choose."
    assert any("heads without: queries of this head are all the same" in line for line in lines)
