"""A live result as the command, the page and the chart show it."""

from __future__ import annotations

import json
import shlex

import torch
from test_live import MOST, both, features, net, store  # noqa: F401 -- fixtures

from ingest import __main__ as command
from ingest import intervene
from ingest.model import live
from qkstore import charts
from qkstore.analysis import live as kept
from qkstore.errors import StoreError

torch.set_num_threads(1)


def words(store, *more):
    named = ["--run", "both", "--model", "demo", "--contrast", "order", "--and", "lexical"]
    return ["intervene", "--store", str(store.path), *named, "--most", str(MOST), *more]


def test_the_command_prints_a_table_and_json(store, both, capsys):
    assert command.main(words(store, "--heads", "1:0,1:2")) == 0
    out = capsys.readouterr().out
    assert "order+lexical" in out
    assert "head 1:2" in out
    assert "answers" in out
    assert f"largest |live − closed form| in layer 1: {both.gap:.1e}\n" in out
    assert command.main(words(store, "--heads", "1:2,1:0", "--json")) == 0
    assert kept.Live.of(json.loads(capsys.readouterr().out)) == both


def test_a_result_that_cannot_be_kept_is_shown_and_said_to_be_lost(store, capsys, monkeypatch):
    def refuse(*_, **more):
        raise StoreError("read-only")

    fresh = words(store, "--heads", "1:1", "--most", "5")
    with monkeypatch.context() as patched:
        patched.setattr("qkstore.store.catalog.Catalog.keep_result", refuse)
        assert command.main(fresh) == 0
    said = capsys.readouterr()
    assert "order+lexical" in said.out
    assert "shown but not kept" in said.err
    assert command.main(fresh) == 0
    assert "not kept" not in capsys.readouterr().err


def test_the_best_head_is_edited_where_none_is_named(store, both):
    run = store.run("both")
    (best,) = intervene.chosen(store, run, features(store, run, "order"), None, None)
    assert best[0] == 1
    assert intervene.chosen(store, run, {}, None, 1) == [(1, h) for h in range(4)]


def test_the_page_shows_live_beside_closed_form(show, store, both):
    app = show(store.path, "interventions", run="both", contrast="order", layer=1, head=2, **{"and": "lexical"})
    assert not app.exception
    assert not app.error
    assert "In the running model" in [s.value for s in app.subheader]
    (choice,) = [s for s in app.selectbox if s.label == "Result"]  # several results of this head were made above
    app = choice.select_index(choice.options.index(both.title)).run()
    said = "\n".join(e.proto.body for e in app.get("html"))
    assert "heads 1:0, 1:2" in said
    assert "float32 on cpu" in said
    assert f"{both.n:,} queries" in said
    assert {"swaps", "live", "doses"} <= set(app.session_state["made"].figures)


def test_a_result_of_an_older_version_without_logit_gaps_is_left_out(store, both):
    run, payload = store.run("both"), json.loads(json.dumps(both.to_dict()))
    shown = [row.key for row in kept.results(store, run)]
    assert both.key in shown
    for outcome in payload["conditions"]:
        for condition in outcome["attention"].values():
            del condition["gap_gain"]
    store.catalog.keep_result("older", kept.KIND, run.name, "older", payload)
    assert "older" in [row["contrast"] for row in store.catalog.results(kept.KIND, run.name)]
    assert [row.key for row in kept.results(store, run)] == shown


def test_the_page_names_the_command_where_there_is_none_and_it_runs(show, store, monkeypatch):
    app = show(store.path, "interventions", run="ent", contrast="order", layer=1, head=1, **{"and": "lexical"})
    assert not app.exception
    assert not app.error
    (told,) = [c.value for c in app.code if "ingest intervene" in c.value]
    told = shlex.split(told)
    assert told[:4] == ["python", "-m", "ingest", "intervene"]
    assert told[-2:] == ["--layer", "1"]
    monkeypatch.chdir(store.path.parent)  # a page names the store, and no folder of the machine
    assert command.main([*told[3:], "--most", "6"]) == 0
    app = show(store.path, "interventions", run="ent", contrast="order", layer=1, head=1, **{"and": "lexical"})
    assert not [c for c in app.code if "ingest intervene" in c.value]


def test_the_chart_has_a_bar_for_all_that_was_measured(store, net, both):
    rows = charts.live_rows(both, "1:0")
    assert set(rows["measure"]) == {"Attention, closed form", "Attention, live", "Answers"}
    assert len(rows) == 3 * 6
    assert rows["name"].unique(maintain_order=True).to_list()[:2] == ["order", "random of order's rank"]
    run = store.run("ent")
    found = live.intervene(store, run, net, features(store, run, "order"), [(0, 0), (1, 3)], most=MOST)
    assert "Attention of later heads" in set(charts.live_rows(found, "0:0")["measure"])
    assert charts.live_bars(found, "0:0").to_dict()["layer"]
    assert "another question" in kept.statement(found, "1:3")
    assert "another question" not in kept.statement(found, "0:0")
