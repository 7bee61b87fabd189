"""The Runs and the Notes page, run without a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sharded
import stores
from synthetic import synthetic
from test_pages import html

import qkstore
from dashboard.runs import one as shown
from qkstore.run.incoming import Incoming
from qkstore.store import work
from qkstore.store.inventory import entry

SCRIPT = "<script>window.harm=1</script> ![x](http://example.com/x.png)"


@pytest.fixture
def store(tmp_path) -> qkstore.Store:
    """Two runs of boxes, of which one lacks test prompts and answers, and a file that is none."""
    stores.write(tmp_path / "store", "first", n=120)
    data = stores.boxes(n=64)
    data.prompts = data.prompts.with_columns(split=stores.pl.lit("train"))
    data.manifest["model"] = "of **mine** <b>"
    stores.write(tmp_path / "store", "second", data)
    return qkstore.open(tmp_path / "store")


def press(app, label: str):
    next(b for b in app.button if b.label == label).click()
    return app.run()


def said(app) -> str:
    return " ".join(e.value for kind in (app.warning, app.error, app.info) for e in kind).replace("\\", "")


def test_every_run_is_listed_with_its_gaps_and_files_that_are_none_are_told(show, store):
    (store.path / "runs" / "odd.duckdb").write_bytes(b"no database" * 50)
    app = show(store.path, "runs", run="second")
    assert not app.exception
    table = app.dataframe[0].value
    assert list(table["run"]) == ["first", "second"]
    assert table["gaps"][1] == "no test prompts; answers of the model not stored"
    assert table["size"][0] == store.run("first").path.stat().st_size
    assert table["model"][1] == "of **mine** <b>"
    assert "run file odd.duckdb is damaged" in said(app)
    assert "of **mine** &lt;b&gt;" in html(app)
    assert store.run("second").digest in html(app)


def test_words_find_runs(show, store):
    app = show(store.path, "runs", find="NO test")
    assert list(app.dataframe[0].value["run"]) == ["second"]
    app = show(store.path, "runs", find="nothing like it")
    assert "None of the 2 runs holds all of these words" in html(app)


def test_gaps_are_what_is_missing_and_no_more(store):
    assert entry(store.run("first")).gaps == ("answers of the model not stored",)
    assert entry(store.run("second")).gaps == ("no test prompts", "answers of the model not stored")


def test_a_run_is_deleted_on_a_page_of_its_own_by_its_name(show, store):
    store.catalog.notes.add("text", "first")
    app = press(show(store.path, "runs", run="first"), "Delete this run…")
    assert app.query_params["act"] == "delete"
    assert "notes on it: 1" in said(app)
    app.text_input[0].set_value("First")
    app = press(app, "Delete this run for good")
    assert "'First' is not 'first'; nothing was deleted" in said(app)
    assert store.names() == ["first", "second"]
    app.text_input[0].set_value("first")
    app = press(app, "Delete this run for good")
    assert store.names() == ["second"]
    assert "act" not in app.query_params
    app = show(store.path, "heads", run="first")
    assert "Run 'first' was removed by" in said(app)


def test_an_address_that_deletes_what_is_not_there_deletes_nothing_else(show, store):
    app = show(store.path, "runs", run="third", act="delete")
    assert not [b for b in app.button if b.label == "Delete this run for good"]
    assert "Run 'third' of the address is not here" in said(app)


def test_a_run_is_renamed_and_links_to_its_old_name_show_it(show, store):
    app = press(show(store.path, "runs", run="first"), "Rename this run…")
    app.text_input[0].set_value("second")
    app = press(app, "Rename")
    assert "a run 'second' is in the store already" in said(app)
    app.text_input[0].set_value("third")
    app = press(app, "Rename")
    assert store.names() == ["second", "third"]
    assert app.query_params["run"] == "third"
    for page in ("runs", "heads"):
        app = show(store.path, page, run="first")
        assert "Run 'first' was renamed to third by" in said(app)
        assert "Showing third" in said(app)
        assert next(b for b in app.selectbox if b.label == "Run").value == "third"


def test_an_ingest_that_stopped_is_told_and_can_be_discarded(show, store):
    with pytest.raises(KeyboardInterrupt), work.Work(store.path, "half") as at:
        data = synthetic(8)
        with Incoming(store.path, "half", data.plan) as incoming:
            incoming.put(*next(data.batches()))
        at("capture", 1, 4, now=SCRIPT)
        bars = [bar.proto.text.replace("\\", "") for bar in show(store.path, "runs").get("progress")]
        assert bars == ["half, capture: 1 of 4"]
        raise KeyboardInterrupt
    app = show(store.path, "runs")
    assert "Ingest of 'half' has stopped" in said(app)
    assert "1 batch is kept; repeat its command to go on" in said(app)
    app = press(app, "Discard what half has kept")
    assert work.at_work(store) == []
    assert "has stopped" not in said(app)


# -- notes -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def noted(store) -> qkstore.Store:
    notes = store.catalog.notes
    notes.add("Finds fruits, not colours", "first", "L1 H0")
    notes.add(f"of second 100% {SCRIPT}", "second")
    notes.add("of the contrast", "", "contrast order")
    notes.add("of a run that is gone", "away")
    notes.withdraw(notes.add("withdrawn", "first").note_id)
    return store


def links(app) -> list[str]:
    return [link.proto.label.replace("\\", "").replace("\u00a0", " ") for link in app.get("page_link")]


def test_all_notes_are_listed_with_links_to_what_they_are_on(show, noted):
    app = show(noted.path, "notes")
    assert not app.exception
    assert [x for x in links(app) if x[:3] in ("run", "con")] == [
        "contrast order",
        "run second",
        "run first, head L1 H0",
    ]
    assert "run away, which is not in the store" in html(app)
    assert "<script>" not in html(app)
    assert "withdrawn" not in html(app)


@pytest.mark.parametrize(
    ("choices", "n"),
    [({"find": "FRUITS first"}, 1), ({"find": "%"}, 1), ({"find": "_"}, 0), ({"kind": "head"}, 1), ({"kind": "run"}, 2),
     ({"kind": "contrast", "find": "order"}, 1), ({"at": "2"}, 2), ({"at": "99"}, 4), ({"at": "x" * 50}, 4)],
)  # fmt: skip
def test_notes_are_found(show, noted, choices, n):
    app = show(noted.path, "notes", **choices)
    assert not app.exception
    assert len([b for b in app.button if b.label == "Withdraw"]) == n


def test_a_note_is_written_on_a_run_and_the_field_is_empty_then(show, noted):
    app = show(noted.path, "notes")
    app.text_area[0].set_value("another one")
    app = press(app, "Leave the note")
    assert next(n.text for n in noted.catalog.notes.on("first")) == "another one"
    assert app.text_area[0].value == ""


def test_a_new_note_is_on_the_run_of_the_address(show, noted):
    for run in ("second", "first"):
        app = show(noted.path, "notes", run=run)
        app.text_area[0].set_value(f"on {run}, as the address has it")
        app = press(app, "Leave the note")
        assert next(n.text for n in noted.catalog.notes.on(run)) == f"on {run}, as the address has it"
        assert not app.error
    first = next(iter(noted.names()))
    assert next(s for s in show(noted.path, "notes", run="gone").selectbox if "note" in s.label).value == first


def test_a_long_list_has_pages(show, store):
    for i in range(23):
        store.catalog.notes.add(f"note {i}", "first")
    app = press(show(store.path, "notes"), "Older")
    assert "21 to 23 of 23 notes" in html(app)
    app = press(app, "Newer")
    assert "1 to 20 of 23 notes" in html(app)


def test_three_hundred_runs_are_looked_up_once(show, tmp_path, monkeypatch):
    """The second look reads no run again."""
    from dashboard.runs import listing

    path = stores.write(tmp_path / "store", "run", n=16)
    for i in range(20):
        Path(path / "runs" / f"copy-{i}.duckdb").hardlink_to(path / "runs" / "run.duckdb")
    seen = []
    monkeypatch.setattr(listing, "entry", lambda run: (seen.append(run.name), entry(run))[1])
    show(path, "runs")
    assert len(seen) == 21
    show(path, "runs")
    assert len(seen) == 21


def test_values_of_labels_stand_apart_from_their_rows_and_fractions_are_short(show, tmp_path):
    data = stores.boxes(n=120)
    stores.write(tmp_path, "one", data)
    labels = next(d.value for d in show(tmp_path, "runs", run="one").dataframe if "most frequent" in d.value)
    told = dict(zip(labels["label"], labels["most frequent"]))
    assert re.fullmatch(r"\d \(\d+\)(, \d \(\d+\))+", told["queried_order"])
    assert shown._value(1 / 9) == "0.1111"
    assert shown._value(5) == "5"
    assert shown._short("a" * 64) == f"SHA-256 {'a' * 16}…"
    assert shown._short("cuda") == "cuda"


def test_a_run_in_shards_is_a_run_on_every_page(show, tmp_path):
    data = stores.boxes(n=120)
    stores.write(tmp_path, "one", data)
    sharded.publish(tmp_path, "several", data)
    app = show(tmp_path, "runs", run="several")
    assert said(app) == ""
    assert "Shards" in html(app)
    assert "Shards" not in html(show(tmp_path, "runs", run="one"))
    for page in ("heads", "head", "subspaces", "projections", "interventions", "attributions"):
        one, several = (show(tmp_path, page, run=run) for run in ("one", "several"))
        assert not several.exception
        assert said(several).replace("several", "one") == said(one)
        assert [len(mine.value) for mine in several.dataframe] == [len(mine.value) for mine in one.dataframe]
