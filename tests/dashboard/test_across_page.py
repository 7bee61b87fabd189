"""All heads on the page of components: the map, what it may be coloured by, what is kept, clusters, and long waits."""

from __future__ import annotations

import dataclasses
from html import unescape

import numpy as np
import pytest
import stores
import synthetic
from test_pages import charts, html

import qkstore
from dashboard.components import across as pages
from dashboard.components import clusters as shared
from qkstore.analysis.decomposition import COUNTED, across
from qkstore.text import head_name

ALL = {"run": "boxes", "heads": "all"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two layers of four heads; layer 0 heads 0 and 1 are those of layer 1 in another basis. And one that has none."""
    path, data = tmp_path_factory.mktemp("across") / "store", synthetic.synthetic(600)
    M = np.random.default_rng(0).standard_normal((synthetic.D, synthetic.D))
    data.q[0, :2], data.k[0, 0] = data.q[1, :2] @ M, data.k[1, 0] @ np.linalg.inv(M).T
    data.logsumexp[0, :2] = data.logsumexp[1, :2]
    data.q[0, 2] = data.q[0, 2, 0]
    synthetic.write(path, "boxes", data)
    few = synthetic.synthetic(64)
    few.q[:] = few.q[:, :, :1]
    synthetic.write(path, "nothing", few)
    synthetic.write(path, "bare", stores.bare())
    stores.write(path, "plain")
    return path


def well(app):
    assert not app.exception
    assert not app.error
    assert not app.warning
    return app


def table(app, column: str):
    return next(d.value for d in app.dataframe if column in d.value.columns)


def buttons(app, start: str) -> list:
    return [b for b in app.button if b.label.replace("\\", "").startswith(start)]


def test_the_map_stands_with_figures_and_the_heads_by_number(show, store):
    app = well(show(store, "components", **ALL))
    rows = across.counts(qkstore.open(store).run("boxes"))
    has = [r for r in rows if r.number]
    figures = {m.label: m for m in app.metric}
    assert figures["Heads with components"].value == f"{len(has)}"
    assert figures["Components"].value == f"{sum(r.number for r in has)}"
    assert figures["Unnamed"].value == f"{sum(r.n_unnamed for r in has)}"
    assert charts(app) == 1
    top = [r for r in has if r.number == max(r.number for r in has)]
    named = [head_name(r.layer, r.head) for r in top]
    assert next(iter(table(app, "of")["of"])) in [name.replace("\u00a0", " ") for name in named]
    assert figures["Most components"].value == (named[0] if len(top) == 1 else f"{len(top)} heads")
    assert f"{across.statement(rows)} {across.ROUGH}" in html(app)
    assert "1 head without: queries of this head are all the same" in html(app)


def test_of_heads_that_tie_for_most_components_none_stands_for_all(show, store, monkeypatch):
    """The control is the one head of most, whose interval is told."""
    rows = across.counts(qkstore.open(store).run("boxes"))
    top = max(rows, key=lambda r: r.number or 0)
    others = [dataclasses.replace(top, head=head, number=top.number - 1) for head in range(4) if head != top.head]

    def shown(*heads) -> tuple[str, str]:
        monkeypatch.setattr(pages, "_rows", lambda view: list(heads))
        figure = next(m for m in well(show(store, "components", **ALL)).metric if m.label == "Most components")
        return figure.value, figure.delta.replace("\\", "")

    low, high = top.interval
    assert shown(top, *others) == (head_name(top.layer, top.head), f"{top.number} [{low}, {high}]")
    tied = [dataclasses.replace(top, head=head) for head in range(4)]
    names = ", ".join(head_name(top.layer, head) for head in range(4))
    one = dataclasses.replace(top, layer=1 - top.layer, number=1)
    assert shown(*tied, one) == ("4 heads", f"{top.number} each: {names}")


@pytest.mark.parametrize("by", COUNTED)
def test_the_map_is_coloured_by_what_the_address_says(show, store, by):
    app = well(show(store, "components", **ALL, by=by))
    assert app.selectbox(key="url-by").value == by
    assert COUNTED[by][1] in unescape(html(app))


def test_results_that_are_kept_are_shown_without_work(show, store, monkeypatch):
    well(show(store, "components", **ALL))
    pages._kept().clear()
    shared._kept().clear()
    monkeypatch.setattr(pages, "kept_counts", lambda *_, **__: pytest.fail("computed anew"))
    monkeypatch.setattr(shared, "kept_clusters", lambda *_, **__: pytest.fail("computed anew"))
    app = well(show(store, "components", **ALL))
    assert charts(app) == 1
    assert "shared by several heads" in html(app)


def test_the_clusters_have_names_and_lead_to_their_members(show, store):
    app = well(show(store, "components", **ALL, cluster=0))
    rows = table(app, "members")
    assert rows["name"][0] == "order (queried_order = order_id)"
    assert rows["heads"][0] == 4
    members = buttons(app, "L0")
    assert members
    app = well(members[0].click().run())
    at = {name: app.query_params[name] for name in ("layer", "head", "component")}
    assert {name: np.ravel(value)[0] for name, value in at.items()} | {"layer": "0"} == {
        name: np.ravel(value)[0] for name, value in at.items()
    }
    assert "heads" not in app.query_params
    assert app.metric[0].label.startswith(f"Components of {head_name(0, int(np.ravel(at['head'])[0]))}")


def test_a_cluster_that_is_not_there_is_told(show, store):
    app = show(store, "components", **ALL, cluster=900)
    assert any("is not here" in w.value for w in app.warning)
    assert not app.exception


def test_a_run_without_labels_has_unnamed_ones(show, store):
    unnamed = {}
    for run in ("boxes", "bare"):
        app = well(show(store, "components", run=run, heads="all", by="unnamed"))
        figures = {m.label: int(m.value) for m in app.metric if m.value.isdecimal()}
        unnamed[run] = figures["Unnamed"] / figures["Components"]
    assert unnamed["bare"] > unnamed["boxes"] + 0.2


def test_a_run_without_a_test_split_says_so(show, tmp_path):
    synthetic.write(tmp_path / "store", "trained", stores.without_test())
    for which in ("all", "one"):
        app = show(tmp_path / "store", "components", run="trained", heads=which, layer=1, head=0)
        assert not app.exception
        assert ["There is no test split" in w.value for w in app.warning] == [True], which


def test_a_run_whose_heads_choose_nothing_says_so(show, store):
    app = well(show(store, "components", run="nothing", heads="all"))
    assert "None of 8 heads has a component; 8 have nothing to choose." in html(app)
    assert "nothing to compare" in html(app)
    assert {m.label: m.value for m in app.metric}["Most components"] == "–"


def test_many_heads_wait_for_a_person_and_so_do_their_clusters(show, tmp_path, monkeypatch):
    synthetic.write(tmp_path / "store", "boxes", synthetic.synthetic(200))
    monkeypatch.setattr(pages, "AT_ONCE", 4)
    monkeypatch.setattr(shared, "AT_ONCE", 1)
    app = well(show(tmp_path / "store", "components", **ALL))
    assert charts(app) == 0
    assert "The components of 8 heads are found" in html(app)
    app = well(buttons(app, "Find the components")[0].click().run())
    assert charts(app) == 1
    assert "shared by several heads" not in html(app)
    app = well(buttons(app, "Compare the components of")[0].click().run())
    assert "shared by several heads" in html(app)


def test_one_heads_page_is_as_it_was_and_the_choice_leads_to_all(show, store):
    app = well(show(store, "components", run="boxes", layer=1, head=0))
    assert app.metric[0].label == f"Components of {head_name(1, 0)}"
    for page in ("overview", "heads"):
        links = [e.proto for e in well(show(store, page, run="plain")).get("page_link")]
        assert [link.page for link in links if "heads=all" in link.query_string] == ["components"], page


def test_it_is_made_again_by_a_command_and_by_python(show, store, monkeypatch, capsys):
    app = well(show(store, "components", **ALL))
    code = "\n".join(c.value for c in app.code)
    assert "--all --names" in code
    assert "--all --clusters" in code
    python = next(c.value for c in app.code if "kept_counts" in c.value)
    monkeypatch.chdir(store.parent)
    exec(python, names := {})
    assert names["table"].equals(app.session_state["made"].tables["components of all heads"], null_equal=True)
    assert "shared" not in capsys.readouterr().err
