"""The Head page without a browser: its figures are the library's, and what a contrast has not is one line."""

from __future__ import annotations

import re

import polars as pl
import pytest
import stores

import qkstore
from dashboard.head import counted, near, ranking
from qkstore import analysis
from qkstore.analysis.heads import heads
from qkstore.analysis.pairs import RANKINGS, nearest, strongest
from qkstore.contrast import Contrast
from qkstore.text import number, percent

SCRIPT, OVERRIDE = "<script>window.harm=1</script>", "\u202egnp"
HEAD = {"run": "boxes", "contrast": "order", "layer": 1, "head": 0}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("head") / "store", n=240)


@pytest.fixture(scope="module")
def run(store):
    return qkstore.open(store).run("boxes")


def html(app) -> str:
    return "\n".join(e.proto.body for e in app.get("html"))


def charts(app) -> int:
    return len(app.get("vega_lite_chart")) + len(app.get("arrow_vega_lite_chart"))


def fine(app):
    assert not app.exception
    assert not app.error
    assert not app.warning
    return app


def test_the_figures_are_those_of_the_library(show, store, run):
    app = fine(show(store, "head", **HEAD))
    order = qkstore.open(store).feature(run, "order")
    score = next(s for s in heads(run, order[0], nulls=0) if (s.layer, s.head) == (1, 0))
    swapped = analysis.intervene(run, {"order": order}, 1, 0).conditions
    fitted = analysis.covariance(run, order[0], 1, 0)
    assert [m.value for m in app.metric[::2]] == [percent(score.accuracy), f"{fitted.subspace.rank} of 8"]
    assert app.metric[3].value == percent(swapped[0].delta_p, 1)
    notes = [m.delta.replace("\\", "") for m in app.metric]
    assert f"chance {percent(score.chance)}, n = {score.n_queries:,}" in notes[0]
    assert "the least that 99 deals can give" in notes[1]
    assert notes[2].startswith("cross-validated ")
    assert f"random {percent(swapped[-1].delta_p, 1)} (10 of rank" in notes[3]
    assert charts(app) == 4
    assert app.subheader[0].value == "Layer 1, head 0: order in boxes"


@pytest.mark.parametrize("by", RANKINGS)
def test_each_ranking_lists_the_pairs_of_the_library_in_their_prompts(show, store, run, by):
    app = fine(show(store, "head", **HEAD | {"head": 3, "rank": by}))
    found = strongest(run, qkstore.open(store).feature(run, "order"), 1, 3, by)
    shown, told = found.table.head(8), html(app)
    assert found.sentence in told.replace("&#x27;", "'")
    column, digits = {"logit": ("logit", 2), "attention": ("attention", 1), "moved": ("moved", 1)}.get(
        by, ("margin", 2)
    )
    for place, row in enumerate(shown.to_dicts(), start=1):
        figure = number(row[column], 2) if digits == 2 else percent(row[column], 1)
        (text,) = re.findall(f'qk-sentence">{place}[.] .*', told)
        assert figure in text
        assert f">{row['key_text']}</span>" in told
    links = [link.proto.label for link in app.get("page_link") if link.proto.label.startswith("Prompt")]
    assert links == [f"Prompt {prompt}" for prompt in shown["prompt_id"]]
    (link,) = [
        x.proto for x in app.get("page_link") if x.proto.label == f"Attribution of prompt {shown['prompt_id'][0]}"
    ]
    assert f"prompt={shown['prompt_id'][0]}" in link.query_string


def test_the_choices_are_in_the_address_and_the_chosen_pair_is_attributed(show, store):
    app = fine(show(store, "head", **HEAD))
    app.segmented_control(key="url-rank").set_value("attention").run()
    app.segmented_control(key="url-among").set_value("all").run()
    fine(app)
    assert [app.query_params[name] for name in ("rank", "among")] in (["attention", "all"], [["attention"], ["all"]])
    app.selectbox(key="url-pair").select(3).run()
    prompt = re.search(r"prompt (\d+)", app.selectbox(key="url-pair").options[2])[1]
    assert f"Logits of prompt {prompt}, chosen below" in html(fine(app))


def test_a_pair_beyond_the_ranking_is_its_last_one(show, store, run):
    found = strongest(run, qkstore.open(store).feature(run, "order"), 1, 0, "errors")
    assert 0 < len(found.table) < 50
    app = fine(show(store, "head", **HEAD | {"rank": "errors", "pair": 50}))
    assert app.selectbox(key="url-pair").value == len(found.table)
    app = show(store, "head", **HEAD | {"pair": "x", "rank": "best", "among": "none"})
    assert len(app.warning) == 3
    assert not app.error
    assert not app.exception


def test_the_nearest_heads_come_when_asked_for_and_are_kept(show, store, run, monkeypatch):
    kept: dict = {}
    monkeypatch.setattr(counted, "_found", lambda: kept)
    app = fine(show(store, "head", **HEAD))
    (button,) = [b for b in app.button if b.label == "Compare with 7 other heads"]
    button.click().run()
    found = nearest(run, qkstore.open(store).feature(run, "order"), 1, 0)
    labels = [b.label for b in fine(app).button if "random" in b.label]
    assert [label.replace("\\", "").split(",")[0] for label in labels] == [
        f"L{near.layer}\u00a0H{near.head} · {near.angle:.1f}°" for near in found.heads[:6]
    ]
    again = fine(show(store, "head", **HEAD))
    assert not [b for b in again.button if b.label.startswith("Compare")], "another session has it at once"


def test_the_snippet_returns_the_numbers_of_the_page(show, store, run, tmp_path, monkeypatch, capsys):
    app = fine(show(store, "head", **HEAD | {"rank": "moved"}))
    code = next(c.value for c in app.code if c.language == "python")
    monkeypatch.chdir(store.parent)
    names: dict = {}
    exec(compile(code, "head", "exec"), names)
    assert names["found"].sentence in html(app).replace("&#x27;", "'")
    assert percent(names["found"].mean, 1) == app.metric[3].value
    commands = next(c.value for c in app.code if c.language == "bash").splitlines()
    assert [line.split()[3] for line in commands] == ["strongest", "rank", "intervene", "nearest"]
    assert capsys.readouterr().out


def test_hostile_tokens_stay_text(show, tmp_path):
    data = stores.hostile({5: SCRIPT, 12: OVERRIDE, 19: "![x](http://example.com/x.png)", 35: "`$x$`"}, n=120)
    where = stores.write(tmp_path / "store", "boxes", data)
    for by in RANKINGS:
        app = fine(show(where, "head", **HEAD | {"head": 3, "rank": by}))
        told = html(app)
        assert "<script>" not in told
        assert OVERRIDE not in told + "".join(app.selectbox(key="url-pair").options)
        assert "U+202E" in told or by == "errors"
        labels = "".join(link.proto.label for link in app.get("page_link"))
        assert "http" not in labels


def test_a_contrast_across_prompts_shows_both(show, store):
    app = fine(show(store, "head", **HEAD | {"contrast": "lexical", "rank": "logit", "shown": 20}))
    told = html(app)
    assert "attention none" in told
    assert re.search(r'qk-note">prompt \d+</p><div class="qk-tokens">', told)


def test_a_run_that_no_built_in_fits_opens_with_a_contrast_of_its_own(show, tmp_path):
    data = stores.boxes(n=120)
    data.prompts = data.prompts.drop("queried_order", "queried_entity", "counterfactual_id").with_columns(
        wanted=pl.col("answer"), split=pl.lit("all")
    )
    data.tokens = data.tokens.drop("entity", "order_id").rename({"box": "letter"})
    where = stores.write(tmp_path / "store", "own", data)
    app = show(where, "head")
    assert "contrast fits the labels of run own" in app.info[0].value
    here = "k.prompt_id = q.prompt_id and k.letter"
    store = qkstore.open(where)
    store.catalog.save(Contrast("letters", None, f"{here} = q.wanted", f"{here} <> q.wanted"))
    for by in RANKINGS:
        app = fine(show(where, "head", rank=by))
        assert charts(app) == 4
        assert app.subheader[0].value.startswith("Layer ")
        assert "whole split" in html(app), "a run without splits says so"


def test_spans_and_a_lone_head_work_or_say_why(show, tmp_path):
    app = fine(show(stores.write_lists(tmp_path / "lists"), "head", contrast="category:*", layer=1, head=1))
    assert charts(app) == 4
    assert "is the span of several contrasts" in html(app)
    where = stores.write(tmp_path / "lone", "boxes", stores.boxes(n=120, n_layers=1, n_heads=1, n_kv_heads=1))
    app = fine(show(where, "head", contrast="order"))
    assert "This run has no other head." in html(app)


def test_a_window_that_hides_the_keys_is_told_in_place(show, tmp_path):
    data = stores.boxes(n=120)
    data.layers = [layer | {"window": 1} for layer in data.layers]
    where = stores.write(tmp_path / "store", "boxes", data)
    app = show(where, "head", **HEAD | {"rank": "attention"})
    assert not app.exception
    assert app.metric[3].value == "–"
    assert "sees none of the" in html(app)
    assert "none has attention" in app.info[0].value
    assert charts(app) == 2, "spectrum and projection need no attention"


# -- what takes long -------------------------------------------------------------------------------------------------


def test_what_was_counted_is_kept_and_the_oldest_go(monkeypatch):
    kept: dict = {}
    monkeypatch.setattr(counted, "_found", lambda: kept)
    monkeypatch.setattr(counted, "MOST", 2)
    made = []
    monkeypatch.setattr(counted.job, "done", lambda key, work, *told: work(None))
    for name in ("a", "b", "c", "c"):
        counted.counted((name,), lambda progress, name=name: made.append(name) or name, "Counting", "{done} of {of}")
    assert made == ["a", "b", "c"]
    assert list(kept) == [("b",), ("c",)]


def test_a_comparison_that_is_cancelled_leaves_the_page_and_its_button(show, store, monkeypatch):

    def waits(key, work, title, told):
        near.st.button("Cancel", key=f"cancel-{title}")
        near.st.stop()

    monkeypatch.setattr(counted, "_found", dict)
    monkeypatch.setattr(near, "counted", waits)
    app = show(store, "head", **HEAD)
    next(b for b in app.button if b.label.startswith("Compare with")).click().run()
    next(b for b in app.button if b.label == "Cancel").click().run()
    assert [b.label for b in fine(app).button if b.label.startswith("Compare with")] == ["Compare with 7 other heads"]
    assert "Notes" in [e.label for e in app.expander], "the page goes on below"


def test_a_ranking_of_all_pairs_that_is_cancelled_says_so_and_the_page_goes_on(show, store):
    app = show(store, "head", **HEAD)
    app.session_state[f"cancel-{ranking.TITLE}"] = True
    app.segmented_control(key="url-among").set_value("all").run()
    assert "Cancelled" in app.info[0].value
    assert charts(app) == 3
