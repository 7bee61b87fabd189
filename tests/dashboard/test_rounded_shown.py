"""Every page, command and report says of a run that its vectors are rounded; of one of floats it says nothing."""

from __future__ import annotations

import json

import pytest
import stores
from test_pages import charts, html

import qkstore
from dashboard import shell
from qkstore.__main__ import main
from qkstore.report.report import facts
from qkstore.report.study import Study

PAGES = [name for names in shell.GROUPS.values() for name in names if name not in ("toy", "team", "notes", "overview")]
SAID = "ectors rounded to 16 bits"


@pytest.fixture(scope="module")
def rounded(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("rounded") / "store", n=120, store_dtype="int16")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("plain") / "store", n=120)


def shown(app) -> str:
    tables = " ".join(str(table.value.to_dict()) for table in app.dataframe)
    return html(app) + tables + " ".join(text.value for text in (*app.caption, *app.markdown))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_it(show, rounded, page):
    app = show(rounded, page)
    assert not app.error
    assert not app.exception
    assert charts(app) + len(app.dataframe) > 0
    assert SAID in shown(app)


@pytest.mark.parametrize("page", ["runs", "interventions"])
def test_a_page_of_floats_does_not(show, plain, page):
    assert SAID not in shown(show(plain, page))


def test_the_list_of_runs_says_it(rounded, plain, capsys):
    for store, kind in ((rounded, "int16"), (plain, "float32")):
        assert main(["runs", "--store", str(store), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[0]["store_dtype"] == kind
        assert main(["runs", "--store", str(store)]) == 0
        assert (SAID in capsys.readouterr().out) == (kind == "int16")


def test_the_head_of_a_report_says_it(rounded, plain):
    told = [facts(Study(store, store.run("boxes")))["vectors"] for store in map(qkstore.open, (rounded, plain))]
    assert SAID in told[0]
    assert "1 of 65,534 parts" in told[0]
    assert told[1].endswith("a head, float32")
