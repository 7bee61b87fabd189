"""The command `components`: its tables, its JSON, extreme prompts, and bad input in one line."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
import stores
import synthetic

import qkstore
from qkstore.__main__ import main
from qkstore.analysis.decomposition import Study, study

HEAD = ("--layer", "1", "--head", "0")


def odd(change, n: int = 128) -> synthetic.Synthetic:
    """A synthetic run that is changed before it is written."""
    data = synthetic.synthetic(n)
    change(data)
    return data


def constant_query(data) -> None:
    data.q[1, 0] = data.q[1, 0, :1]
    logits = np.einsum("nd,nbd->nb", data.q[1, 0], data.k[1, 0].reshape(-1, synthetic.BOXES, synthetic.D))
    data.logsumexp[1, 0] = np.logaddexp(np.log(np.exp(logits * synthetic.SCALING).sum(axis=1)), 0.0)


def sink(data) -> None:
    """All keys but the first of a prompt are where the query does not see them: behind it."""
    last = pl.col("pos").max().over("prompt_id")
    there = data.tokens.filter((pl.col("pos") == 0) | (pl.col("pos") >= last - 2)).select("prompt_id", "pos")
    data.key_rows = there.with_row_index("key_row")
    data.query_rows = data.query_rows.with_columns(pos=data.query_rows["pos"] * 0 + 1)
    rows = pl.col("role").is_not_null()
    data.tokens = data.tokens.with_columns(
        role=pl.when(rows & (pl.col("pos") > 1)).then(pl.lit("box")).otherwise(None), span=None, span_last=None
    )


def labels(value) -> object:
    def change(data) -> None:
        n, own = len(data.tokens), ("entity", "order_id", "box")
        new = pl.Series([value(i) for i in range(n)], dtype=pl.String)
        data.tokens = data.tokens.with_columns(*(new.alias(c) for c in own), text=new, token_id=pl.lit(1))
        told = pl.Series([value(i) for i in range(len(data.prompts))], dtype=pl.String)
        data.prompts = data.prompts.with_columns(
            *(told.alias(c) for c in ("queried_order", "queried_entity", "answer"))
        )

    return change


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    synthetic.write(path, n=600)
    synthetic.write(path, "constant-query", odd(constant_query))
    synthetic.write(path, "sink", odd(sink))
    synthetic.write(path, "different", odd(labels(lambda i: f"x{i}"), 600))
    synthetic.write(path, "alike", odd(labels(lambda i: "x"), 600))
    return path


@pytest.fixture
def cli(store, capsys):
    def call(*arguments, run="synthetic", code=0):
        assert main(["components", "--store", str(store), "--run", run, *map(str, arguments)]) == code
        out = capsys.readouterr()
        return out.err if code else out.out

    return call


def test_the_table_has_names_figures_and_what_tells_a_feature_from_chance(cli):
    lines = cli(*HEAD, "--group", "0,1", "2").splitlines()
    assert lines[0].endswith("3 components [3, 3], 3 clear of chance, all named by a label")
    assert lines[1].split()[:2] == ["component", "correlation"]
    assert all(line.endswith("  clear  order (queried_order = order_id)") for line in lines[2:5]), lines[2]
    assert "pairing queries anew gives" in lines[5]
    assert lines[11].split()[:2] == ["name", "rank"]
    names = [line.split("  ")[0] for line in lines[12:]]
    assert names == ["group 0,1", "group 2", "random 1", "random 2", "all", "all others", "random 3", "random 5"]


def test_names_of_noise_stand_beside_that_they_are_not_told_from_chance(cli):
    lines = cli("--layer", 1, "--head", 3).splitlines()
    assert lines[0].endswith(", none clear of chance, all named by a label")
    rows = [line for line in lines if line.endswith("of the key")]
    assert rows
    assert all("not told from chance" in line for line in rows)
    assert any("have a name, as components of random weights have, too." in line for line in lines)
    told = json.loads(cli("--layer", 1, "--head", 3, "--json"))["rows"]
    assert [(row["clear"], row["named"]) for row in told] == [(False, True)] * len(rows)


def test_json_is_the_study_of_the_library(cli, store):
    told = json.loads(cli(*HEAD, "--json"))
    assert Study.from_dict(told) == study(qkstore.open(store).run("synthetic"), 1, 0)
    groups = json.loads(cli(*HEAD, "--group", "0,2", "--json"))["groups"]
    assert [g["name"] for g in groups] == ["group 0,2", "random 2"]
    assert groups[0]["rank"] == 2


def test_texts_of_both_splits_are_told_behind_the_headline(cli, store):
    synthetic.write(store, "copies", stores.said_before(30))
    assert cli(*HEAD, run="copies").splitlines()[1].startswith("warning: 30 of 75 prompts of the test split have the")
    assert "warning" not in cli(*HEAD)


def test_a_run_without_a_test_split_says_so_of_one_head_and_of_all(cli, store, capsys):
    synthetic.write(store, "trained", stores.without_test())
    said = "warning: There is no test split: components are found and judged on the same prompts"
    assert cli(*HEAD, run="trained").splitlines()[1].startswith(said)
    for more in ((), ("--clusters",)):
        assert cli("--all", *more, run="trained").splitlines()[-1].startswith(said)
        assert said not in cli("--all", *more)


def test_fewer_components_than_there_are(cli):
    assert "2 components asked for, of 3 [3, 3]" in cli(*HEAD, "--n", 2).splitlines()[0]


def test_the_prompts_at_both_ends_of_a_component(cli):
    lines = cli(*HEAD, "--prompts", 1, "--top", 2).splitlines()
    assert lines[0].startswith("highest scores of L1")
    assert sum(line.startswith("  prompt ") for line in lines) == 4
    assert sum("[box]" in line for line in lines) == 4
    assert "75 queries of the test split" in lines[-1]
    told = json.loads(cli(*HEAD, "--prompts", 1, "--top", 2, "--json"))
    assert [len(told[end]) for end in ("high", "low")] == [2, 2]


def test_what_each_label_explains_of_a_component(cli):
    told = json.loads(cli(*HEAD, "--labels", 1, "--json"))
    whole = json.loads(cli(*HEAD, "--json"))
    assert sorted(label["label"] for label in told) == sorted(whole["tried"]), "every label, not the best alone"
    assert {label["side"] for label in told} == {"query", "key", "agreement"}
    shares = [label["explained"] for label in told]
    assert shares == sorted(shares, reverse=True)
    row = next(row for row in whole["rows"] if row["component"] == 1)
    for side in ("query", "key", "agreement"):
        assert max(x["explained"] for x in told if x["side"] == side) == row[side]["explained"]
    lines = cli(*HEAD, "--labels", 1).splitlines()
    assert lines[0].split() == ["label", "side", "explained", "p"]
    assert "75 queries of the test split" in lines[-1]


def test_what_was_not_tried_and_why(cli):
    assert "not tried: q.role: constant" in cli(*HEAD, "--left-out")
    assert "not tried" not in cli(*HEAD)


@pytest.mark.parametrize(
    ("run", "arguments", "said"),
    [
        ("constant-query", HEAD, "layer 1 head 0: queries of this head are all the same, so they choose nothing"),
        ("sink", HEAD, "layer 1 head 0 has no query with a choice: 48 have fewer than two keys to choose from"),
        (
            "synthetic",
            (*HEAD, "--where", "q.query_row IN (0, 598)"),
            "at least 2 in each half of these; of 1 with a",
        ),
        ("synthetic", (*HEAD, "--where", "q.query_row = 0"), "no query of the test split of run 'synthetic' fits"),
        ("synthetic", (*HEAD, "--where", "q.nonsense = 1"), "no column 'nonsense' in q"),
        ("synthetic", (*HEAD, "--where", "nonsense = 1"), "where: no column 'nonsense': there are: q."),
        ("synthetic", (*HEAD, "--where", "k.pos = 1"), "no alias 'k': there are: q"),
        ("synthetic", (*HEAD, "--n", 9), "9 components; this head can have 0 to 8"),
        ("synthetic", (*HEAD, "--prompts", 3), "layer 1 head 0 has no component 3; its components are 0 to 2"),
        ("synthetic", (*HEAD, "--labels", 3), "layer 1 head 0 has no component 3; its components are 0 to 2"),
        ("synthetic", (*HEAD, "--group", "0,7"), "no component 7; this head has 0 to 2"),
        ("synthetic", (*HEAD, "--group", "0,0"), "--group '0,0': give numbers of components, each once"),
        ("synthetic", (*HEAD, "--group", "order"), "--group 'order': give numbers of components, each once"),
        ("synthetic", ("--layer", 1, "--head", 9), "no head 9; its heads are 0 to 3"),
        ("synthetic", ("--layer", 5, "--head", 0), "no layer 5"),
        ("none", HEAD, "none"),
    ],
)
def test_bad_input_is_one_line(cli, run, arguments, said):
    told = cli(*arguments, run=run, code=2)
    assert said in told
    assert told.startswith("qkstore: ")
    assert told.count("\n") == 1


@pytest.mark.parametrize(("run", "why"), [("different", "all different, or nearly"), ("alike", "constant")])
def test_labels_that_say_nothing_leave_components_unnamed_and_each_has_its_line(cli, run, why):
    told = cli("--layer", 1, "--head", 2, "--left-out", run=run)
    assert "that no label explains" in told.splitlines()[0]
    assert f"not tried: q.queried_entity: {why}" in told
    assert f"not tried: k.entity: {why}" in told
    assert "entity (" not in told
