"""A report is kept in the catalogue: made once for all, anew where a run, a live result or the code changed."""

from __future__ import annotations

import base64
import zlib

import lived
import pytest
import stores
from documents import Page

import qkstore
from qkstore import __main__ as cli
from qkstore.report import kept
from qkstore.report.document import Document
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
    monkeypatch.setattr(kept, "pictures", lambda *_: dict.fromkeys((f.name for f in _[0].figures), b"<svg/>"))
    viewer = store.acting(Person("vera", "viewer"))
    assert b"</figure>" in kept.html(viewer, ["boxes"])
    assert store.catalog.result(kept.key(store, ["boxes"])) is None


def test_another_run_of_the_same_content_has_a_report_of_its_own(store):
    (store.path / "runs" / "renamed.duckdb").symlink_to(store.path / "runs" / "boxes.duckdb")
    assert kept.key(store, ["boxes"]) != kept.key(store, ["renamed"])
    (store.path / "runs" / "renamed.duckdb").unlink()


def packed(main: bytes) -> dict:
    return {"title": "<b>planted</b>", "main": base64.b64encode(zlib.compress(main)).decode()}


@pytest.mark.parametrize(
    "payload",
    [
        3, "text", [], {}, {"title": "x"}, {"title": "x", "main": "no base64!"}, {"title": "x", "main": "AAAA"},
        packed(b"<script>alert(1)</script>"), packed(b"</main><SCRIPT src=x>"), packed(b"<meta http-equiv=refresh>"),
        packed(b"<iframe src=x>"), packed(b"\xff\xfe"), {"title": 7, "main": packed(b"x")["main"] + "\n"},
    ],
)  # fmt: skip
def test_what_somebody_else_kept_there_is_no_page(store, payload, monkeypatch):
    monkeypatch.setattr(kept, "key", lambda *_: repr(payload))
    store.catalog.keep_result(repr(payload), "report", "boxes", "", payload)
    monkeypatch.setattr(kept, "report", lambda *_: Document("made anew", (), ()))
    assert b"made anew" in kept.html(store, ["boxes"])


def test_what_goes_through_runs_nothing_and_fetches_nothing(store, monkeypatch):
    """The page's policy comes first, whatever else is kept; its title is escaped."""
    monkeypatch.setattr(kept, "key", lambda *_: "planted")
    store.catalog.keep_result("planted", "report", "boxes", "", packed(b"<img src=x onerror=alert(1)>"))
    page = kept.html(store, ["boxes"]).decode()
    policy = page.index("Content-Security-Policy")
    assert "default-src 'none'" in page
    assert policy < page.index("<title>") < page.index("onerror")
    assert "<b>planted" not in page


def test_a_page_that_grows_without_end_is_cut(store, monkeypatch):
    monkeypatch.setattr(kept, "key", lambda *_: "bomb")
    monkeypatch.setattr(kept, "MOST_PAGE", 1000)
    store.catalog.keep_result("bomb", "report", "boxes", "", packed(b"x" * 1_000_000))
    assert len(kept.html(store, ["boxes"])) < 20_000
