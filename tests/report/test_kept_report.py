"""A report is kept in the catalogue: made once for all, anew where a run, a live result or the code changed."""

from __future__ import annotations

import lived
import pytest
import stores
from documents import Page

import qkstore
from qkstore import __main__ as cli
from qkstore.report import kept
from qkstore.report.render import pictures, to_html
from qkstore.report.report import report
from qkstore.store.catalog.person import Person
from qkstore.store.source import code_key


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return qkstore.open(stores.write(tmp_path_factory.mktemp("kept") / "store", n=200))


@pytest.fixture(scope="module")
def first(store):
    return kept.html(store, ["boxes"])


def test_it_is_the_report_that_is_made_without_a_catalogue(store, first):
    document = report(store, ["boxes"])
    page, without = Page(first.decode()), Page(to_html(document, pictures(document)))
    assert page.tags == without.tags
    assert len(page.pictures) == len(without.pictures) > 3


def test_it_is_made_once_for_all_who_use_the_store(store, first, monkeypatch, tmp_path, capsys):
    made = store.catalog.made(kept.key(store, ["boxes"]))
    assert (made["kind"], made["run"], made["content"]) == ("report", "boxes", store.run("boxes").digest)
    assert made["code"] == code_key()[:16]
    monkeypatch.setattr(kept, "report", None)
    assert kept.html(qkstore.open(store.path), ["boxes", "boxes"]) == first, "nothing was computed"
    out = tmp_path / "report.html"
    assert cli.main(["report", "--store", str(store.path), "--run", "boxes", "--out", str(out)]) == 0
    assert out.read_bytes() == first
    monkeypatch.setattr(kept, "key", lambda *_: "of another")
    with pytest.raises(TypeError):
        kept.html(store, ["boxes"])  # control: it would have been made


def test_what_decides_it_is_in_its_key(store, monkeypatch):
    keys = [kept.key(store, ["boxes"])]
    lived.keep(store, "boxes")
    keys.append(kept.key(store, ["boxes"]))
    lived.keep(store, "boxes", seed=1)
    keys.append(kept.key(store, ["boxes"]))
    with monkeypatch.context() as patch:
        patch.setattr(kept, "code_key", lambda: "another version")
        keys.append(kept.key(store, ["boxes"]))
    assert len(set(keys)) == 4
    assert kept.key(store, ["boxes"]) == keys[2]


def test_a_viewer_gets_it_and_keeps_nothing(store, first, monkeypatch):
    monkeypatch.setattr(kept, "code_key", lambda: "yet another version")
    monkeypatch.setattr(kept, "to_html", lambda *_: "<p>small</p>")
    viewer = store.acting(Person("vera", "viewer"))
    assert kept.html(viewer, ["boxes"]) == b"<p>small</p>"
    assert store.catalog.result(kept.key(store, ["boxes"])) is None
