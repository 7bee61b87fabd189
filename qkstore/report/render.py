"""A document as one self-contained HTML page, or as Markdown with its figures as files; all its text is escaped."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from qkstore.errors import StoreError
from qkstore.files import whole
from qkstore.report.document import Chapter, Document, Figure, Table

Progress = Callable[[int, int, str], None]
CLAIMS = "Paper beside measurement"
STYLE = """
:root { color-scheme: light; --ink: #1b2330; --quiet: #5b6673; --line: #dfe5eb; --blue: #0072B2; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.55 "Source Sans 3", -apple-system, "Segoe UI", \
Helvetica, Arial, sans-serif; }
main { max-width: 880px; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .8rem; }
h2 { font-size: 1.45rem; margin: 3.2rem 0 .8rem; padding-top: 1.2rem; border-top: 2px solid var(--ink); }
h3 { font-size: 1.12rem; margin: 2.2rem 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere; }
a { color: var(--blue); text-decoration: none; } a:hover, a:focus { text-decoration: underline; }
nav { columns: 2; column-gap: 2.5rem; font-size: .93rem; margin: 1.5rem 0; padding: 1rem 1.2rem; \
background: #f5f8fb; border-radius: 6px; }
nav ul { list-style: none; margin: 0 0 .7rem; padding: 0; break-inside: avoid; } nav li li { padding-left: 1rem; }
nav > ul > li > a { font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: .6rem 0; font-size: .95rem; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 1.3rem 0 1.6rem; break-inside: avoid; }
figure > svg, figure > img { display: block; max-width: 100%; height: auto; }
figcaption { font-size: .92rem; color: var(--quiet); max-width: 46rem; margin-top: .4rem; overflow-wrap: anywhere; }
figcaption b { color: var(--ink); }
.table { overflow-x: auto; margin: 1rem 0 1.4rem; }
table { border-collapse: collapse; font-size: .86rem; line-height: 1.4; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-size: .92rem; color: var(--quiet); padding-bottom: .35rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0; \
border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
th { font-weight: 600; border-bottom: 1.5px solid var(--ink); }
@media (max-width: 640px) { nav { columns: 1; } }
@media print { body { font-size: 10.5pt; } main { max-width: none; padding: 0; } \
nav { background: none; padding: 0; } h2 { break-before: page; }
  h3 { break-after: avoid; } .table { overflow: visible; } table { font-size: 8pt; } \
tr { break-inside: avoid; } a { color: inherit; } }
"""
HEAD = (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
)

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
    found, total = {}, len(document.figures)
    for figure in document.figures:
        if progress:
            progress(len(found), total, f"figure: {figure.title}")
        found[figure.name] = png(figure) if figure.points else svg(figure).encode()
    return found


def to_html(document: Document, drawn: Mapping[str, bytes]) -> str:
    """One page without scripts that fetches nothing; `drawn` are its pictures."""
    numbers = {f.name: i for i, f in enumerate(document.figures, 1)}
    parts = [
        HEAD,
        (
            f"<title>{_h(document.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
            f"<h1>{_h(document.title)}</h1>\n"
        ),
    ]
    parts += [f"<p>{_h(text)}</p>\n" for text in document.intro] + [_contents(document)]
    for chapter in document.chapters:
        parts.append(f'<h2 id="{_h(_anchor(chapter))}">{_h(chapter.title)}</h2>\n{_facts(chapter)}')
        for section in chapter.sections:
            parts.append(f'<section>\n<h3 id="{_h(section.name)}">{_h(section.title)}</h3>\n')
            parts += [_part(part, numbers, drawn) for part in section.parts] + ["</section>\n"]
    if document.claims:
        parts.append(f'<h2 id="claims">{CLAIMS}</h2>\n{_table(claims(document))}')
    return "".join([*parts, "</main>\n</body>\n</html>\n"])


def claims(document: Document) -> Table:
    """The closing table."""
    return Table(
        (
            "At the best head of each run, unless others are named; the sections above have every selected head. "
            "Brackets are 95 % intervals."
        ),
        [c.to_dict() for c in document.claims],
    )


def _contents(document: Document) -> str:
    def item(name: str, title: str, inner: str = "") -> str:
        return f'<li><a href="#{_h(name)}">{_h(title)}</a>{inner}</li>\n'

    def sections(chapter: Chapter) -> str:
        return "<ul>" + "".join(item(s.name, s.title) for s in chapter.sections) + "</ul>" if chapter.sections else ""

    rows = [item(_anchor(c), c.title, sections(c)) for c in document.chapters] + (
        [item("claims", CLAIMS)] if document.claims else []
    )
    return f'<nav aria-label="Contents"><ul>{"</ul><ul>".join(rows)}</ul></nav>\n'


def _anchor(chapter: Chapter) -> str:
    """With a sign that no run's name has: runs may be called `claims`, or as a section of another is."""
    return f"run:{chapter.name}"


def _facts(chapter: Chapter) -> str:
    return (
        "<dl>" + "".join(f"<dt>{_h(k)}</dt><dd>{_h(v)}</dd>" for k, v in chapter.facts.items()) + "</dl>\n"
        if chapter.facts
        else ""
    )


def _part(part: str | Figure | Table, numbers: dict[str, int], drawn: Mapping[str, bytes]) -> str:
    if isinstance(part, str):
        return f"<p>{_h(part)}</p>\n"
    if isinstance(part, Table):
        return _table(part)
    if part.points:
        picture = (
            f'<img alt="{_h(part.alt)}" src="data:image/png;base64,{base64.b64encode(drawn[part.name]).decode()}">'
        )
    else:
        picture = drawn[part.name].decode().replace("<svg", f'<svg role="img" aria-label="{_h(part.alt)}"', 1)
    return (
        f"<figure>\n{picture}\n"
        f"<figcaption><b>Figure {numbers[part.name]}. {_h(part.title)}.</b> {_h(_told(part))}</figcaption>\n</figure>\n"
    )


def _told(figure: Figure) -> str:
    return figure.sentence + (f" Beside the paper's {figure.of}." if figure.of else "")


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    head = "".join(f'<th scope="col">{_h(name)}</th>' for name in table.rows[0])
    rows = "".join("<tr>" + "".join(f"<td>{_h(v)}</td>" for v in row.values()) + "</tr>\n" for row in table.rows)
    return (
        f'<div class="table"><table>\n<caption>{_h(table.title)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )


def _h(text: str) -> str:
    return html.escape(str(text))


def to_markdown(document: Document) -> str:
    """The same page for docs; figures are files beside it, see `file_name`."""
    numbers, lines = (
        {f.name: i for i, f in enumerate(document.figures, 1)},
        [f"# {_m(document.title)}", *map(_m, document.intro)],
    )
    for chapter in document.chapters:
        lines += [
            f"## {_m(chapter.title)}",
            *_markdown_table(Table("", [{"": k, " ": v} for k, v in chapter.facts.items()])),
        ]
        for section in chapter.sections:
            lines += [
                f"### {_m(section.title)}",
                *(line for part in section.parts for line in _markdown_part(part, numbers)),
            ]
    if document.claims:
        lines += [f"## {CLAIMS}", *_markdown_table(claims(document))]
    return "\n\n".join(line for line in lines if line) + "\n"


def file_name(figure: Figure) -> str:
    return f"{figure.name}.{'png' if figure.points else 'svg'}"


def _markdown_part(part: str | Figure | Table, numbers: dict[str, int]) -> list[str]:
    if isinstance(part, str):
        return [_m(part)]
    if isinstance(part, Table):
        return _markdown_table(part)
    return [
        f"![{_m(part.alt)}]({file_name(part)})",
        f"*Figure {numbers[part.name]}.* **{_m(part.title)}.** {_m(_told(part))}",
    ]


def _markdown_table(table: Table) -> list[str]:
    if not table.rows:
        return []
    rows = [list(table.rows[0]), ["---"] * len(table.rows[0]), *(list(row.values()) for row in table.rows)]
    lines = ["| " + " | ".join(cells if i == 1 else [_m(c) for c in cells]) + " |" for i, cells in enumerate(rows)]
    return [_m(table.title), "\n".join(lines)]


def _m(text: str) -> str:
    """Text without any meaning to Markdown or HTML, on one line."""
    plain = re.sub(r"([\\`*_{}\[\]#|~$])", r"\\\1", " ".join(str(text).split()))
    return re.sub(
        r"^(\d+)\. ",
        r"\1\\. ",
        re.sub(r"^([-=>])", r"\\\1", plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")),
    )


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
    try:
        if markdown:
            folder = Path(markdown)
            folder.mkdir(parents=True, exist_ok=True)
            for figure in document.figures:
                _write(folder / file_name(figure), drawn[figure.name])
            _write(folder / "report.md", to_markdown(document).encode())
        _write(Path(out), to_html(document, drawn).encode())
    except OSError as error:
        raise StoreError(f"{error.filename or out} was not written: {error.strerror or error}") from None
    return [Path(out), *([Path(markdown) / "report.md"] if markdown else [])]


def _write(path: Path, content: bytes) -> None:
    with whole(path) as part:
        part.write_bytes(content)


def spec(figure: Figure) -> dict:
    """The chart's Vega-Lite, of a fixed width: a static picture has no container."""
    found = figure.chart.to_dict()
    if found.get("width") == "container":
        found["width"] = WIDTH - 100
    found["config"] = _merged(CONFIG, found.get("config", {}))
    return found


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
