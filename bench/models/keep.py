"""What a study computes, kept in a store's catalogue, so that a study that was interrupted goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from qkstore.errors import StoreError
from qkstore.run import Run
from qkstore.store import Store
from qkstore.store.source import code_key


def keep(store: Store, run: Run, kind: str, asked: object, source: str, make: Callable[[], Any]) -> Any:
    """What `make` gives, or what it gave of this run before; all of it goes through JSON.

    kind, asked: what is computed, and of what. source: the file that computes it. After a change of it, of the run or
    of qkstore nothing old is taken.
    """
    made = Path(source).read_bytes()
    key = hashlib.sha256(repr((kind, run.identity, asked, code_key(), made)).encode()).hexdigest()
    if (found := store.catalog.result(key)) is not None:
        return found
    found = json.loads(json.dumps(make()))  # as it comes back when it was kept
    with suppress(StoreError):  # a store that one may only read still answers
        store.catalog.keep_result(key, kind, run.name, str(asked), found, content=run.digest, code=code_key()[:16])
    return found
