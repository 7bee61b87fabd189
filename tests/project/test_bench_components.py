"""bench/models/components.py: its parts on the demo model, kept as they are made, and the page that they go into."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT

import qkstore
from bench.models import beside, components, named, overlaps, running
from ingest import demo, job, model, real
from ingest.prompts import boxes
from qkstore.analysis import components as decomposed
from qkstore.analysis import subspaces
from qkstore.analysis.decomposition import Scored, kept_counts, names, study
from qkstore.text import head_name

torch.set_num_threads(1)
AT, NONE = (1, 0), (0, 0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path, small = tmp_path_factory.mktemp("components") / "store", replace(model.load(str(demo.MODEL)), name="demo")
    job.ingest(path, "both", small, boxes.build(400, "both", 3, 60), job.Options(batch_size=64), task="boxes", seed=3)
    return qkstore.open(path)


@pytest.fixture(scope="module")
def run(store):
    return store.run("both")


@pytest.fixture(scope="module")
def rows(store, run):
    return beside.rows(store, run, [AT, NONE])


def test_components_are_beside_the_papers_and_random_ones_on_the_same_keys(rows):
    paper, none, own, _ = rows
    assert [row.keys for row in rows] == [beside.PAPER] * 2 + [beside.OWN] * 2
    for row in (paper, own):
        each = [row.conditions[cell] for cell in beside.CELLS]
        assert len({(c["n"], c["target_before"]) for c in each}) == 1, "the same keys"
        assert each[0]["target_after"] > each[1]["target_after"] + 0.1, "random ones as a control"
        assert each[2]["target_after"] > each[3]["target_after"] + 0.1
        assert [c["rank"] for c in each] == [row.number, row.number, row.rank, row.rank, row.number]
        difference = each[0]["target_after"] - each[2]["target_after"]
        assert row.ahead[0] == pytest.approx(difference)
        assert row.ahead[1] < difference < row.ahead[2]
        assert len(row.told) == len(beside.HEAD)
    assert none.conditions is None
    assert none.told[1] == "queries of this head are all the same, so they choose nothing"
    assert beside.sentence([paper, none]).startswith("Of 1 heads, between the paper's keys, all components")


@pytest.mark.parametrize(
    ("interval", "which"),
    [((0.2, 0.1, 0.3), "components"), ((-0.2, -0.3, -0.1), "order + lexical"), ((0.0, -0.1, 0.1), "neither")],
)
def test_which_is_ahead_is_told_by_the_interval(rows, interval, which):
    assert beside.ahead(replace(rows[0], ahead=interval)) == which


def test_what_was_computed_is_kept(store, run, rows, monkeypatch):
    monkeypatch.setattr(beside, "components", None)
    assert beside.rows(store, run, [AT, NONE]) == rows
    monkeypatch.setattr(beside, "__file__", named.__file__)
    with pytest.raises(TypeError):  # the control: of another source it would be computed
        beside.rows(store, run, [AT, NONE])


def test_the_heads_with_the_most_come_first(store, run):
    counts = kept_counts(store, run)
    number = {(row.layer, row.head): row.number for row in counts}
    ten = named.most(counts)
    assert sorted(ten) == [(1, 0), (1, 1), (1, 2), (1, 3)], "those of layer 0 have none"
    assert [number[at] for at in ten] == sorted((number[at] for at in ten), reverse=True)
    weights = named.Weights.of(store, run, (0, 1), lambda line: None)
    told = dict(zip(named.CONTROL[1:], weights.told, strict=True))
    assert (told["heads"], told["with components"]) == ("8", "4")
    assert int(told["components"]) == sum(number[at] for at in ten)
    assert 0 < weights.matched <= int(told["clear"]) <= int(told["components"])
    empty = named.Weights.of(store, run, (0,), lambda line: None)
    assert empty.told[2:8] == ["0", "0", "0", "0", "–", "0"]
    assert len(empty.told) == len(named.CONTROL) - 1


def test_a_component_without_a_name_is_shown_with_its_prompts(store, run, monkeypatch):
    named_ones = named.studies(store, run, [AT], lambda line: None)
    assert named.ends(run, named_ones, pytest.fail) == [], "the control: all of them have names"
    assert len(named.row(named_ones[AT])) == len(named.HEAD)
    monkeypatch.setattr(sys.modules["qkstore.analysis.decomposition.names"], "EXPLAINS", 2.0)
    found, lines = {AT: study(run, *AT)}, []
    told = named.ends(run, found, lines.append, 2)
    assert len(told) == len(found[AT].rows)
    assert all(len(row) == len(named.ENDS) for row in told)
    first = next(i for i, line in enumerate(lines) if "component 0, of" in line)
    high, low = lines[first + 1], lines[first + 4]
    assert high.startswith("  high +")
    assert low.startswith("  low ")
    assert "[" in high
    assert "queried_entity" in high
    assert names(Scored.of_head(decomposed(run, *AT))).names[0].named is False


def test_the_running_model_is_the_closed_form(store, run, monkeypatch):
    monkeypatch.setattr(real, "weights", lambda: demo.MODEL)
    span = subspaces(run, {name: store.feature(run, name) for name in running.FEATURES}, *AT)["order+lexical"]
    own = running.paper(store, run, AT).own
    assert np.allclose(own.V @ own.V.T, span.V @ span.V.T, atol=1e-5)
    result = running.results(store, run, {AT: 24})[AT]
    table = [dict(zip(running.HEAD, row, strict=True)) for row in running.rows(result)]
    assert [row["swap"] for row in table] == ["none", *running.TOLD]
    assert result.gap <= running.SAME
    live = {row["swap"]: float(row["target, live"].split()[0]) for row in table}
    assert live["all"] > live["random, as many as all"] + 0.1
    assert live[running.PAPER] > live["random"] + 0.1
    assert "n = 24 prompts a head" in running.sentence([result])
    row = dict(zip(running.HEADS, running.head_row(result), strict=True))
    assert (row["n"], row["components"]) == ("24", table[1]["dimensions"])
    assert [row[f"{what}live"].split()[0] for what in ("", "as many random, ", "order + lexical, ")] == [
        table[i]["target, live"].split()[0] for i in (1, 2, 3)
    ]
    assert row["answer moved by all"] == table[1]["moved by"] != row["by as many random"] == table[2]["moved by"]
    target, gap = running.beyond(result)
    assert target[0] == pytest.approx(live["all"] - live["random, as many as all"], abs=2e-3)
    assert 0 < target[1] < target[0] < target[2]
    assert 0 < gap[1] < gap[0] < gap[2]
    assert "random dimensions in 1 of 1 heads, less far in 0" in running.heads_sentence([result])
    low = float(row["answer moved by all"].split("[")[1].split(",")[0].replace("−", "-"))
    assert running.answer([result], running.ALL) == ("1 and 0" if low > 0 else "0 and 0")


def test_every_head_of_the_tables_is_swapped_live(store, run, monkeypatch):
    monkeypatch.setattr(real, "weights", lambda: demo.MODEL)
    monkeypatch.setattr(components, "RUN", "both")
    monkeypatch.setattr(components, "LIVE", (AT,))
    heads = components.union(store, run)
    assert heads[:4] == named.most(kept_counts(store, run))
    assert set(components.selected(store, run)) <= set(heads)
    assert len(set(heads)) == len(heads)
    parts, wrong = components.inside(store, 24, 4, None)
    assert (list(parts), wrong) == (["real live", "real live heads"], [])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in parts["real live heads"][2:-2]]
    assert [row[0] for row in rows] == [head_name(*at) for at in heads]
    assert {row[0]: row[2] for row in rows} == {head_name(*at): "24" if at == AT else "4" for at in heads}
    assert "n = 24, 4 prompts a head" in parts["real live heads"][-1]
    assert components.inside(store, 0, 0, None) == ({}, []), "none were asked for"
    monkeypatch.setattr(running, "SAME", -1.0)
    assert len(components.inside(store, 24, 0, None)[1]) == 1, "the control: what is apart is told"


def test_heads_are_counted_by_their_intervals(monkeypatch):
    ends = {"more": (0.2, 0.1, 0.3), "less": (-0.2, -0.3, -0.1), "neither": (0.0, -0.1, 0.1)}
    monkeypatch.setattr(running, "sentence", lambda found: "")
    monkeypatch.setattr(running, "beyond", lambda result: [ends[result], ends["more"]])
    monkeypatch.setattr(running, "answer", lambda found, name: name)
    told = running.heads_sentence(["more", "less", "neither", "neither"])
    assert "in 1 of 4 heads, less far in 1, and the interval holds 0 in 2; the logit gap in 4, less far in 0" in told


def test_the_meter_reads_overlaps_and_the_shape_of_scores(run):
    one, *others = overlaps.meters(run, [AT, NONE])
    assert (one.at, others) == (AT, []), "a head without a choice has none"
    found = decomposed(run, *AT)
    assert one.number == len(found)
    score = found.found.query_scores(found.test.q)
    z = (score - score.mean(axis=0)) / score.std(axis=0)
    assert one.query == pytest.approx(float(np.mean(z**4)) - 3)
    assert 0 < one.overlap < 1
    b = np.repeat(found.found.b[:, :1], 2, axis=1)  # two components that score keys the same
    assert overlaps.Meter.of(replace(found, found=replace(found.found, b=b))).overlap == pytest.approx(1)
    cells = overlaps.row("trained", "two", [one, replace(one, number=2, overlap=0.0)])
    assert len(cells) == len(overlaps.HEAD)
    assert cells[2].endswith(f"[2, {one.number}]")
    assert overlaps.row("trained", "one", [one])[2] == str(one.number)


def test_the_page_has_a_place_for_each_table():
    page = (ROOT / "docs" / "discovery.md").read_text()
    for name in (*components.PARTS, "real overlaps"):
        assert page.count(f"<!-- {name}: begin -->\n") == page.count(f"<!-- {name}: end -->") == 1, name


def test_the_control_has_the_base_prompts_of_the_run():
    made = components.prompts()
    base = [p for p in made if p.variant == "base"]
    assert (len(made), len(base)) == (components.N + components.N_TEST + 2 * components.PAIRED, 2000)
    assert not [p for p in made if p.variant != "base" and p.split != "train"]
