"""A report that a store's catalogue keeps: made once for all who use the store, anew where anything in it changed."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress

from qkstore.analysis import live
from qkstore.errors import StoreError
from qkstore.report.render import pictures, to_html
from qkstore.report.report import report
from qkstore.store import Store
from qkstore.store.source import code_key

KIND = "report"
MOST_KEPT = 4 << 20  # bytes of a page, compressed: a larger one would put the head tables of many out of their place
Progress = Callable[[int, int, str], None]


def html(
    store: Store, names: Sequence[str], sections: Progress | None = None, figures: Progress | None = None
) -> bytes:
    """The report of the named runs as one HTML page: the one that is kept, or one made now and kept.

    It is made anew for other runs or other contents of them, for new live results, and for another version of the code.
    sections, figures: told how many are done, and the next one's name. Raises as `report` does.
    """
    asked = key(store, names)
    kept = store.catalog.result(asked)
    if isinstance(kept, str):
        return zlib.decompress(base64.b64decode(kept))
    document = report(store, names, sections)
    made = to_html(document, pictures(document, figures)).encode()
    packed = base64.b64encode(zlib.compress(made, 9)).decode()
    if len(packed) <= MOST_KEPT:
        digests = "+".join(store.run(name).digest for name in dict.fromkeys(names))
        with suppress(StoreError):  # a store that one may only read still answers
            store.catalog.keep_result(
                asked, KIND, "+".join(dict.fromkeys(names)), "", packed, content=digests, code=code_key()[:16]
            )
    return made


def key(store: Store, names: Sequence[str]) -> str:
    """A hash of all that decides a report: the runs' contents, their live results, and the code."""
    runs = [store.run(name) for name in dict.fromkeys(names)]
    parts = [(run.identity, [result.key for result in live.results(store, run)]) for run in runs]
    return hashlib.sha256(repr((KIND, parts, code_key())).encode()).hexdigest()
