"""A document as HTML and Markdown.

Whatever a data set calls its things, a page shows it as text and nothing of it acts.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import polars as pl
import pytest
import stores

import qkstore
from qkstore import charts
from qkstore.analysis import attribute
from qkstore.analysis.claim import Claim
from qkstore.report import render
from qkstore.report.document import Chapter, Document, Figure, Section, Table
from qkstore.report.render import named, png, svg

HOSTILE = '<script>alert("x")</script> "><img src=x onerror=y> | [a](http://b) `c` *d* & \\ $e$'


class Tags(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)


def figure(name: str, text: str, points: bool = False) -> Figure:
    rows = [
        {"name": text, "group": text, "value": 0.5, "low": 0.25, "high": 0.75},
        {"name": "b", "group": "c", "value": 1.0, "low": 0.5, "high": 1.5},
    ]
    return Figure(name, text, text, charts.head_intervals(rows, text, legend=text), text, points)


def document(text: str) -> Document:
    parts = (
        text,
        figure("one", text),
        figure("two", text, points=True),
        Table(text, [{text: text, "n": "1"}, {text: text, "n": "2"}]),
    )
    claims = (Claim(text, text, text, text, text, text),)
    return Document(
        text, (text,), (Chapter("chapter", text, {text: text}, (Section("section", text, parts, claims),)),)
    )


@pytest.fixture(scope="module")
def drawn():
    return render.pictures(document(HOSTILE))


def test_hostile_text_is_text_in_the_html(drawn):
    text = render.to_html(document(HOSTILE), drawn)
    assert "<script" not in text
    assert "<img src=x" not in text
    assert text.count("&lt;script&gt;alert") > 15
    assert text.count("<img ") == 1
    assert "data:image/png;base64," in text
    tags = Tags(text).tags
    assert len(tags) > 100
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert {tag for tag, _ in Tags(HOSTILE).tags} == {"script", "img"}, "the control: unescaped, it is tags"


FIELDS = (
    *("title", "intro", "chapter-name", "chapter", "fact", "fact-value", "section-name", "section", "paragraph"),
    *("figure", "sentence", "of", "table", "column", "cell"),
    *("claim", "where", "paper", "measured", "n", "authors"),
)


def marked(field: str) -> str:
    """Text that is an element where it is not escaped, in an element's text and in an attribute."""
    return f"'\"><i {field}>&amp;"


def every_field() -> Document:
    of = {field: marked(field) for field in FIELDS}
    figures = (
        Figure(name, of["figure"], of["sentence"], None, of["of"], points)
        for name, points in (("s", False), ("p", True))
    )
    parts = (of["paragraph"], *figures, Table(of["table"], [{of["column"]: of["cell"]}]))
    claims = (Claim(*(of[field] for field in ("claim", "where", "paper", "measured", "n", "authors"))),)
    section = Section(of["section-name"], of["section"], parts, claims)
    chapter = Chapter(of["chapter-name"], of["chapter"], {of["fact"]: of["fact-value"]}, (section,))
    return Document(of["title"], (of["intro"],), (chapter,))


PICTURES = {"s": b"<svg><g/></svg>", "p": b"pixels"}


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_of_a_document_is_escaped_wherever_it_stands(field):
    page = Tags(render.to_html(every_field(), PICTURES))
    assert not [attributes for tag, attributes in page.tags if tag == "i"]
    values = [value for _, attributes in page.tags for value in attributes.values() if value]
    assert any(marked(field) in text for text in (*page.texts, *values)), "it is there, as it was written"


def test_control_without_autoescape_each_field_acts(monkeypatch):
    unsafe = render.Environment
    monkeypatch.setattr(render, "Environment", lambda **how: unsafe(**how | {"autoescape": False}))
    page = Tags(render.to_html(every_field(), PICTURES))
    acting = {name for tag, attributes in page.tags if tag == "i" for name in attributes}
    assert acting == set(FIELDS)


def test_hostile_text_is_text_in_the_markdown():
    text = render.to_markdown(document(HOSTILE))
    assert "<script" not in text
    assert "<img" not in text
    assert not re.search(r"(?<!\\)\]\(http", text), "no link of its own"
    assert re.findall(r"(?<!\\)\]\(([^)]+)\)", text) == ["one.svg", "two.png"]
    rows = [line for line in text.splitlines() if line.startswith("|") and line.endswith("| 2 |")]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 3


def test_markdown_at_the_start_of_a_line_stays_text():
    assert [render._m(t) for t in ("- a", "1. b", "0.5 c", "# d", "> e", "a\nb", "")] == [
        "\\- a",
        "1\\. b",
        "0.5 c",
        "\\# d",
        "&gt; e",
        "a b",
        "",
    ]


def test_a_picture_is_xml_whose_text_is_the_text(drawn):
    root = ElementTree.fromstring(drawn["one"])
    assert root.tag.endswith("svg")
    assert not [e for e in root.iter() if e.tag.endswith(("script", "foreignObject"))]
    assert not [
        e
        for e in root.iter()
        for key in e.attrib
        if key.startswith("on") or (key.endswith("href") and not e.attrib[key].startswith("#"))
    ]


def test_ids_of_pictures_do_not_meet():
    scripted = '<svg><clipPath id="a"/><g clip-path="url(#a)" href="#a"/><text>id="a" url(#a)</text></svg>'
    assert (
        named(scripted, "n")
        == '<svg><clipPath id="n-a"/><g clip-path="url(#n-a)" href="#n-a"/><text>id="a" url(#a)</text></svg>'
    )
    one, two = (svg(Figure(name, "t", "s", charts.head_map(_scores(), "accuracy", (0, 0)))) for name in ("x", "y"))
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert all(i.startswith("x-") for i in ids[0])


def _scores() -> pl.DataFrame:
    rows = [
        {"layer": 0, "head": h, "accuracy": h / 2, "selectivity": 1.0, "strength": 1.0, "rank": 1} for h in range(2)
    ]
    return pl.DataFrame(rows)


def test_points_are_pixels_and_the_same_each_time():
    some = figure("p", "plain", points=True)
    assert png(some)[:8] == b"\x89PNG\r\n\x1a\n"
    assert png(some) == png(some)


def test_tokens_of_any_kind_are_drawn(tmp_path):
    texts = {5: "<script>", 12: 'a"&\u202eb', 19: "\n", 26: "日本 😀"}
    run = qkstore.open(stores.write(tmp_path, data=stores.hostile(texts, n=64))).run("boxes")
    store = qkstore.open(tmp_path)
    prompt = attribute(run, {"order": store.feature(run, "order")}, 1, 0, 48)
    tokens = [t | {"word": t["text"]} for t in prompt.tokens]
    text = svg(Figure("f", "t", "s", charts.attribution_bars(tokens, prompt.order)))
    ElementTree.fromstring(text)
    assert "<script" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;" in text


def test_claims_of_one_title_stand_together():
    def section(name: str) -> Section:
        return Section(name, name, (), tuple(Claim(c, name, "", "", "", "") for c in ("first", "second")))

    claims = Document("d", (), (Chapter("a", "a", {}, (section("a"),)), Chapter("b", "b", {}, (section("b"),)))).claims
    assert [(c.claim, c.where) for c in claims] == [("first", "a"), ("first", "b"), ("second", "a"), ("second", "b")]
