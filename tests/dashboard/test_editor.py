"""The editor of contrasts, hostile names and tokens, and what a page says reproduces it."""

from __future__ import annotations

import shlex

import pytest
import stores
from leaving import offers  # noqa: F401 -- a fixture
from test_pages import IMAGE, OVERRIDE, PAGES, SCRIPT, edit, html, own, store  # noqa: F401 -- fixtures

import qkstore
from qkstore import __main__ as cli


def test_a_typo_names_the_column_and_the_last_good_preview_stays(show, own):
    app = show(own, "contrasts", contrast="order")
    examples = html(app).count("qk-positive")
    assert examples > 0
    app = edit(app, "Preview", positive="k.order_di = q.queried_order")
    said = app.error[0].value.replace("\\", "")
    assert "order_di" in said
    assert "order_id" in said
    assert "Traceback" not in said
    assert "last preview that worked" in html(app)
    assert html(app).count("qk-positive") == examples


def test_saving_makes_versions_and_nothing_that_fails_is_saved(show, own):
    catalog = qkstore.open(own).catalog
    app = show(own, "contrasts", contrast="order")
    app = edit(app, "Save as a new version", name="mine", positive="k.order_id = 99")
    assert "0 positive" in app.error[0].value
    assert catalog.contrasts() == []
    app = edit(app, "Save as a new version", name="mine", positive="k.order_id = q.queried_order")
    assert [(c.name, c.version) for c in catalog.contrasts()] == [("mine", 1)]
    assert app.query_params["contrast"] in ("mine@1", ["mine@1"])
    assert "version 1" in app.success[0].value
    app = edit(app, "Save as a new version", negative="k.order_id > q.queried_order")
    assert [c.version for c in catalog.versions("mine")] == [1, 2]
    assert catalog.versions("mine")[0].negative == "k.order_id <> q.queried_order"
    assert show(own, "heads", contrast="mine").selectbox(key="url-contrast").value == "mine@2"


def test_user_sql_in_the_editor_cannot_write(show, own):
    app = show(own, "contrasts", shape="select")
    app = edit(app, "Preview", select="drop table token")
    assert app.error
    assert not app.exception
    assert qkstore.open(own).run("boxes").tokens(0)


# -- text that others wrote --------------------------------------------------------------------------------------


def test_hostile_tokens_are_escaped_and_hidden_characters_spelled_out(show, tmp_path):
    data = stores.hostile({5: SCRIPT, 12: OVERRIDE, 19: IMAGE})
    path = stores.write(tmp_path / "store", data=data)
    for page in ("contrasts", "attributions"):
        app = show(path, page)
        body = html(app)
        assert "<script" not in body
        assert "&lt;script&gt;" in body
        assert "\u202e" not in body
        assert "U+202E" in body
        assert not any(
            "\u202e" in frame.value.write_csv()
            if hasattr(frame.value, "write_csv")
            else "\u202e" in frame.value.to_csv()
            for frame in app.dataframe
        )
        shown = [e.value for e in [*app.markdown, *app.caption, *app.error, *app.warning, *app.info]]
        assert not any("<script" in s or IMAGE in s for s in shown)


def test_hostile_names_reach_no_markdown(show, own):
    name = f"a {IMAGE} **b** {SCRIPT}"
    order = next(c for c in qkstore.open(own).features(qkstore.open(own).run("boxes"))["order"])
    qkstore.open(own).catalog.save(order.replace(name=name, description=SCRIPT))
    app = show(own, "contrasts", contrast=name)
    assert not app.exception
    assert not app.error
    assert "<script" not in html(app)
    assert not any(IMAGE in s.value for s in [*app.subheader, *app.markdown, *app.info, *app.warning])


# -- the same without the dashboard ------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_says_reproduces_it(show, own, page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    app = show(own, page)
    commands, code = (next(c.value for c in app.code if c.language == language) for language in ("bash", "python"))
    for command in commands.splitlines():
        words = shlex.split(command)
        assert words[:3] == ["python", "-m", "qkstore"]
        assert cli.main(words[3:]) == 0
        assert capsys.readouterr().out
    exec(compile(code, page, "exec"), {})


def test_what_a_page_downloads_holds_no_formula(show, own, offers):
    order = next(c for c in qkstore.open(own).features(qkstore.open(own).run("boxes"))["order"])
    qkstore.open(own).catalog.save(order.replace(name="=1+1"))
    tables = []
    for page in ("contrasts", "attributions", "interventions"):
        assert not show(own, page, contrast="=1+1").exception
        tables.append(offers.pop("CSV").data.decode())
    cells = [c.strip('"') for text in tables for row in text.splitlines() for c in row.split(",")]
    assert "'=1+1" in cells
    assert not [c for c in cells if c.startswith(("=", "@"))]
