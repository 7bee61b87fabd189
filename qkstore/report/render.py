"""A document as one self-contained HTML page, or as Markdown with its figures as files; all its text is escaped."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from qkstore.errors import StoreError
from qkstore.files import whole
from qkstore.report.document import COLUMNS, Chapter, Document, Figure, Table
from qkstore.text import markdown_table

Progress = Callable[[int, int, str], None]
CLAIMS = "Paper beside measurement"
HERE = Path(__file__).parent  # of the template and its style

WIDTH = 720
CONFIG = {
    "background": "white",
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "gridColor": "#e8edf2",
        "labelFontSize": 11,
        "titleFontSize": 11.5,
        "labelColor": "#1b2330",
        "titleColor": "#1b2330",
        "titleFontWeight": "normal",
    },
    "legend": {
        "labelOverlap": True,
        "labelFontSize": 11.5,
        "titleFontSize": 11.5,
        "labelColor": "#1b2330",
        "titleColor": "#1b2330",
        "titleFontWeight": "normal",
    },
}


def pictures(document: Document, progress: Progress | None = None) -> dict[str, bytes]:
    """{figure's name: SVG or PNG} of every figure."""
    drawn, total = {}, len(document.figures)
    for figure in document.figures:
        if progress:
            progress(len(drawn), total, f"figure: {figure.title}")
        drawn[figure.name] = png(figure) if figure.points else svg(figure).encode()
    return drawn


def to_html(document: Document, drawn: Mapping[str, bytes]) -> str:
    """One page without scripts that fetches nothing. drawn: its pictures, {figure's name: SVG or PNG}.

    The template escapes every text; the style and the pictures, which are markup of ours, go in as they are.
    """
    return _template().render(
        document=document,
        numbers=_numbers(document),
        anchor=_anchor,
        picture=lambda figure: _picture(figure, drawn[figure.name]),
        claims=claims(document),
        claims_title=CLAIMS,
        style=Markup((HERE / "report.css").read_text(encoding="utf-8")),
    )


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests["table"] = lambda part: isinstance(part, Table)
    return environment.get_template("report.html.j2")


def claims(document: Document) -> Table:
    """The closing table."""
    return Table(
        "At the best head of each run, unless others are named; the sections above have every selected head. "
        "Brackets are 95 % intervals.",
        [claim.row(COLUMNS) for claim in document.claims],
    )


def _numbers(document: Document) -> dict[str, int]:
    """{figure's name: its number}, from 1, through all chapters."""
    return {figure.name: i for i, figure in enumerate(document.figures, 1)}


def _anchor(chapter: Chapter) -> str:
    """With a sign that no run's name has: runs may be called `claims`, or as a section of another is."""
    return f"run:{chapter.name}"


def _picture(figure: Figure, drawn: bytes) -> Markup:
    """The figure as an element with its text for readers who do not see it."""
    if figure.points:
        data = base64.b64encode(drawn).decode()
        return Markup('<img alt="{}" src="data:image/png;base64,{}">').format(figure.alt, data)
    start = Markup('<svg role="img" aria-label="{}"').format(figure.alt)
    return Markup(drawn.decode().replace("<svg", start, 1))


def to_markdown(document: Document) -> str:
    """The same page for docs; figures are files beside it, see `file_name`."""
    numbers = _numbers(document)
    lines = [f"# {_m(document.title)}", *map(_m, document.intro)]
    for chapter in document.chapters:
        lines.append(f"## {_m(chapter.title)}")
        if chapter.facts:
            lines.append(_markdown_rows(["", " "], chapter.facts.items()))
        for section in chapter.sections:
            lines.append(f"### {_m(section.title)}")
            lines += [line for part in section.parts for line in _markdown_part(part, numbers)]
    if document.claims:
        lines += [f"## {CLAIMS}", *_markdown_part(claims(document), numbers)]
    return "\n\n".join(line for line in lines if line) + "\n"


def file_name(figure: Figure) -> str:
    return f"{figure.name}.{'png' if figure.points else 'svg'}"


def _markdown_part(part: str | Figure | Table, numbers: dict[str, int]) -> list[str]:
    if isinstance(part, str):
        return [_m(part)]
    if isinstance(part, Table):
        return [_m(part.title), _markdown_rows(part.rows[0], [r.values() for r in part.rows])] if part.rows else []
    return [
        f"![{_m(part.alt)}]({file_name(part)})",
        f"*Figure {numbers[part.name]}.* **{_m(part.title)}.** {_m(part.caption)}",
    ]


def _markdown_rows(head: Iterable[str], cells: Iterable[Iterable[str]]) -> str:
    return markdown_table([_m(name) for name in head], [[_m(cell) for cell in row] for row in cells], " --- ")


def _m(text: str) -> str:
    """Text without any meaning to Markdown or HTML, on one line."""
    plain = re.sub(r"([\\`*_{}\[\]#|~$])", r"\\\1", " ".join(str(text).split()))
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"^(\d+)\. ", r"\1\\. ", re.sub(r"^([-=>])", r"\\\1", plain))


def check(out: str | Path, markdown: str | Path | None = None) -> None:
    """That both can be written, before minutes of work. Raises StoreError."""
    out = Path(out)
    if out.is_dir():
        raise StoreError(f"--out {out} is a folder; name a file in it, such as {out / 'report.html'}")
    if out.suffix != ".html":
        raise StoreError(f"--out {out}: the file's name must end in .html")
    if not out.parent.is_dir():
        raise StoreError(f"--out {out}: there is no folder {out.parent}")
    if markdown and Path(markdown).exists() and not Path(markdown).is_dir():
        raise StoreError(f"--markdown {markdown} is a file; it takes a folder, for report.md and its figures")


def write(
    document: Document, out: str | Path, markdown: str | Path | None = None, progress: Progress | None = None
) -> list[Path]:
    """Write the HTML and, where a folder is named, the Markdown with its figures. Raises StoreError.

    Each file is whole or not there.
    """
    check(out, markdown)
    drawn = pictures(document, progress)
    files = {Path(out): to_html(document, drawn).encode()}
    if markdown:
        folder = Path(markdown)
        made = {folder / file_name(figure): drawn[figure.name] for figure in document.figures}
        files = made | {folder / "report.md": to_markdown(document).encode()} | files
    write_files(files)
    return [Path(out), *([Path(markdown) / "report.md"] if markdown else [])]


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write {path: content}, each whole or not at all, with the folders that they need. Raises StoreError."""
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path) as part:
                part.write_bytes(content)
    except OSError as error:
        raise StoreError(f"{error.filename or path} was not written: {error.strerror or error}") from None


def spec(figure: Figure) -> dict:
    """The chart's Vega-Lite, of a fixed width: a static picture has no container."""
    chart = figure.chart.to_dict()
    if chart.get("width") == "container":
        chart["width"] = WIDTH - 100
    chart["config"] = _merged(CONFIG, chart.get("config", {}))
    return chart


def svg(figure: Figure) -> str:
    """The figure as an <svg> element whose ids are its own, with its text for readers who do not see it."""
    import vl_convert

    return named(vl_convert.vegalite_to_svg(spec(figure)), figure.name)


def png(figure: Figure, scale: float = 1.2) -> bytes:
    import vl_convert

    return vl_convert.vegalite_to_png(spec(figure), scale=scale)


def named(text: str, name: str) -> str:
    """An SVG whose ids begin with `name`: two pictures in one page would otherwise clip each other's marks."""
    return re.sub(r"<[^>]+>", lambda tag: _tag(tag.group(), name), text)


def _tag(tag: str, name: str) -> str:
    tag = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', tag)
    tag = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", tag)
    return re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', tag)


def _merged(base: dict, more: dict) -> dict:
    out = dict(base)
    for key, value in more.items():
        out[key] = _merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return out
