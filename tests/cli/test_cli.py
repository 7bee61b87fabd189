"""The command line on a small store: what it prints is what the library says; mistakes are one line and exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import duckdb
import numpy as np
import polars as pl
import pytest
import stores
from conftest import ROOT
from synthetic import write

import qkstore
from qkstore.__main__ import main
from qkstore.analysis import covariance, evidence, swaps, variations
from qkstore.analysis.evidence import dimension

PREDICATES = [
    "--where",
    "k.prompt_id = q.prompt_id",
    "--positive",
    "k.order_id = q.queried_order",
    "--negative",
    "k.order_id <> q.queried_order",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, n=256)
    return path


@pytest.fixture
def cli(store, capsys):
    def call(*arguments, code=0, where=store):
        assert main([arguments[0], "--store", str(where), *map(str, arguments[1:])]) == code
        out = capsys.readouterr()
        return out.err if code else out.out

    return call


def test_runs(cli):
    (row,) = json.loads(cli("runs", "--json"))
    assert (row["run"], row["n_prompts"], row["layers"]) == ("synthetic", 256, [0, 1])
    assert "synthetic" in cli("runs")


def test_heads_as_json_and_as_a_table(cli):
    rows = json.loads(cli("heads", "--run", "synthetic", *PREDICATES, "--json"))
    assert len(rows) == 8
    assert {
        "layer",
        "head",
        "accuracy",
        "selectivity",
        "attention_positive",
        "attention_negative",
        "delta_norm",
        "rank",
    } <= rows[0].keys()
    best = max(rows, key=lambda r: r["accuracy"])
    assert (best["layer"], best["rank"]) == (1, 3)
    assert "accuracy" in cli("heads", "--run", "synthetic", *PREDICATES, "--nulls", 0).splitlines()[0]


def test_covariance_writes_what_the_library_computes(cli, store, tmp_path):
    out = tmp_path / "c.npz"
    text = cli("covariance", "--run", "synthetic", *PREDICATES, "--layer", 1, "--head", 0, "--out", out)
    assert "rank 3 of 8, 192 positive and 576 negative pairs of the train split" in text
    with np.load(out) as found:
        assert set(found) == {"C_pos", "C_neg", "delta", "U", "S", "V", "n_pos", "n_neg", "rank"}
        contrast = qkstore.Contrast(where=PREDICATES[1], positive=PREDICATES[3], negative=PREDICATES[5])
        assert np.array_equal(found["delta"], covariance(qkstore.open(store).run("synthetic"), contrast, 1, 0).delta)


def test_rank_prints_what_the_library_computes(cli, store):
    options = ["rank", "--run", "synthetic", *PREDICATES, "--layer", 1, "--head", 0]
    found = json.loads(cli(*options, "--seed", 3, "--json"))
    contrast = qkstore.Contrast(where=PREDICATES[1], positive=PREDICATES[3], negative=PREDICATES[5])
    assert found == json.loads(
        json.dumps(dimension(qkstore.open(store).run("synthetic"), contrast, 1, 0, seed=3).to_dict())
    )
    assert (found["energy"], found["statistical"], found["split"], found["n"]) == (3, 3, "train", 192)
    first, sentence, canonical = cli(*options).splitlines()
    assert "statistical: 3" in first
    assert "192 queries of the train split, level 0.05" in first
    assert sentence == found["sentence"]
    above = [v for v in found["canonical"] if v > found["chance"]]
    assert canonical.startswith(f"canonical correlations: {len(above)} above chance ({found['chance']:.2f}): ")
    assert canonical.endswith(f"; {8 - len(above)} within it")


def test_swaps_of_queries_doses_growth_and_variants_print_what_the_library_computes(cli, store):
    run, head = qkstore.open(store).run("synthetic"), ["--layer", 1, "--head", 0]
    contrast = qkstore.Contrast(where=PREDICATES[1], positive=PREDICATES[3], negative=PREDICATES[5])
    found = json.loads(cli("intervene", "--run", "synthetic", *PREDICATES, *head, "--side", "queries", "--json"))
    assert found == json.loads(json.dumps(swaps.intervene_queries(run, {"inline": (contrast,)}, 1, 0).to_dict()))
    assert 0 < found["stored"] < 1
    found = json.loads(cli("dose", "--run", "synthetic", *PREDICATES, *head, "--doses", "0,1", "--json"))
    assert found["rows"] == variations.response(run, (contrast,), 1, 0, doses=(0.0, 1.0)).table.to_dicts()
    assert found["n"] > 0
    assert "random" in cli("dose", "--run", "synthetic", *PREDICATES, *head, "--doses", "1")
    found = json.loads(cli("growth", "--run", "synthetic", *PREDICATES, *head, "--draws", 2, "--json"))
    assert found["rows"] == evidence.growth(run, contrast, 1, 0, draws=2).table.to_dicts()
    assert found["label"] == "queried_order"


def test_variants(cli, tmp_path):
    where = stores.write(tmp_path / "store")
    run, features = qkstore.open(where).run("boxes"), qkstore.open(where).features(qkstore.open(where).run("boxes"))
    rows = json.loads(cli("variants", "--run", "boxes", "--layer", 0, "--head", 0, "--json", where=where))
    assert [(r["name"], r["whose"], r["target_after"]) for r in rows] == [
        (v.name, v.whose, v.swap.target_after) for v in variations.variants(run, features, 0, 0)
    ]
    assert "overlap" in cli("variants", "--run", "boxes", "--layer", 0, "--head", 0, where=where).splitlines()[0]
    assert "'order' has no positive" in cli(
        "variants", "--run", "synthetic", "--layer", 1, "--head", 0, code=2
    )  # no prompts to build it on


def test_save_list_and_use_a_contrast(cli):
    assert "version 1" in cli("contrasts", "--save", "mine", *PREDICATES, "--description", "by hand", "--author", "ann")
    assert "version 2" in cli("contrasts", "--save", "mine", *PREDICATES, "--centring", "queries")
    (row,) = json.loads(cli("contrasts", "--json"))
    assert (row["name"], row["version"], row["centring"]) == ("mine", 2, "queries")
    assert "mine" in cli("contrasts")
    listed = {r["name"]: r for r in json.loads(cli("contrasts", "--run", "synthetic", "--json"))}
    assert listed["mine"]["counts"]["n_pos"] == 256
    assert "order" in listed
    found = json.loads(
        cli(
            "intervene",
            "--run",
            "synthetic",
            "--contrast",
            "mine",
            "--and",
            "lexical",
            "--layer",
            1,
            "--head",
            0,
            "--json",
        )
    )
    assert [c["name"] for c in found["conditions"]][:3] == ["mine", "lexical", "mine+lexical"]
    assert {"n", "conditions"} <= found.keys()
    assert {
        "rank",
        "original_before",
        "target_before",
        "original_after",
        "target_after",
        "delta_p",
        "flip_rate",
        "ci",
    } <= found["conditions"][0].keys()


def test_attribute(cli):
    for prompt in ("250", "p250"):
        found = json.loads(
            cli("attribute", "--run", "synthetic", *PREDICATES, "--layer", 1, "--head", 0, "--prompt", prompt, "--json")
        )
        assert found["prompt_id"] == 250
        for token in found["tokens"]:
            assert set(token["parts"]) == {"inline", "rest"}
            assert sum(token["parts"].values()) == pytest.approx(token["logit"], abs=1e-12)
    assert "projected out in the order inline" in cli(
        "attribute", "--run", "synthetic", *PREDICATES, "--layer", 1, "--head", 0, "--prompt", 250
    )


def test_sql(cli):
    found = json.loads(cli("sql", "--run", "synthetic", "select role, count(*) as n from k group by role"))
    assert found["columns"] == ["role", "n"]
    assert found["rows"] == [["box", 1024]]
    assert json.loads(cli("sql", "--run", "synthetic", "--rows", 3, "select key_row from k order by 1"))["truncated"]


def test_export(cli, tmp_path):
    cli("export", "--run", "synthetic", *PREDICATES, "--layer", 1, "--head", 0, "--out", tmp_path / "e.parquet")
    table = pl.read_parquet(tmp_path / "e.parquet")
    assert len(table) == 1024
    assert {"sign", "logit", "attention", "q_queried_order", "k_order_id"} <= set(table.columns)
    assert ((table["q_queried_order"] == table["k_order_id"]) == (table["sign"] == 1)).all()
    cli("export", "--run", "synthetic", *PREDICATES, "--layer", 1, "--head", 0, "--out", tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz") as found:
        logit = np.einsum("pd,pd->p", found["q"][found["query"]], found["k"][found["key"]]) * 0.5
    assert np.allclose(np.sort(logit), np.sort(table["logit"].to_numpy()), atol=1e-4)


def test_backup_and_restore(cli, store, tmp_path):
    cli("contrasts", "--save", "kept", *PREDICATES)
    cli("backup", "--out", tmp_path / "b.tar")
    cli("restore", "--from", tmp_path / "b.tar", where=tmp_path / "new")
    assert (tmp_path / "new/runs/synthetic.duckdb").read_bytes() == (store / "runs/synthetic.duckdb").read_bytes()
    assert "kept" in cli("contrasts", where=tmp_path / "new")
    assert "exists already" in cli("backup", "--out", tmp_path / "b.tar", code=2)
    assert "not empty" in cli("restore", "--from", tmp_path / "b.tar", where=tmp_path / "new", code=2)


def test_check_finds_what_is_wrong(cli, tmp_path):
    assert "ok  run 'synthetic': 256 queries" in cli("check")
    write(tmp_path, n=32)
    with duckdb.connect(str(tmp_path / "runs/synthetic.duckdb")) as con:
        con.execute("DELETE FROM key_vector WHERE layer = 1 AND kv_head = 1 AND row = 5")
        con.execute(
            "UPDATE query_vector SET v = [1, 2, 3, 'nan'::FLOAT, 5, 6, 7, 8]::FLOAT[8] WHERE layer = 0 "
            "AND head = 2 AND row = 3"
        )
    text = cli("check", code=2, where=tmp_path)
    assert "layer 1 kv_head 1 has 127 vectors for 127 of 128 rows" in text
    assert "layer 0 head 2 has 1 vectors with NaN or Inf" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["heads", "--run", "nope", *PREDICATES], "no run 'nope'"),
        (["heads", "--run", "synthetic", "--contrast", "ordr"], "did you mean 'order'"),
        (["heads", "--run", "synthetic"], "no contrast is given: name one by --contrast, or give --positive"),
        (["heads", "--run", "synthetic", "--positive", "k.oder_id = 1", "--negative", "k.order_id = 2"], "order_id"),
        (
            [
                "heads",
                "--run",
                "synthetic",
                "--positive",
                "k.order_id = 9",
                "--negative",
                "k.order_id = 2 and k.prompt_id = q.prompt_id",
            ],
            "no positive pairs",
        ),
        (
            ["covariance", "--run", "synthetic", *PREDICATES, "--layer", "9", "--head", "0", "--out", "x.npz"],
            "no layer 9",
        ),
        (
            ["covariance", "--run", "synthetic", *PREDICATES, "--layer", "0", "--head", "0", "--out", "x.txt"],
            "must end in .npz",
        ),
        (
            ["covariance", "--run", "synthetic", *PREDICATES, "--layer", "0", "--head", "0", "--out", "no/such/x.npz"],
            "No such file",
        ),
        (["rank", "--run", "synthetic", *PREDICATES, "--layer", "0", "--head", "9"], "head 9"),
        (
            [
                "rank",
                "--run",
                "synthetic",
                "--where",
                "q.prompt_id < 9",
                *PREDICATES[2:],
                "--layer",
                "0",
                "--head",
                "0",
            ],
            "10 queries or more; the contrast has 9",
        ),
        (
            ["attribute", "--run", "synthetic", *PREDICATES, "--layer", "0", "--head", "0", "--prompt", "p9999"],
            "no prompt 'p9999'",
        ),
        (["sql", "--run", "synthetic", "drop table prompt"], "qkstore: "),
        (["sql", "--run", "synthetic", "select * from read_csv('/etc/passwd')"], "read_csv"),
        (["restore", "--from", "nothing.tar"], "not empty"),
    ],
)
def test_mistakes_are_one_line(cli, arguments, says, store):
    before = {p: p.read_bytes() for p in (store / "runs").iterdir() if p.is_file()}
    text = cli(*arguments, code=2)
    assert says in text
    assert text.count("\n") == 1
    assert "Traceback" not in text
    assert before == {p: p.read_bytes() for p in (store / "runs").iterdir() if p.is_file()}


def test_as_a_program(store):
    def call(*arguments):
        command, environment = [sys.executable, "-m", "qkstore", *arguments], os.environ | {"QKSTORE": str(store)}
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)

    done = call("runs", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)[0]["run"] == "synthetic"
    done = call("heads", "--run", "x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("qkstore: no run 'x'")
