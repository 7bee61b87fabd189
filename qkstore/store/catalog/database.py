"""Where a catalogue is kept: what Embedded and Postgres have in common."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qkstore.store.catalog.person import Person, Role

Execute = Callable[..., list[dict]]  # a statement with ? for its parameters → rows


class Database(Protocol):
    """Embedded or Postgres.

    held: a line that says why it cannot be written now; else None. rows: of a SELECT, whose parameters are ?.
    transaction: statements that happen together or not at all; of one word, one at a time; with a role, with the
    rights of that role alone, where the database has roles. person: the user of this program. copy: into a new file
    that Embedded opens; False where there is nothing yet. evict: in a transaction, let the oldest results go until
    `most` are left, of `size` bytes together.
    """

    held: str | None

    def rows(self, sql: str, parameters: list | None = None) -> list[dict]: ...
    def transaction(self, word: str = "", role: Role | None = None) -> AbstractContextManager[Execute]: ...
    def person(self) -> Person: ...
    def version(self) -> int: ...
    def copy(self, target: Path) -> bool: ...
    def evict(self, execute: Execute, most: int, size: int) -> None: ...


@dataclass(frozen=True)
class Writing:
    """A transaction that somebody may write in: call it with a statement; `author` is who acts."""

    execute: Execute
    author: str

    def __call__(self, sql: str, parameters: list | None = None) -> list[dict]:
        return self.execute(sql, parameters)
