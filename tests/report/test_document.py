"""A document's files: numbered, linked, and whole or not there, whatever stops the writing.

Nothing of the last ones is lost.
"""

from __future__ import annotations

import errno
import os
import re

import pytest

from qkstore import charts
from qkstore.analysis.claim import Claim
from qkstore.errors import StoreError
from qkstore.report import render
from qkstore.report.document import Chapter, Document, Figure, Section, Table

SVG = b'<svg width="1"><g/></svg>'


def figure(name: str, of: str = "", points: bool = False) -> Figure:
    rows = [{"name": "a", "group": "g", "value": 0.5, "low": 0.25, "high": 0.75}]
    return Figure(name, f"Title {name}", f"Seen in {name}.", charts.head_intervals(rows, "x"), of, points)


def chapter(name: str, *parts, claims: tuple[Claim, ...] = ()) -> Chapter:
    return Chapter(
        name, f"Chapter {name}", {"model": "m", "n": "3"}, (Section(f"{name}-s", f"Section {name}", parts, claims),)
    )


@pytest.fixture(scope="module")
def document() -> Document:
    claims = tuple(
        Claim(title, "run, head", "paper", "0.5 [0.4, 0.6]", "7 queries", "authors") for title in ("first", "second")
    )
    table = Table("Rows.", [{"head": "L0 H0", "n": "12"}, {"head": "L1 H1", "n": "13"}])
    one, two = (
        chapter("a", "Text.", figure("f", "Figure 6a"), table, claims=claims),
        chapter("b", figure("g", points=True)),
    )
    return Document("Title", ("One.", "Two."), (one, two))


@pytest.fixture
def drawn(monkeypatch, document):
    pictures = {"f": SVG, "g": b"\x89PNG"}
    monkeypatch.setattr(render, "pictures", lambda *_: pictures)
    return pictures


# -- what stands where -------------------------------------------------------------------------------------------


def test_figures_are_numbered_through_all_chapters_and_say_whose_they_stand_beside(document, drawn):
    assert [f.name for f in document.figures] == ["f", "g"]
    for text in (render.to_html(document, drawn), render.to_markdown(document)):
        plain = re.sub(r"<[^>]+>|\*", "", text)
        assert "Figure 1. Title f. Seen in f. Beside the paper's Figure 6a." in plain.replace("&#39;", "'")
        assert "Figure 2. Title g. Seen in g." in plain
        assert "Seen in g. Beside" not in plain
        assert "Figure 3" not in plain


def test_a_table_has_its_heads_once_and_a_row_for_each(document, drawn):
    text = render.to_html(document, drawn)
    assert text.count('<th scope="col">head</th><th scope="col">n</th>') == 1
    assert "<tr><td>L0 H0</td><td>12</td></tr>\n<tr><td>L1 H1</td><td>13</td></tr>" in text
    assert "<caption>Rows.</caption>" in text
    assert "| head | n |\n| --- | --- |\n| L0 H0 | 12 |\n| L1 H1 | 13 |" in render.to_markdown(document)


def test_a_table_without_rows_is_nothing(drawn):
    empty = Document("t", (), (chapter("a", Table("Nobody.", [])),))
    assert "<table" not in render.to_html(empty, {})
    assert "Nobody" not in render.to_html(empty, {}) + render.to_markdown(empty)


def test_the_closing_table_has_every_claim_and_is_absent_without_any(document, drawn):
    text = render.to_html(document, drawn)
    assert 'href="#claims"' in text
    assert text.count('id="claims"') == 1
    assert (
        "<td>first</td><td>run, head</td><td>paper</td><td>authors</td><td>0.5 [0.4, 0.6]</td><td>7 queries</td>"
        in text
    )
    assert render.to_markdown(document).count("\n## Paper beside measurement\n") == 1
    without = Document("t", (), (chapter("a", "x"),))
    assert "claims" not in render.to_html(without, {})
    assert "Paper beside" not in render.to_markdown(without)


def test_the_contents_lead_to_every_chapter_and_section_and_no_two_share_a_place(drawn):
    """A run may be called `claims`, or as a section of another run is."""
    claim = Claim("c", "", "", "", "", "")
    awkward = Document("t", (), (chapter("claims", "x", claims=(claim,)), chapter("a", "y"), chapter("a-s", "z")))
    text = render.to_html(awkward, {})
    ids, links = re.findall(r'\bid="([^"]+)"', text), re.findall(r'href="#([^"]+)"', text)
    assert len(set(ids)) == len(ids) == 7
    assert sorted(ids) == sorted(links)


def test_text_for_those_who_do_not_see_a_figure_is_title_and_sentence(document, drawn):
    text = render.to_html(document, drawn)
    assert '<svg role="img" aria-label="Title f. Seen in f." width="1">' in text
    assert '<img alt="Title g. Seen in g." src="data:image/png;base64,iVBORw=="' in text  # its bytes
    assert "![Title f. Seen in f.](f.svg)" in render.to_markdown(document)
    assert "](g.png)" in render.to_markdown(document)


def test_progress_counts_the_pictures(document):
    said = []
    drawn = render.pictures(document, lambda *what: said.append(what))
    assert said == [(0, 2, "figure: Title f"), (1, 2, "figure: Title g")]
    assert list(drawn) == ["f", "g"]
    assert drawn["f"].startswith(b"<svg")
    assert drawn["g"].startswith(b"\x89PNG")


# -- files -------------------------------------------------------------------------------------------------------


def test_files_are_those_that_are_named(document, drawn, tmp_path):
    assert render.write(document, tmp_path / "r.html") == [tmp_path / "r.html"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.html"]
    assert render.write(document, str(tmp_path / "r.html"), str(tmp_path / "x/y")) == [
        tmp_path / "r.html",
        tmp_path / "x/y/report.md",
    ]
    assert {p.name: p.read_bytes() for p in (tmp_path / "x/y").iterdir()} == drawn_files(document, drawn)


def drawn_files(document, drawn) -> dict[str, bytes]:
    return {"f.svg": drawn["f"], "g.png": drawn["g"], "report.md": render.to_markdown(document).encode()}


def test_other_files_of_a_folder_are_left_alone(document, drawn, tmp_path):
    (tmp_path / "mine.svg").write_text("mine")
    render.write(document, tmp_path / "r.html", tmp_path)
    assert (tmp_path / "mine.svg").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_full_disk_leaves_the_last_files_whole_and_no_parts(document, drawn, tmp_path, monkeypatch, after):
    render.write(document, tmp_path / "r.html", tmp_path / "md")
    for file in (tmp_path / "r.html", *(tmp_path / "md").iterdir()):
        file.write_text("the last one")
    write, written = type(tmp_path).write_bytes, []

    def full(path, content):
        if len(written) == after:
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        return write(path, content)

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with pytest.raises(StoreError, match="was not written: No space left on device") as error:
        render.write(document, tmp_path / "r.html", tmp_path / "md")
    assert "\n" not in str(error.value)
    assert (tmp_path / "r.html").read_text() == "the last one", "the page comes last"
    left = [p.name for p in [*tmp_path.iterdir(), *(tmp_path / "md").iterdir()]]
    assert not [name for name in left if ".part" in name]
    assert sum(p.read_text(errors="replace") == "the last one" for p in (tmp_path / "md").iterdir()) == 3 - after


def test_a_page_that_cannot_be_drawn_leaves_the_last_one(document, tmp_path, monkeypatch):
    (tmp_path / "r.html").write_text("the last one")
    monkeypatch.setattr(render, "svg", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        render.write(document, tmp_path / "r.html", tmp_path / "md")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("r.html", "the last one")]


def test_a_report_that_is_cancelled_leaves_the_last_one_whole(document, drawn, tmp_path, monkeypatch):
    out = tmp_path / "report.html"
    out.write_text("the last one")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        render.write(document, out)
    assert out.read_text() == "the last one"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_cannot_be_made_is_one_line_and_the_page_is_not_touched(document, drawn, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "r.html").write_text("the last one")
    with pytest.raises(StoreError, match="file/md was not written: Not a directory"):
        render.write(document, tmp_path / "r.html", tmp_path / "file" / "md")
    assert (tmp_path / "r.html").read_text() == "the last one"


@pytest.mark.parametrize(
    ("out", "markdown", "said"),
    [
        ("", None, "is a folder; name a file in it, such as"),
        ("report.pdf", None, "must end in .html"),
        ("report", None, "must end in .html"),
        ("none/report.html", None, "there is no folder"),
        ("report.html", "file", "is a file; it takes a folder"),
    ],
)
def test_a_place_that_cannot_be_is_told_before_anything_is_drawn(document, tmp_path, monkeypatch, out, markdown, said):
    monkeypatch.setattr(render, "pictures", lambda *_: pytest.fail("drawn for nothing"))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=re.escape(said)) as error:
        render.write(document, tmp_path / out, tmp_path / markdown if markdown else None)
    assert "\n" not in str(error.value)
    assert (tmp_path / "file").read_text() == "mine"


def test_control_good_places_are_not_refused(tmp_path):
    render.check(tmp_path / "r.html", tmp_path / "not" / "yet")
    (tmp_path / "r.html").write_text("old")
    render.check(str(tmp_path / "r.html"), str(tmp_path))
