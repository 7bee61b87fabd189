"""A table of a page in docs/, written by the command that measured it, between two comments that bear its name."""

from __future__ import annotations

from pathlib import Path


def write(page: Path, name: str, lines: list[str]) -> None:
    """Put lines between `<!-- NAME: begin -->` and `<!-- NAME: end -->`, which the page must have.

    They replace what stood there.
    """
    text = page.read_text()
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    assert text.count(begin) == text.count(end) == 1, f"{page.name} has no place for {name!r}"
    before, _, rest = text.partition(begin)
    page.write_text(before + begin + "\n".join([*lines, ""]) + end + rest.partition(end)[2])
