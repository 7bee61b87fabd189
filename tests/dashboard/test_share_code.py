"""The Python and the notebook of every page are run where the store lies, and give the page's numbers and its chart."""

from __future__ import annotations

import json
import re

import polars as pl
import pytest
from conftest import ROOT
from leaving import offers, texts  # noqa: F401 -- a fixture
from test_pages import PAGES, html, store  # noqa: F401 -- a fixture

from dashboard.share import files
from qkstore.analysis import attribution, head, swaps


def spectrum(subspace) -> pl.DataFrame:
    return head.spectrum(subspace.S, subspace.rank)


TABLES = {  # what a page's Python leaves, as the table of its page
    "head": ("pairs-logit", lambda names: names["found"].table),
    "heads": ("heads", lambda names: names["heads"].table(names["scores"], "accuracy")),
    "subspaces": ("singular-values", lambda names: spectrum(names["fitted"].subspace)),
    "projections": ("points", lambda names: names["points"].table),
    "interventions": ("swaps", lambda names: swaps.table([c.to_dict() for c in names["swaps"].conditions])),
    "attributions": ("logits", lambda names: attribution.table(names["parts"].tokens)),
}


def python(app) -> str:
    return next(c.value for c in app.code if c.language == "python")


@pytest.mark.parametrize("page", TABLES)
@pytest.mark.parametrize("contrast", ["order", "lexical"])
def test_the_python_of_a_page_gives_its_table(show, store, page, contrast, monkeypatch, capsys):
    app = show(store, page, contrast=contrast)
    monkeypatch.chdir(store.parent)
    exec(python(app), names := {})
    what, of = TABLES[page]
    shown = app.session_state["made"].tables[what]
    assert len(shown) > 3
    assert of(names).equals(shown, null_equal=True)
    assert capsys.readouterr().out, "it prints them"


def test_another_contrast_would_be_seen(show, store, monkeypatch):
    """The control: the numbers of one contrast are not those of another."""
    app = show(store, "heads", contrast="order")
    monkeypatch.chdir(store.parent)
    exec(python(app).replace("'order'", "'lexical'"), names := {})
    assert not TABLES["heads"][1](names).equals(app.session_state["made"].tables["heads"])


def test_the_python_of_contrasts_gives_its_sentence(show, store, monkeypatch, capsys):
    app = show(store, "contrasts", contrast="order")
    monkeypatch.chdir(store.parent)
    exec(python(app), {})
    counts = re.search(r"[\d,]+ positive", capsys.readouterr().out)[0]
    assert counts in html(app)


def test_the_python_of_overview_and_team_gives_their_rows(show, store, monkeypatch, capsys):
    overview, team = show(store, "overview"), show(store, "team")
    monkeypatch.chdir(store.parent)
    exec(python(overview), {})
    assert [line.split("'")[1] for line in capsys.readouterr().out.splitlines()] == ["boxes"]
    exec(python(team), {})
    assert len(capsys.readouterr().out.splitlines()) == len(team.session_state["made"].tables["changes"])


@pytest.fixture(scope="module")
def kernel():
    """A process of its own, one for all notebooks: each begins without the names of those before."""
    jupyter = pytest.importorskip("jupyter_client", reason="jupyter_client is not installed")
    manager = jupyter.KernelManager(kernel_name="python3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_notebook_of_a_page_runs_and_draws_the_chart_of_the_page(show, store, offers, page, kernel):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    preprocessors = pytest.importorskip("nbconvert.preprocessors", reason="nbconvert is not installed")
    app = show(store, page)
    notebook = nbformat.reads(offers["Notebook"].data.decode(), as_version=4)
    nbformat.validate(notebook)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f\nassert 'qkstore' not in dir()"))
    place = {"metadata": {"path": str(store.parent)}}
    preprocessors.ExecutePreprocessor(timeout=120).preprocess(notebook, place, km=kernel)
    _, _, code, *drawn = notebook.cells
    assert code.source == python(app).strip()
    figures = app.session_state["made"].figures
    assert bool(drawn) or page in ("overview", "team", "contrasts") or not figures
    if drawn:
        (output,) = [o for o in drawn[0].outputs if "data" in o]
        there = [texts(files.drawn(draw, "svg", 6.75, "", {})) for draw in figures.values()]
        assert texts(output.data["image/svg+xml"].encode()) in there
        assert len(texts(output.data["image/svg+xml"].encode())) > 3


def test_a_notebook_is_one_of_the_format_that_it_says(show, store, offers):
    show(store, "heads")
    made = json.loads(offers["Notebook"].data)
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5)
    assert made["metadata"]["kernelspec"]["name"] == "python3"
    assert [cell["cell_type"] for cell in made["cells"]] == ["markdown", "code", "code"]
    assert offers["Notebook"].name == "boxes-order-L1H2-Heads.ipynb"
    assert str(store) not in offers["Notebook"].data.decode(), "the folder of the server is not for visitors"
