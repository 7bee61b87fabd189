"""The commands that set a whole experiment beside the paper: each one's arguments, and below them what it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qkstore.cli import arguments
from qkstore.cli.arguments import Add, store, with_json
from qkstore.cli.terminal import Progress, print_json


def toy(add: Add) -> None:
    told = "what the paper says of its toy task beside what all toy runs of a store show"
    sub = with_json(add("toy", _toy, told))
    sub.add_argument("--into", metavar="FILE.md", help="put the table between the marker comments of a page")


def _toy(options) -> None:
    from qkstore.toy.claims import report
    from qkstore.toy.page import around, into, markdown, rows

    if options.into:
        around(options.into)  # before minutes of work
    with Progress() as progress:
        claims = report(store(options), lambda done, total: progress("heads", done, total))
    if options.into:
        into(options.into, claims)
    if options.json:
        print_json(rows(claims))
    else:
        print(f"{len(claims)} rows → {options.into}" if options.into else markdown(claims).rstrip())


def report(add: Add) -> None:
    told = "the paper's language-model figures over runs of lists and boxes, as one HTML page"
    sub = add("report", _report, told)
    runs = sub.add_argument("--run", required=True, nargs="+", help="a run of lists, runs of boxes, or both")
    arguments.completed_by(runs, arguments.runs)
    sub.add_argument("--out", required=True, metavar="FILE.html")
    sub.add_argument("--markdown", metavar="DIR", help="also report.md there, with the figures as files beside it")


def _report(options) -> None:
    from qkstore.report.render import check

    check(options.out, options.markdown)  # before minutes of work
    paths = _with_markdown(options) if options.markdown else [_page(options)]
    for path in paths:
        print(f"{path}: {path.stat().st_size / 1e6:,.1f} MB")


def _page(options) -> Path:
    """The HTML alone, which the store keeps."""
    from qkstore.report.kept import html
    from qkstore.report.render import write_files

    out = Path(options.out)
    with Progress() as progress:
        made = html(store(options), options.run, _at_work(progress, "sections"), _at_work(progress, "figures"))
    write_files({out: made})
    return out


def _with_markdown(options) -> list[Path]:
    from qkstore.report.render import write
    from qkstore.report.report import report as study

    with Progress() as progress:
        document = study(store(options), options.run, _at_work(progress, "sections"))
        return write(document, options.out, options.markdown, _at_work(progress, "figures"))


def _at_work(progress: Progress, stage: str) -> Callable[[int, int, str], None]:
    """A callback (how many are done, total, what is next): the bar counts the one at work, and names it."""
    return lambda done, total, what: progress(stage, done + 1, total, what)
