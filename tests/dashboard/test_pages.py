"""The pages, run without a browser on a small store.

With data, without, with bad addresses, and with text that means harm.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import stores
import waits
from streamlit.testing.v1 import AppTest

import qkstore
from dashboard import job, shell
from qkstore.analysis.heads import best
from qkstore.contrast import Contrast

PAGES = [
    name for names in shell.GROUPS.values() for name in names if name != "toy"
]  # it needs toy runs: test_toy_page.py
SCRIPT = "<script>window.harm=1</script>"
IMAGE = "![x](http://example.com/x.png)"
OVERRIDE = "\u202egnp"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return stores.write(tmp_path_factory.mktemp("boxes") / "store")


@pytest.fixture(scope="module")
def lists(tmp_path_factory) -> Path:
    return stores.write_lists(tmp_path_factory.mktemp("lists") / "store")


@pytest.fixture
def own(tmp_path) -> Path:
    """A store that a test may write to."""
    return stores.write(tmp_path / "store")


def html(app: AppTest) -> str:
    return "\n".join(e.proto.body for e in app.get("html"))


def edit(app: AppTest, button: str, **fields) -> AppTest:
    for name, value in fields.items():
        place = [e for e in [*app.text_area, *app.text_input] if e.label.lower().startswith(name)]
        place[0].set_value(value)
    next(b for b in app.button if b.label == button).click()
    return app.run()


def charts(app: AppTest) -> int:
    """Charts, and pictures of points."""
    pictures = [e for e in app.get("bidi_component") if "xyz" in e.proto.json]
    return len(app.get("vega_lite_chart")) + len(app.get("arrow_vega_lite_chart")) + len(pictures)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_a_chart_or_table_and_no_error(show, store, page):
    app = show(store, page)
    assert [t.value for t in app.title] == [page.capitalize()]
    assert not app.error
    assert not app.exception
    assert not app.warning
    assert charts(app) + len(app.dataframe) > 0 or page == "notes"  # of which this store has none
    assert len(app.metric) == 4


@pytest.mark.parametrize("page", [page for page in PAGES if page != "team"])
def test_every_page_of_an_empty_store_says_what_to_do(show, tmp_path, page):
    qkstore.open(tmp_path / "store", create=True)
    app = show(tmp_path / "store", page)
    assert app.info[0].value.startswith("This store has no runs yet")
    assert any("python -m ingest demo" in c.value for c in app.code)
    assert not app.exception
    assert not app.error
    assert charts(app) == 0


@pytest.mark.parametrize("page", PAGES)
def test_no_page_goes_around_the_login(show, store, page, monkeypatch):
    monkeypatch.setattr(shell, "login", shell.st.stop)
    assert not show(store, page).title
    monkeypatch.setattr(shell, "login", lambda: None)
    assert show(store, page).title


def test_a_missing_store_is_one_line(show, tmp_path):
    app = show(tmp_path / "nowhere", "heads")
    assert [e.value.startswith("no store at") for e in app.error] == [True]
    assert not app.exception
    assert "nowhere" in app.error[0].value
    assert tmp_path.name not in app.error[0].value, "the folder of the server is not for visitors"


def test_a_damaged_run_is_named_and_the_others_work(show, own):
    (own / "runs" / "broken.duckdb").write_bytes(b"not a database" * 100)
    app = show(own, "overview")
    assert len(app.warning) == 1
    assert "broken" in app.warning[0].value
    assert app.dataframe[0].value["run"].to_list() == ["boxes"]


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"run": "boxs"}, "boxes"),
        ({"contrast": "ordr"}, "did you mean"),
        ({"layer": "99", "head": "0"}, "99"),
        ({"layer": "0", "head": "-1"}, "1"),
        ({"layer": "x"}, "x"),
    ],
)
def test_a_bad_address_is_told_and_the_default_shown(show, store, choices, said):
    app = show(store, "subspaces", **choices)
    assert len(app.warning) == 1
    assert said in app.warning[0].value.replace("\\", "")
    assert not app.error
    assert not app.exception
    assert charts(app) > 0


@pytest.mark.parametrize("prompt", [10**9, "9" * 5000, "0" * 5000, "\u0663" * 5000, "x" * 100_000])
def test_a_bad_prompt_in_the_address_shows_the_first_one(show, store, prompt):
    app = show(store, "attributions", prompt=prompt)
    assert len(app.warning) == 1
    assert len(app.warning[0].value) < 1000
    assert charts(app) == 2
    assert (
        show(store, "attributions", prompt=3).selectbox(key="url-prompt").value == 3
    )  # a train prompt, not among those listed


def test_the_url_sets_the_widgets_and_a_widget_sets_the_url(show, store):
    app = show(store, "subspaces", run="boxes", contrast="lexical", layer=0, head=3)
    assert [app.selectbox(key=f"url-{n}").value for n in ("run", "contrast", "layer", "head")] == [
        "boxes",
        "lexical",
        0,
        3,
    ]
    norm = app.metric[1].value
    app.selectbox(key="url-layer").select(1).run()
    assert app.query_params["layer"] in ("1", ["1"])
    assert app.metric[1].value != norm
    app.query_params["layer"] = "0"  # what Back does
    app.run()
    assert app.selectbox(key="url-layer").value == 0
    assert app.metric[1].value == norm


def test_without_a_head_in_the_url_the_best_one_is_shown(show, store):
    run = qkstore.open(store).run("boxes")
    from qkstore.analysis.heads import heads

    top = best(heads(run, qkstore.open(store).feature(run, "lexical")[0]))
    app = show(store, "interventions", contrast="lexical")
    assert (app.selectbox(key="url-layer").value, app.selectbox(key="url-head").value) == (top.layer, top.head)
    assert (top.layer, top.head) != (0, 0)


def test_a_head_without_negative_keys_in_its_prompts_has_no_ratio_and_no_empty_interval(show, store):
    """The negative keys of lexical stand in another prompt."""
    app = show(store, "heads", run="boxes", contrast="lexical", layer=1, head=0)
    texts = " ".join(h.proto.body for h in app.get("html"))
    assert "no ratio without attention on negative keys" in texts
    assert "–––" not in texts
    assert "on negative ones" not in texts


@pytest.mark.parametrize("name", ["order", "order-centred", "lexical", "authors/order", "authors/lexical"])
def test_every_built_in_contrast_of_boxes_shows_on_every_page(show, store, name):
    for page in PAGES[1:]:
        app = show(store, page, contrast=name)
        assert not app.exception, (page, [e.value for e in app.error])
        assert not app.error, (page, [e.value for e in app.error])
        assert charts(app) + len(app.dataframe) > 0 or page == "notes"


@pytest.mark.parametrize("name", ["category", "category:*", "category:fruit", "authors/category:fruit"])
def test_every_built_in_contrast_of_lists_shows_on_every_page(show, lists, name):
    for page in PAGES[1:]:
        app = show(lists, page, contrast=name)
        assert not app.exception, (page, [e.value for e in app.error])
        assert not app.error, (page, [e.value for e in app.error])
        assert charts(app) + len(app.dataframe) > 0 or page == "notes"


def test_another_run_drops_what_it_has_not_and_keeps_what_it_has(show, own):
    stores.write_lists(own)
    app = show(own, "subspaces", run="boxes", contrast="lexical", layer=0, head=3)
    app.selectbox(key="url-run").select("lists").run()
    assert "contrast" not in app.query_params
    assert not app.warning
    assert not app.error
    assert [app.selectbox(key=f"url-{n}").value for n in ("run", "contrast", "layer", "head")] == [
        "lists",
        "category",
        0,
        3,
    ]


def test_a_run_without_contrasts_leads_to_the_editor(show, tmp_path):
    data = stores.boxes(64)
    data.prompts = data.prompts.drop("queried_order")
    path = stores.write(tmp_path / "store", data=data)
    assert "Write one to go on" in show(path, "heads").info[0].value
    app = show(path, "contrasts")
    assert not app.error
    assert not app.exception
    assert app.text_area
    app = edit(app, "Preview", positive="k.order_id = 1", negative="k.order_id = 2")
    assert not app.error
    assert "qk-positive" in html(app)


def test_a_head_without_any_contrast_leaves_the_rest_of_the_page(show, tmp_path):
    data = stores.boxes()
    data.k[0, 0] = 1.0  # the keys of layer 0, heads 0 and 1 are all the same: ΔC is exactly zero
    path = stores.write(tmp_path / "store", data=data)
    app = show(path, "heads", contrast="order", layer=0, head=0)
    assert "ΔC is zero" in app.info[0].value
    assert not app.error
    assert len(app.dataframe) == 1
    app = show(path, "subspaces", contrast="order", layer=0, head=0)
    assert "ΔC is zero" in app.error[0].value
    assert not app.exception


def test_scoring_counts_and_can_be_cancelled(show, own, monkeypatch):
    ended = threading.Event()

    def slow(store, run, contrast, progress, arrived, pool):
        try:
            while True:
                progress(1, 8)
                time.sleep(0.01)
        finally:
            ended.set()

    monkeypatch.setattr("qkstore.analysis.heads.kept", slow)
    monkeypatch.setattr(job.Job, "ended", waits.leaves())
    app = show(own, "heads")
    assert ended.wait(job.LEAVE_S + 30), "nobody waits for it any more"
    assert "Scored 1 of 8 heads" in app.get("progress")[0].proto.text
    assert not app.metric
    next(b for b in app.button if b.label == "Cancel").click()
    app.run()
    assert app.info[0].value.startswith("Cancelled")
    assert not app.get("progress")


def test_a_contrast_that_cannot_be_scored_leaves_no_progress_behind(show, own):
    qkstore.open(own).catalog.save(
        Contrast(name="elsewhere", where="k.prompt_id = q.prompt_id", positive="k.pos < -3", negative="k.pos >= 3")
    )
    app = show(own, "heads", contrast="elsewhere")
    assert len(app.error) == 1
    assert "0 positive" in app.error[0].value
    assert not app.get("progress")
    assert not app.button


def test_a_bug_is_one_line_and_its_details_are_in_the_log_alone(show, own, monkeypatch, caplog):
    def broken(*_, **__):
        raise ValueError("boom")

    monkeypatch.setattr("qkstore.analysis.heads.kept", broken)
    app = show(own, "heads")
    assert "ValueError" in app.error[0].value
    assert "boom" not in app.error[0].value
    assert not app.exception
    assert not app.code
    (record,) = [r for r in caplog.records if r.name == "dashboard.shell"]
    assert "boom" in caplog.text
    assert record.args[0] in app.error[0].value


def test_a_contrast_with_an_empty_side_is_one_line_with_its_counts(show, own):
    qkstore.open(own).catalog.save(Contrast("lopsided", positive="k.role = 'nothing'", negative="k.role = 'box'"))
    for page in (page for page in PAGES[1:] if page not in ("runs", "discover", "notes", "team")):
        app = show(own, page, contrast="lopsided")
        assert len(app.error) >= 1, page
        assert "0 positive" in app.error[0].value.replace("\\", ""), page
        assert not app.exception
    assert app.title
    assert show(own, "contrasts", contrast="lopsided").text_area, "the editor is there to mend it"


# -- the editor --------------------------------------------------------------------------------------------------
