"""Sections that a store cannot fill say why; a bug is not told as an absent section."""

from __future__ import annotations

import pytest
import stores
import synthetic
from test_study import ABSENT, sections

import qkstore
from qkstore import __main__ as cli
from qkstore.errors import ContrastError, RunError
from qkstore.report import render
from qkstore.report import report as whole
from qkstore.report.report import report
from qkstore.report.study import Study


def test_a_run_of_one_kind_says_what_is_absent(tmp_path):
    stores.write(tmp_path, "boxes", stores.boxes(n=200))
    document = report(qkstore.open(tmp_path), ["boxes"])
    assert [c.name for c in document.chapters] == ["no-lists", "boxes"]
    (why,) = document.chapters[0].sections[0].parts
    assert "L1–L4 are absent" in why
    assert "Figures 6, 7" in why
    text = render.to_markdown(document)
    assert why.replace("_", "\\_") in text
    assert "Order and lexical space" in text


def test_a_section_that_a_run_cannot_fill_says_why(tmp_path):
    stores.write(tmp_path, "tiny", stores.lists(n=40))
    document = report(qkstore.open(tmp_path), ["tiny"])
    said = [p for s in sections(document).values() for p in s.parts if isinstance(p, str) and ABSENT in p]
    assert said
    assert all(any(what in p for what in ("queries", "groups", "pairs", "swaps")) for p in said)


# -- mistakes ----------------------------------------------------------------------------------------------------


def test_runs_of_another_kind_are_refused(tmp_path):
    data = synthetic.synthetic(16)
    data.prompts = data.prompts.drop("queried_order")
    synthetic.write(tmp_path, "other", data)
    store = qkstore.open(tmp_path)
    with pytest.raises(RunError, match="run 'other' is no run of lists or boxes"):
        report(store, ["other"])
    with pytest.raises(RunError, match="no run 'othr' in the store; did you mean 'other'"):
        report(store, ["othr"])


@pytest.mark.parametrize(
    ("out", "markdown", "said"),
    [
        ("", None, "is a folder; name a file in it"),
        ("report.pdf", None, "must end in .html"),
        ("none/report.html", None, "there is no folder"),
        ("report.html", "file", "takes a folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_any_work(tmp_path, capsys, monkeypatch, out, markdown, said):
    monkeypatch.setattr("qkstore.report.report.report", lambda *_: pytest.fail("worked for nothing"))
    (tmp_path / "file").write_text("mine")
    more = ["--markdown", str(tmp_path / markdown)] if markdown else []
    assert cli.main(["report", "--store", str(tmp_path), "--run", "a", "--out", str(tmp_path / out), *more]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1


def test_a_bug_is_not_told_as_an_absent_section(tmp_path, monkeypatch):
    """Only what a user can cause makes a section absent."""
    stores.write(tmp_path, "boxes", stores.boxes(n=64))
    study = Study(qkstore.open(tmp_path), qkstore.open(tmp_path).run("boxes"))

    def broken(error: type[Exception]) -> whole.Planned:
        def make(study):
            raise error("why")

        return whole.Planned("broken", "Title of it", make)

    for error in (ContrastError, RunError):
        section = whole._section(study, broken(error))
        assert (section.name, section.title, section.parts, section.claims) == (
            "boxes-broken",
            "Title of it",
            ("This section is absent: why.",),
            (),
        )
    with pytest.raises(ZeroDivisionError):
        whole._section(study, broken(ZeroDivisionError))


def test_no_run_at_all_says_what_both_parts_would_hold(tmp_path):
    stores.write(tmp_path, "boxes", stores.boxes(n=64))
    document = report(qkstore.open(tmp_path), [])
    assert [c.name for c in document.chapters] == ["no-lists", "no-boxes"]
    assert document.claims == document.figures == []
    assert all("python -m ingest paper" in c.sections[0].parts[0] for c in document.chapters)
