"""A chart as a file for a paper: SVG, PNG at 300 dots an inch, or PDF, on white, with what it was made of inside."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Literal
from xml.sax.saxutils import escape

import altair as alt

from qkstore.charts import paper
from qkstore.errors import RunError, near
from qkstore.text import visible

Format = Literal["svg", "png", "pdf"]
FORMATS: dict[Format, str] = {"svg": "image/svg+xml", "png": "image/png", "pdf": "application/pdf"}
DOTS = 300  # an inch, of a PNG
INCH = 72  # points of a PDF
# What no XML may hold. vl-convert ends the whole process, a server's too, where a text to draw has one of these.
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def figure(
    chart: alt.TopLevelMixin,
    form: Format = "svg",
    inches: float = paper.WIDTHS[0],
    title: str = "",
    about: Mapping[str, str] | None = None,
) -> bytes:
    """The chart as the bytes of a file, `inches` wide, its text of 7 to 8 points, on white.

    title and about, {what: text} such as run and contrast, are written into the file's metadata: elements title, desc
    and metadata of an SVG, iTXt chunks of a PNG, the information dictionary of a PDF. A chart's selections are drawn as
    they are before anybody chooses. Raises RunError for another format or a width that no text fits in.
    """
    if form not in FORMATS:
        raise RunError(f"no figure is made as {form!r}; {near(str(form), FORMATS)}")
    if not 1.5 <= inches <= 20:
        raise RunError(f"a figure {inches} inches wide; widths from 1.5 to 20 inches are possible")
    import vl_convert

    drawn, width, height = paper.fitted(_drawable(chart.to_dict()), inches, vl_convert.vegalite_to_svg)
    about = {visible(what): text for what, text in (about or {}).items()}
    across, down = max(width, inches * paper.INCH), -(-height // 1)
    if form == "pdf":  # whose points are the pixels of what it is made from
        size = (f"{inches * INCH:g}", f"{down * inches * INCH / across:.2f}")
        return _in_pdf(vl_convert.svg_to_pdf(_framed(drawn, across, down, *size)), title, about)
    size = (f"{inches:g}in", f"{down / across * inches:.4f}in")
    svg = _framed(drawn, across, down, *size)
    if form == "png":
        return _in_png(vl_convert.svg_to_png(svg, scale=INCH / paper.INCH, ppi=DOTS), title, about)
    return _in_svg(svg, title, about).encode("utf-8", "backslashreplace")


def _drawable(part: Any) -> Any:
    """A chart, or a part of it, with a mark in place of each sign that cannot be drawn."""
    if isinstance(part, str):
        return NOT_XML.sub("\ufffd", part)
    if isinstance(part, list):
        return [_drawable(value) for value in part]
    if isinstance(part, dict):
        return {_drawable(name): _drawable(value) for name, value in part.items()}
    return part


def _framed(svg: str, across: float, down: float, width: str, height: str) -> str:
    """The drawing in a frame of its final size, white to its edges."""
    start = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" version="1.1" '
        f'width="{width}" height="{height}" viewBox="0 0 {across:g} {down:g}">'
        f'<rect width="{across:g}" height="{down:g}" fill="white"/>'
    )
    return re.sub(r"<svg[^>]*>", lambda _: start, svg, count=1)


def _in_svg(svg: str, title: str, about: Mapping[str, str]) -> str:
    """The SVG with its title, its description, and `about` as JSON in its element metadata."""
    told = "\n".join(f"{what}: {visible(text)}" for what, text in about.items())
    parts = {"title": visible(title), "desc": told, "metadata": json.dumps(about)}
    inside = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in parts.items() if text)
    return re.sub(r"<svg[^>]*>", lambda start: start.group() + inside, svg, count=1)


def _in_png(png: bytes, title: str, about: Mapping[str, str]) -> bytes:
    """The PNG with an iTXt chunk for the title and each of `about` after its header, which is 33 bytes long."""
    chunks = b"".join(_chunk(what, text) for what, text in {"Title": visible(title), **about}.items() if text)
    return png[:33] + chunks + png[33:]


def _chunk(what: str, text: str) -> bytes:
    """An iTXt chunk: keyword, neither compressed nor in a named language, text as UTF-8."""
    keyword = what.encode("latin-1", "replace")[:79]
    body = b"iTXt" + keyword + b"\0\0\0\0\0" + text.replace("\0", "U+0000").encode("utf-8", "backslashreplace")
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _in_pdf(pdf: bytes, title: str, about: Mapping[str, str]) -> bytes:
    """The PDF with an information dictionary, appended as the format's own updates are."""
    count, root, start = (
        int(re.findall(pattern, pdf)[-1]) for pattern in (rb"/Size (\d+)", rb"/Root (\d+) 0 R", rb"startxref\s+(\d+)")
    )
    told = "\n".join(f"{what}: {visible(text)}" for what, text in about.items())
    entries = {"Title": visible(title), "Subject": told, "Keywords": json.dumps(about), "Creator": "qkstore"}
    inside = " ".join(f"/{name} <{_utf16(text)}>" for name, text in entries.items())
    place = len(pdf) + 1
    made = f"\n{count} 0 obj\n<< {inside} >>\nendobj\n".encode()
    table = (
        f"xref\n{count} 1\n{place:010d} 00000 n\r\n"
        f"trailer\n<< /Size {count + 1} /Root {root} 0 R /Info {count} 0 R /Prev {start} >>\n"
        f"startxref\n{len(pdf) + len(made)}\n%%EOF\n"
    )
    return pdf + made + table.encode()


def _utf16(text: str) -> str:
    return ("\ufeff" + text).encode("utf-16-be", "replace").hex()
