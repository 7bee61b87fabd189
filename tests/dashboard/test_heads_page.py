"""The Heads page: what its cards, marks, table and comparison say, and that they are the library's figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import stores
from streamlit.testing.v1 import AppTest
from waits import nobody

import qkstore
from qkstore.analysis import heads


@pytest.fixture(scope="module")
def boxes(tmp_path_factory) -> Path:
    """Run 'boxes', run 'second' of other vectors on the same prompts, and 'wide' with more heads."""
    path = stores.write(tmp_path_factory.mktemp("boxes") / "store", n=300)
    again, same = stores.boxes(n=300, seed=4), stores.boxes(n=300)
    again.prompts, again.tokens = same.prompts, same.tokens
    again.query_rows, again.key_rows = same.query_rows, same.key_rows
    stores.write(path, "second", data=again)
    return stores.write(path, "wide", data=stores.boxes(n=300, n_heads=8))


def texts(app: AppTest) -> str:
    return " ".join(e.proto.body for e in app.get("html")).replace("&#x27;", "'")


def well(app: AppTest) -> AppTest:
    assert not app.exception
    assert not app.error
    return app


def cards(app: AppTest) -> list[str]:
    return [f"{m.label}: {m.value}: {m.delta}".replace("\\", "") for m in app.metric]


def both(path: Path, run: str = "boxes", other: str = "boxes", names=("order", "lexical")):
    store = qkstore.open(path)
    return store, *((store.run(r), store.feature(store.run(r), n)[0]) for r, n in zip((run, other), names, strict=True))


def test_the_cards_answer_how_many_heads_and_how_well_beside_chance(show, boxes):
    store, (run, order), _ = both(boxes)
    top = heads.summary(heads.kept(store, run, order))
    told = cards(well(show(boxes, "heads", contrast="order")))
    assert told[0].startswith(f"Heads that carry order: {top.n_selected}: of 8, clear of chance")
    assert told[1].endswith(heads.told(top.best))
    assert "chance" in told[1]
    assert "n = " in told[1]


def test_where_no_head_is_clear_of_chance_the_cards_say_so(show, tmp_path):
    data = stores.boxes(n=160)
    data.q[:] = np.random.default_rng(0).normal(size=data.q.shape)
    told = cards(well(show(stores.write(tmp_path / "store", data=data), "heads", contrast="order")))
    assert told[0] == "Heads that carry order: 0: none of 8 is clear of chance"
    assert told[1].startswith("Best by chance")


@pytest.mark.parametrize("by", heads.MEASURES)
def test_every_measure_is_a_map_and_says_how_many_heads_are_clear_of_chance(show, boxes, by):
    store, (run, order), _ = both(boxes)
    app = well(show(boxes, "heads", contrast="order", layer=1, head=0, by=by))
    assert heads.clear_told(heads.kept(store, run, order), by) in texts(app).replace("&gt;", ">")
    assert len(app.get("vega_lite_chart")) == 2


def test_the_table_marks_chance_and_joins_intervals(show, boxes):
    app = well(show(boxes, "heads", contrast="order", layer=1, head=0))
    columns = list(app.dataframe[0].value.columns)
    assert len(columns) <= 12
    assert "accuracy_interval" in columns
    assert "chance" not in columns, "all rows share it: it stands in the title"
    configured = app.dataframe[0].proto.columns
    assert "Accuracy (chance 11 %)" in configured or "Accuracy (chance 25 %)" in configured
    assert "0.05 is the least that 19 deals can give" in configured


def test_the_table_opens_where_the_head_of_the_address_is(show, boxes):
    data = stores.boxes(n=64, n_layers=5, n_heads=8)
    well(show(stores.write(boxes, "many", data=data), "heads", run="many", contrast="order", layer=4, head=7))
    assert nobody(), "the nulls are there, which a busy machine may not have for the first look"
    app = well(show(boxes, "heads", run="many", contrast="order", layer=4, head=7))
    rows = app.dataframe[0].value
    assert len(rows) <= 15
    assert [4, 7] in rows[["layer", "head"]].to_numpy().tolist()
    assert "of 40 by accuracy. Rows" in texts(app)
    last = well(show(boxes, "heads", run="many", contrast="order", layer=4, head=7, sheet=3))
    assert len(last.dataframe[0].value) == 10
    assert "Page 3 of 3" in texts(last)
    wrong = well(show(boxes, "heads", run="many", contrast="order", layer=4, head=7, sheet=99))
    assert wrong.dataframe[0].value.equals(rows)


def test_two_contrasts_side_by_side_have_the_librarys_differences(show, boxes):
    store, first, second = both(boxes)
    found = heads.compared(store, first, second)
    app = well(show(boxes, "heads", contrast="order", layer=1, head=0, **{"with": "lexical"}))
    assert len(app.get("vega_lite_chart")) == 4, "two maps, their difference, and the spectrum"
    assert app.dataframe[0].value["difference"].to_list() == pytest.approx(found.table["difference"].to_list())
    assert found.sentence in texts(app)
    assert [s.value.replace("\\", "") for s in app.subheader][:3] == ["order", "lexical", "order less lexical"]
    row = found.largest
    wanted = f"L{row['layer']} H{row['head']} {found.points(row['difference'])}" if row else "none"
    assert app.metric[3].value == wanted


def test_two_runs_are_compared_by_the_same_contrast(show, boxes):
    store, first, second = both(boxes, other="second", names=("order", "order"))
    found = heads.compared(store, first, second, "selectivity")
    assert found.paired.n > 0
    app = well(show(boxes, "heads", contrast="order", layer=1, head=0, on="second", by="selectivity"))
    assert found.sentence in texts(app)
    assert [s.value for s in app.subheader][:2] == ["boxes", "second"]


def test_runs_of_other_heads_stand_side_by_side_without_a_difference(show, boxes):
    app = well(show(boxes, "heads", contrast="order", layer=1, head=0, on="wide"))
    assert len(app.get("vega_lite_chart")) == 3
    assert "boxes has 2 layers of 4 heads, wide has 2 layers of 8 heads" in texts(app)
    assert "difference" not in app.dataframe[0].value.columns


def test_a_wrong_choice_to_compare_with_is_told_and_the_page_stays(show, boxes):
    app = well(show(boxes, "heads", contrast="order", layer=1, head=0, on="secnd", **{"with": "lexicl"}))
    said = " ".join(w.value for w in app.warning).replace("\\", "")
    assert "did you mean 'second'" in said
    assert "did you mean 'lexical'" in said
    assert len(app.get("vega_lite_chart")) == 2


@pytest.mark.parametrize("choices", [{}, {"with": "lexical"}, {"on": "second", "by": "rank"}, {"on": "wide"}])
def test_the_snippet_runs_and_gives_the_figures_of_the_page(show, boxes, choices):
    app = well(show(boxes, "heads", contrast="order", layer=1, head=0, **choices))
    (snippet,) = (c.value for c in app.code if c.language == "python")
    names: dict = {}
    exec(snippet.replace(repr("store"), repr(str(boxes))), names)
    if "comparison" in names:
        shown = app.dataframe[0].value["difference"].to_list()
        assert names["comparison"].table["difference"].to_list() == pytest.approx(shown)
    else:
        assert heads.table(names["scores"])["accuracy"].to_list() == app.dataframe[0].value["accuracy"].to_list()
    assert ("comparison" in names) == (choices not in ({}, {"on": "wide"}))
    assert ("others" in names) == (choices == {"on": "wide"})


def test_another_run_drops_the_contrast_to_compare_with_that_it_has_not(show, boxes):
    stores.write_lists(boxes)
    app = show(boxes, "heads", run="boxes", contrast="order", **{"with": "lexical"})
    app.selectbox(key="url-run").set_value("lists").run()
    assert "with" not in app.query_params
    assert not app.warning
