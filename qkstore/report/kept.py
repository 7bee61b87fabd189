"""A report that a store's catalogue keeps: made once for all who use the store, anew where anything in it changed."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress

from qkstore.analysis import live
from qkstore.errors import StoreError
from qkstore.report.document import Document
from qkstore.report.render import pictures, to_html
from qkstore.report.report import report
from qkstore.store import Store
from qkstore.store.catalog.rows import built
from qkstore.store.source import code_key

KIND = "report"
MOST_KEPT = 4 << 20  # bytes of a page, compressed: a larger one would put the head tables of many out of their place
MOST_PAGE = 64 << 20  # bytes of one
MAIN = "<main>", "</main>"
TAGS = "script|iframe|frame|object|embed|form|base|link|meta|/?main|/?body|/?html"  # that no report has in its body
FOREIGN = re.compile(rf"<\s*({TAGS})\b", re.IGNORECASE)
Progress = Callable[[int, int, str], None]


def html(
    store: Store, names: Sequence[str], sections: Progress | None = None, figures: Progress | None = None
) -> bytes:
    """The report of the named runs as one HTML page: the one that is kept, or one made now and kept.

    It is made anew for other runs or other contents of them, for new live results, and for another version of the code.
    sections, figures: told how many are done, and the next one's name. Raises as `report` does.
    """
    asked, names = key(store, names), list(dict.fromkeys(names))
    if kept := built(_page, store.catalog.result(asked)):
        return kept
    document = report(store, names, sections)
    made = to_html(document, pictures(document, figures))
    payload = {"title": document.title, "main": _packed(made)}
    if len(payload["main"]) <= MOST_KEPT:
        made_of = {"content": "+".join(store.run(name).digest for name in names), "code": code_key()[:16]}
        with suppress(StoreError):  # a store that one may only read still answers
            store.catalog.keep_result(asked, KIND, "+".join(names), "", payload, **made_of)
    return made.encode()


def _packed(page: str) -> str:
    main = page[page.index(MAIN[0]) + len(MAIN[0]) : page.rindex(MAIN[1])]
    return base64.b64encode(zlib.compress(main.encode(), 9)).decode()


def _page(payload: dict[str, str]) -> bytes:
    """The page whose inner part is kept; raises ValueError where that is not of our making.

    Whoever may write the catalogue may have put anything there. The head, with a policy under which no script runs and
    nothing is fetched, is written anew; what could go around that is refused.
    """
    packed = base64.b64decode(payload["main"], validate=True)
    main = zlib.decompressobj().decompress(packed, MOST_PAGE).decode()
    if FOREIGN.search(main):
        raise ValueError("it holds what no report does")
    empty = to_html(Document(payload["title"], (), ()), {})
    return (empty[: empty.index(MAIN[0]) + len(MAIN[0])] + main + empty[empty.rindex(MAIN[1]) :]).encode()


def key(store: Store, names: Sequence[str]) -> str:
    """A hash of all that decides a report: the runs' contents, their live results, and the code."""
    runs = [store.run(name) for name in dict.fromkeys(names)]
    parts = [(run.name, run.identity, [result.key for result in live.results(store, run)]) for run in runs]
    return hashlib.sha256(repr((KIND, parts, code_key())).encode()).hexdigest()
