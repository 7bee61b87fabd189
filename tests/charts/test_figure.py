"""Charts as files for a paper: widths in inches, text in points, white, still, with what they were made of inside."""

from __future__ import annotations

import io
import json
import re
from functools import partial

import altair as alt
import numpy as np
import polars as pl
import pytest
import vl_convert
from leaving import SVG, about, svg, texts
from PIL import Image
from test_charts import condition, points, scores

from qkstore import charts
from qkstore.charts import paper
from qkstore.charts.figure import figure
from qkstore.errors import RunError

MADE_OF = {"run": "boxes", "contrast": "order@2", "where": "k.pos > 1\nand q.pos < 9"}
LONG = "Logits of the target key less those of the original key, averaged over the queries of the split"
CONDITIONS = [
    *(condition(name, 2, 0.3) for name in ("order", "lexical", "order + lexical")),
    *(condition("random", 2, 0.01, 10) for _ in range(3)),
]
DRAW = {
    "swaps": partial(charts.swap_bars, CONDITIONS),
    "map": partial(charts.head_map, scores(), "accuracy", (0, 1)),
    "points": partial(charts.point_pairs, points([str(i % 9) for i in range(60)]), ("PC1", "PC2", "PC3"), "a / b"),
    "strip": partial(charts.point_pairs, points(["a", "b"] * 9, rank=1), ("PC1", "PC2", "PC3"), "a / b"),
    "matrix": partial(charts.matrix, np.eye(12), "ΔC"),
    "spectrum": partial(charts.singular_values, np.arange(9, 0, -1.0), 3),
    "null": partial(charts.null_strip, 2.0, np.linspace(0.5, 1, 19)),
}


def shape(data: bytes) -> tuple[float, float, float]:
    """(inches across, inches down, pixels of the drawing to an inch) of an SVG."""
    root = svg(data)
    across, down = (float(root.get(name).removesuffix("in")) for name in ("width", "height"))
    return across, down, float(root.get("viewBox").split()[2]) / across


def points_of_type(data: bytes) -> list[float]:
    """The sizes of an SVG's text as it is printed."""
    *_, pixels = shape(data)
    sizes = [text.get("font-size") for text in svg(data).iter(f"{SVG}text")]
    return [float(size.removesuffix("px")) / pixels * 72 for size in sizes]


def information(pdf: bytes) -> dict[str, str]:
    """A PDF's information dictionary, found as a reader finds it: from the last table of places."""
    table = int(re.findall(rb"startxref\s+(\d+)", pdf)[-1])
    number, place = re.match(rb"xref\n(\d+) 1\n(\d{10}) 00000 n\r\n", pdf[table:]).groups()
    assert re.search(rb"/Info %s 0 R" % number, pdf[table:])
    body = pdf[int(place) :]
    assert body.startswith(number + b" 0 obj")
    entries = re.findall(rb"/(\w+) <([0-9a-f]*)>", body[: body.index(b"endobj")])
    return {name.decode(): bytes.fromhex(text.decode()).decode("utf-16") for name, text in entries}


@pytest.mark.parametrize("inches", paper.WIDTHS)
@pytest.mark.parametrize("name", DRAW)
def test_it_is_as_wide_as_it_says_and_its_text_has_the_size_of_print(name, inches):
    data = figure(DRAW[name](), "svg", inches)
    across, down, pixels = shape(data)
    assert across == inches
    assert pixels == pytest.approx(96)
    assert 0.5 < down < 12
    sizes = points_of_type(data)
    assert len(sizes) > 2
    assert min(sizes) >= 6.99
    assert max(sizes) <= 8.01


def test_a_chart_as_on_the_screen_would_not_do():
    """The control: the same measures of a chart that was not fitted."""
    drawn = vl_convert.vegalite_to_svg(DRAW["map"]().properties(width=700).to_dict())
    sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)px"', drawn)]
    assert float(re.search(r'width="([\d.]+)"', drawn)[1]) / 96 > 7
    assert max(sizes) * 72 / 96 > 8.5


@pytest.mark.parametrize("inches", paper.WIDTHS)
def test_a_png_has_300_dots_an_inch(inches):
    image = Image.open(io.BytesIO(figure(DRAW["swaps"](), "png", inches, "A title", MADE_OF)))
    assert image.width == round(300 * inches)
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert {"Title": "A title", **MADE_OF}.items() <= image.info.items()
    assert {image.convert("RGB").getpixel((x, y)) for x in (0, image.width - 1) for y in (0, image.height - 1)} == {
        (255, 255, 255)
    }


@pytest.mark.parametrize("inches", paper.WIDTHS)
def test_a_pdf_has_a_page_of_its_width_and_says_what_it_was_made_of(inches):
    data = figure(DRAW["swaps"](), "pdf", inches, "Swaps – ü", MADE_OF)
    assert data.startswith(b"%PDF-")
    (box,) = re.findall(rb"/MediaBox \[([\d. ]+)\]", data)
    left, low, right, top = map(float, box.split())
    assert (left, low, right) == (0, 0, 72 * inches)
    assert top == pytest.approx(72 * shape(figure(DRAW["swaps"](), "svg", inches))[1], abs=0.1)
    told = information(data)
    assert told["Title"] == "Swaps – ü"
    assert json.loads(told["Keywords"]) == MADE_OF
    assert "contrast: order@2" in told["Subject"]


def test_an_svg_says_what_it_was_made_of():
    data = figure(DRAW["map"](), "svg", 3.25, "The map", MADE_OF)
    assert about(data) == MADE_OF
    assert svg(data).find(f"{SVG}title").text == "The map"
    assert "run: boxes" in svg(data).find(f"{SVG}desc").text


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
@pytest.mark.parametrize("text", ["</metadata><script>x</script>", "a\0b\x1b\ufffe", "\ud800", "\u202egnp", "\n%%EOF"])
def test_hostile_text_stays_text(form, text):
    data = figure(DRAW["spectrum"](), form, 3.25, text, {"run": text, text: "x"})
    if form == "svg":
        assert about(data)["run"] == text
        assert not list(svg(data).iter(f"{SVG}script"))
        assert "\u202e" not in data.decode()
    if form == "png":
        assert Image.open(io.BytesIO(data)).width == 975
    if form == "pdf":
        assert json.loads(information(data)["Keywords"])["run"] == text


@pytest.mark.parametrize("text", ["\0", "\x07", "\x1b", "\ufffe", "\uffff", "\ud800"])
def test_hostile_text_of_a_chart_leaves_the_file_whole(text):
    """Drawn as it is, each but the last would end the process, not this call alone."""
    rows = [{"x": f"a{text}b</svg><script>", "y": 1}, {"x": "c", "y": 2}]
    data = figure(alt.Chart(alt.Data(values=rows), title=text).mark_bar().encode(x="x:N", y="y:Q"), "svg")
    assert not list(svg(data).iter(f"{SVG}script"))
    assert any("<script>" in text for text in texts(data))


def test_nothing_waits_for_a_pointer():
    still = json.dumps(paper._still(DRAW["map"]().to_dict()))
    assert "tooltip" in json.dumps(DRAW["map"]().to_dict())
    assert "tooltip" not in still
    assert "cursor" not in still
    drawn = figure(DRAW["points"](), "svg").decode()
    assert "cursor" not in drawn
    assert len(re.findall(r'aria-roledescription="point"', drawn)) == 2 * 60, "all points, as nobody has chosen"


def test_labels_lean_only_where_there_is_no_room():
    narrow, wide = (figure(DRAW["swaps"](), "svg", inches).decode() for inches in paper.WIDTHS)
    assert "rotate(320" in narrow
    assert "rotate(320" not in wide
    assert texts(narrow.encode()) == texts(wide.encode()), "no label is lost"


def test_a_legend_that_is_too_wide_gets_more_rows():
    narrow, wide = (figure(DRAW["points"](), "svg", inches) for inches in paper.WIDTHS)
    assert {str(i) for i in range(9)} <= set(texts(narrow)) & set(texts(wide))


def test_a_matrix_stays_square():
    drawn = paper.fitted(DRAW["matrix"]().to_dict(), 3.25, vl_convert.vegalite_to_svg)[0]
    cells = re.findall(r'aria-roledescription="rect mark" d="M[\d.,]+h([\d.]+)v([\d.]+)', drawn)
    assert len(cells) == 144
    assert all(float(w) == pytest.approx(float(h)) for w, h in cells)


def test_a_long_title_of_an_axis_takes_several_lines():
    rows = pl.DataFrame({"x": [1, 2], "y": [1, 2]})
    chart = alt.Chart(rows).mark_point().encode(x=alt.X("x:Q", title=LONG), y="y:Q").properties(width="container")
    data = figure(chart, "svg", 3.25)
    assert shape(data)[2] == pytest.approx(96)
    assert LONG.replace(" ", "") in "".join(texts(data)).replace(" ", "")


@pytest.mark.parametrize(
    ("form", "inches", "said"), [("gif", 3.25, "'gif'"), ("svg", 0.1, "0.1 inches"), ("svg", 99, "99")]
)
def test_what_cannot_be_made_is_told(form, inches, said):
    with pytest.raises(RunError, match=said):
        figure(DRAW["map"](), form, inches)
