"""The page of toy runs: the grid, the head chosen, what leads there and away.

It also says what is missing where there is nothing.
"""

from __future__ import annotations

import json
import shlex
import threading
from pathlib import Path

import pytest
import stores
import toys
import waits
from leaving import about, offers, svg, texts  # noqa: F401 -- a fixture
from test_browser import CHROMIUM, Server, tab_of

import qkstore
from dashboard import job, results, shell
from dashboard.share import files
from ingest import __main__ as ingest
from qkstore import __main__ as cli
from qkstore import toy

NAME = "toy-discrete-d8-{}-{}-short"
SIDEWAYS = "[...document.querySelectorAll('.stVegaLiteChart')].filter(c => c.scrollWidth > c.clientWidth + 1).length"
CHARTS = 4  # ranks, accuracy, swaps, G; points are a component


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = toys.write(tmp_path_factory.mktemp("toys") / "store")
    stores.write(path)
    return path


@pytest.fixture(autouse=True)
def forgotten():
    results._ranks().clear()


def html(app) -> str:
    return "\n".join(e.proto.body for e in app.get("html"))


def charts(app) -> int:
    return len(app.get("vega_lite_chart")) + len(app.get("arrow_vega_lite_chart"))


def shown(app) -> str:
    """The ranks of the head on the page."""
    return next(s.value for s in app.subheader if s.value.startswith("The head"))


def test_the_grid_and_the_head_chosen(show, store):
    app = show(store, "toy")
    assert [t.value for t in app.title] == ["Toy"]
    assert not app.error
    assert not app.exception
    assert not app.warning
    assert charts(app) == CHARTS
    assert shown(app) == "The head of r1 = 2, r2 = 3"
    assert app.metric[0].value == "4 of 4"
    assert app.metric[3].value == "Feature split"
    measured = qkstore.open(store).run(NAME.format(2, 3)).measures
    assert app.metric[2].value == f"{measured['accuracy']:.1%}".replace("%", " %")
    assert f"{measured['bound']:.1%}".replace("%", " %") in app.metric[2].delta.replace("\\", "")
    assert not app.get("progress")
    assert "largest q·c" in html(app)
    filters = [s.label for s in app.selectbox if s.key.startswith("url-")]
    assert filters == ["Latents", "d_head"], "one recipe, seed and noise: nothing to choose"


def test_a_run_in_the_address_is_the_head_and_a_latent_the_contrast(show, store):
    app = show(store, "toy", run="toy-continuous-d8-6-6-short", contrast="z2")
    assert shown(app) == "The head of r1 = 6, r2 = 6"
    assert app.metric[3].value == "Superposition"
    assert app.selectbox(key="url-variant").value == "continuous"
    assert "keys on V of z2&#x27;s subspace" in html(app)
    assert "largest q·c" not in html(app), "Gaussian latents have no codes"


def test_another_variant_keeps_the_ranks_and_takes_the_links_along(show, store):
    app = show(store, "toy", run=NAME.format(6, 6))
    app.selectbox(key="url-variant").select("continuous").run()
    assert shown(app) == "The head of r1 = 6, r2 = 6"
    assert not app.warning
    carried = {"run": "toy-continuous-d8-6-6-short", "layer": "0", "head": "0", "contrast": "z1"}
    assert all(app.query_params[name] in (value, [value]) for name, value in carried.items())


def test_another_run_or_contrast_in_the_address_does_no_harm(show, store):
    app = show(store, "toy", run="boxes", contrast="order", layer=1, head=3)
    assert not app.warning
    assert not app.error
    assert shown(app) == "The head of r1 = 2, r2 = 3"
    app = show(store, "toy", variant="quantum", basis="sheared")
    assert len(app.warning) == 2
    assert "quantum" in app.warning[0].value
    assert charts(app) == CHARTS


def test_three_dimensions_and_the_balanced_basis(show, store):
    flat, deep = show(store, "toy"), show(store, "toy", plot="3d", basis="balanced")
    assert not deep.error
    assert not deep.exception
    assert charts(deep) == charts(flat) == CHARTS
    sent = [c.proto for app in (flat, deep) for c in app.get("bidi_component") if c.proto.component_name == "space"]
    assert len(sent) == 2
    assert sent[0] != sent[1]


@pytest.mark.parametrize("page", ["heads", *shell.GROUPS["Explain"]])
def test_a_toy_head_opens_on_the_ordinary_pages(show, store, page):
    app = show(store, page, run=NAME.format(2, 3), contrast="z1", layer=0, head=0)
    assert not app.error
    assert not app.exception
    assert not app.warning
    assert len(app.metric) == 4


def test_a_store_without_toy_runs_says_how_to_make_them(show, tmp_path):
    app = show(stores.write(tmp_path / "store"), "toy")
    assert app.info[0].value.startswith("This store has no toy runs yet")
    assert not charts(app)
    assert not app.error
    assert not app.metric
    words = shlex.split(app.code[0].value)
    assert words[:3] == ["python", "-m", "ingest"]
    assert ingest.parser().parse_args(words[3:]).store == "store"


def test_an_empty_store_says_what_any_page_says(show, tmp_path):
    qkstore.open(tmp_path / "store", create=True)
    assert "no runs yet" in show(tmp_path / "store", "toy").info[0].value


def test_ranks_are_counted_while_they_are_recovered_and_kept(show, store, monkeypatch):
    asked, left = [], threading.Event()

    def slow(run):
        asked.append(run.name)
        if len(asked) == 3:
            assert left.wait(60)
        return toy.Recovered((2, 3), (2, 3))

    monkeypatch.setattr(toy, "recovered", slow)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(job.Job, "ended", waits.leaves((2, 3)))
        app = show(store, "toy")
    assert "the ranks of 2 of 3 heads" in app.get("progress")[0].proto.text
    assert not app.metric
    left.set()
    app.run()
    assert len(asked) in (3, 4), "those that were done are kept, the third too if it was done meanwhile"
    assert len(set(asked)) == 3, "those that were done are kept"
    assert not app.get("progress")
    assert len(app.metric) == 4


def test_recovering_can_be_cancelled(show, store, monkeypatch):
    asked, cancelled = [], threading.Event()

    def slow(run):
        asked.append(run.name)
        assert cancelled.wait(60)
        return toy.Recovered((2, 3), (2, 3))

    monkeypatch.setattr(toy, "recovered", slow)
    monkeypatch.setattr(job._jobs(), "leave_s", 0.0)
    monkeypatch.setattr(job.Job, "ended", waits.leaves())
    app = show(store, "toy")
    next(b for b in app.button if b.label == "Cancel").click()
    app.run()
    assert app.info[0].value.startswith("Cancelled")
    assert not app.get("progress")
    cancelled.set()
    assert waits.nobody()
    assert len(asked) == 1, "the last one to leave ends it"


def test_the_overview_has_one_link_for_all_toy_runs(show, store, tmp_path):
    links = [link.proto.label for link in show(store, "overview").get("page_link")]
    toys_, heads = [x for x in links if "toy runs" in x], [x for x in links if "which heads carry" in x]
    assert len(toys_) == 1
    assert toys_[0].startswith("6 ")
    assert len(heads) == 1
    assert heads[0].startswith("boxes")
    assert not [
        x
        for x in (link.proto.label for link in show(stores.write(tmp_path / "store"), "overview").get("page_link"))
        if "toy runs" in x
    ]


def test_what_the_page_says_reproduces_it(show, store, capsys, monkeypatch):
    monkeypatch.chdir(store.parent)
    app = show(store, "toy", run=NAME.format(3, 2))
    command, code = (next(c.value for c in app.code if c.language == language) for language in ("bash", "python"))
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "qkstore"]
    assert cli.parser().parse_args(words[3:]).store == store.name
    exec(compile(code, "toy", "exec"), names := {})
    assert names["run"].name == NAME.format(3, 2)
    assert "Recovered(ranks=(3, 2)" in capsys.readouterr().out


@pytest.mark.parametrize("plot", ["2d", "3d"])
def test_its_charts_leave_it_as_figures(show, store, plot, offers, monkeypatch):
    """Of points, in three dimensions too, the figure is the flat pictures."""
    app = show(store, "toy", run=NAME.format(3, 2), plot=plot)
    made = app.session_state["made"]
    assert "points" in made.figures
    assert len(made.figures) == charts(app) + 1
    for what, draw in made.figures.items():
        assert svg(files.drawn(draw, "svg", 3.25, what, {})).get("width") == "3.25in"
    assert about(offers["SVG"].data)["run"] == NAME.format(3, 2)
    monkeypatch.chdir(store.parent)
    *_, code, drawn = json.loads(offers["Notebook"].data)["cells"]
    exec(code["source"], names := {})
    exec(drawn["source"], names)
    page = files.drawn(made.figures["G"], "svg", 6.75, "", {})
    assert texts(files.drawn(lambda dark: names["chart"], "svg", 6.75, "", {})) == texts(page)


@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"no browser at {CHROMIUM}; name one in $CHROMIUM")
def test_a_click_on_a_cell_chooses_that_head(store, tmp_path):
    server = Server(store, tmp_path / "server.log")
    try:
        with tab_of(server, tmp_path / "profile", 1280, 1400) as tab:
            tab.open("toy")
            for chart, (r1, r2) in enumerate(((6, 6), (3, 2))):  # in the map of ranks, then in that of accuracy
                place = tab.page.locator("[data-testid=stVegaLiteChart]").nth(chart)
                place.locator(f'[aria-roledescription="rect mark"][aria-label*="r1: {r1}; r2: {r2}"]').first.click()
                title = tab.page.get_by_text(f"The head of r1 = {r1}, r2 = {r2}")
                assert tab.becomes(title.count, 1)
                assert f"run={NAME.format(r1, r2)}" in tab.page.url
                assert "contrast=z1" in tab.page.url
            assert all(
                url.startswith((server.url, server.url.replace("http", "ws"), "data:", "blob:")) for url in tab.fetched
            )
            tab.page.set_viewport_size({"width": 820, "height": 960})
            assert tab.becomes(lambda: tab.page.evaluate(SIDEWAYS), 0)
    finally:
        server.end()
