"""The commands on single prompts: every query's swap in a file, and the parts of the logit gap over all prompts."""

from __future__ import annotations

import json

import polars as pl
import pytest
import synthetic

import qkstore
from qkstore.__main__ import main
from qkstore.analysis.attribution import distributed, gaps
from qkstore.analysis.heads import everywhere
from qkstore.analysis.moved import moved
from qkstore.contrast import Contrast

SIDES = {"positive": "k.order_id = q.queried_order", "negative": "k.order_id <> q.queried_order"}
ORDER = Contrast("inline", "k.prompt_id = q.prompt_id", **SIDES)
ASKED = ["--run", "synthetic", "--where", ORDER.where, "--positive", ORDER.positive, "--negative", ORDER.negative]
HEAD = ["--layer", "1", "--head", "0"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = tmp_path_factory.mktemp("commands")
    synthetic.write(store, n=128)
    return store


def ran(store, command: str, *more: str, code: int = 0) -> None:
    assert main([command, "--store", str(store), *ASKED, *HEAD, *more]) == code


@pytest.mark.parametrize(("ending", "read"), [("csv", pl.read_csv), ("parquet", pl.read_parquet)])
def test_every_query_s_swap_is_written(store, tmp_path, ending, read, capsys):
    out = tmp_path / f"each.{ending}"
    ran(store, "intervene", "--out", str(out))
    wanted = moved(qkstore.open(store).run("synthetic"), {"inline": (ORDER,)}, 1, 0).of("inline")
    found = read(out)
    assert found.columns == wanted.columns
    assert found["query_row"].to_list() == wanted["query_row"].to_list()
    assert found["delta_p"].to_list() == pytest.approx(wanted["delta_p"].to_list())
    said = capsys.readouterr().out
    assert (
        f"Swapping inline (rank {wanted['rank'][0]}), the target gains {100 * wanted['delta_p'].mean():.1f} %" in said
    )


def test_another_ending_is_one_line_and_writes_nothing(store, tmp_path, capsys):
    ran(store, "intervene", "--out", str(tmp_path / "each.txt"), code=2)
    assert "must end in" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_a_prompt_the_gap_of_all_is_split(store, capsys):
    ran(store, "attribute", "--json")
    found = json.loads(capsys.readouterr().out)
    told = gaps(qkstore.open(store).run("synthetic"), {"inline": (ORDER,)}, 1, 0, ORDER)
    assert found["n"] == len(told.gap) == 32
    assert found["rows"] == json.loads(json.dumps(distributed(told).to_dicts()))
    parts = {row["part"]: row for row in found["rows"]}
    assert parts["inline"]["mean"] + parts["rest"]["mean"] == pytest.approx(parts["whole gap"]["mean"])
    ran(store, "attribute")
    assert "32 queries of the test split" in capsys.readouterr().out


def test_one_query_has_no_interval_and_few_make_no_claim(store, capsys):
    ran(store, "intervene", "--most", "1")
    told = capsys.readouterr().out
    assert "1 query of the test split" in told
    assert told.count("n = 1 query; below 20, no claim") == 1
    assert "paired over 1 query; one query gives no interval" in told
    assert "[" not in told, "none of no width"
    ran(store, "intervene", "--most", "19")
    assert "n = 19 queries; below 20, no claim" in (told := capsys.readouterr().out)
    assert "[" in told
    ran(store, "intervene", "--most", "20")
    assert "no claim" not in capsys.readouterr().out, "the control"
    pairs = "select query_row, key_row, case when k.order_id = q.queried_order then 1 else -1 end as sign from q, k "
    of_one = "(q.split = 'train' or q.prompt_id = (select max(prompt_id) from prompt where split = 'test'))"
    one = ["--run", "synthetic", "--pairs", f"{pairs} where {ORDER.where} and {of_one}"]
    assert main(["attribute", "--store", str(store), *one, *HEAD]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("1 query of the test split; below 20, no claim")
    assert lines[3].split()[0] == "inline"
    assert lines[3].split()[-2:] == ["–", "–"]
    assert main(["attribute", "--store", str(store), *one, *HEAD, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {(row["share_low"], row["share_high"]) for row in rows} == {(None, None)}
    assert rows[1]["share"] is not None


def many(store, *more: str) -> int:
    return main(["intervene", "--store", str(store), *ASKED, "--most", "20", *more])


def test_swaps_of_many_heads_that_were_stopped_are_gone_on_with(store, capsys, monkeypatch):
    plain, computed = everywhere.swap, []

    def stopped(task):
        if len(computed) == 3:
            raise KeyboardInterrupt
        computed.append((task.layer, task.head))
        return plain(task)

    monkeypatch.setattr(everywhere, "swap", stopped)
    assert many(store, "--heads", "all") == 130
    capsys.readouterr()
    monkeypatch.setattr(everywhere, "swap", lambda task: computed.append((task.layer, task.head)) or plain(task))
    assert many(store, "--heads", "all", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert computed == [(layer, head) for layer in (0, 1) for head in range(4)], "no head twice"
    run = qkstore.open(store).run("synthetic")
    made = json.loads(json.dumps([m.to_dict() for m in everywhere.everywhere(run, {"inline": (ORDER,)}, most=20)]))
    assert sorted(rows, key=lambda row: (row["layer"], row["head"])) == made
    beyond = [row["conditions"][0]["beyond"]["gap_gain"][0] for row in rows]
    assert beyond == sorted(beyond, reverse=True), "the one first that moves most, as in the table"
    assert rows != made, "the control: not by layer and head"
    assert many(store, "--heads", "1:0", "--json") == 0
    assert json.loads(capsys.readouterr().out) == made[4:5]
    without = everywhere.HeadSwap(0, 0, None, "nothing")
    some = [without, *map(everywhere.HeadSwap.of, made[1:])]
    assert everywhere.ordered(some)[-1] == without
    assert everywhere.ordered([without]) == [without]
