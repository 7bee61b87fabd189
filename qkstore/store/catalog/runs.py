"""What a catalogue knows of runs: who added, renamed and removed them, and the notes and results that it keeps of one.

The files are the store's; `qkstore.store.moves` changes both together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qkstore.store.catalog.mark import marked
from qkstore.store.catalog.migrations import now
from qkstore.store.catalog.notes import STANDING
from qkstore.store.catalog.rows import COUNTED, CREATED, who

if TYPE_CHECKING:
    from datetime import datetime

    from qkstore.store.catalog.catalog import Catalog

ADDED, REMOVED, RENAMED = "added", "removed", "renamed to "
ACTS = f"""
    SELECT subject, state, author, writer, {CREATED} FROM mark m WHERE m.kind = 'run' AND {COUNTED}
    ORDER BY m.created, subject, version
"""
OF = "strpos('+' || run || '+', ?) > 0"  # a report is of several runs, whose names no + can be in


@dataclass(frozen=True)
class Act:
    """What was done to a run: added, removed, or 'renamed to NAME'."""

    subject: str
    state: str
    author: str
    writer: str | None
    created: datetime

    @property
    def to(self) -> str | None:
        """The name that it was given, if it was renamed."""
        return self.state.removeprefix(RENAMED) if self.state.startswith(RENAMED) else None

    @property
    def by(self) -> str:
        return who(self.author, self.writer)


@dataclass(frozen=True)
class Kept:
    """What a catalogue keeps of a run: notes that stand, results by kind ({'heads': 4}) and the bytes of all of them.

    What removing the run loses, besides the run.
    """

    notes: int
    results: dict[str, int]
    n_bytes: int

    def __bool__(self) -> bool:
        return bool(self.notes or self.results)


class Runs:
    """The runs of a store, as its catalogue knows them."""

    def __init__(self, catalog: Catalog):
        self.catalog = catalog

    def acts(self) -> list[Act]:
        """What was done to all runs, oldest first."""
        return [Act(**row) for row in self.catalog.rows(ACTS)]

    def added(self) -> dict[str, str]:
        """{name: who added it} of the runs of whom that is known, by the names that they have now."""
        by: dict[str, str] = {}
        for act in self.acts():
            before = by.pop(act.subject, None)
            if act.state == ADDED:
                by[act.subject] = act.by
            elif act.to and before:
                by[act.to] = before
        return by

    def gone(self, name: str) -> tuple[str | None, str]:
        """(the name that a run has now, what became of it in words) of one that is not there under its old name.

        (None, '') where nothing is known of it. One that was renamed twice has its last name.
        """
        acts, found, said = self.acts(), None, ""
        last = next((i for i in reversed(range(len(acts))) if acts[i].subject == name), None)
        if last is None or acts[last].state == ADDED:
            return None, ""
        for act in acts[last:]:
            if act.subject == (found or name):
                said = f"{f'renamed to {act.to}' if act.to else act.state} by {act.by}, {act.created:%Y-%m-%d %H:%M}"
                found = act.to
                if found is None:
                    break
        return found, f"was {said}"

    def kept(self, name: str) -> Kept:
        """What is kept of a run."""
        notes = self.catalog.rows(f"SELECT count(*) AS n {STANDING} AND run = ?", [name])
        results = self.catalog.rows(
            f"SELECT kind, count(*) AS n, sum(length(payload)) AS size FROM result WHERE {OF} GROUP BY kind",
            [_of(name)],
        )
        counts = {row["kind"]: row["n"] for row in sorted(results, key=lambda row: row["kind"])}
        return Kept(notes[0]["n"] if notes else 0, counts, int(sum(row["size"] for row in results)))

    def results(self, name: str, most: int = 50) -> list[dict]:
        """The newest results that are kept of a run: kind, contrast, version, n_bytes, author, created."""
        columns = f"kind, contrast, version, length(payload) AS n_bytes, author, {CREATED}"
        return self.catalog.rows(
            f"SELECT {columns} FROM result r WHERE {OF} ORDER BY r.created DESC, key LIMIT {most:d}", [_of(name)]
        )

    def rename(self, old: str, new: str) -> None:
        """Have the notes and results of a run follow it to its new name. For admins; raises RoleError for others."""
        with self.catalog.write("rename a run", f"run {new}", least="admin") as execute:
            for table in ("note", "result"):
                execute(f"UPDATE {table} SET run = ? WHERE run = ?", [new, old])
            marked(execute, "run", old, f"{RENAMED}{new}")

    def remove(self, name: str, away: Callable[[], object] = lambda: None) -> None:
        """Let the results of a run go and withdraw the notes on it. For admins; raises RoleError for others.

        away: removes its file, before this is for good; where that fails nothing is changed.
        """
        with self.catalog.write("delete a run", f"run {name}", least="admin") as execute:
            execute(f"DELETE FROM result WHERE {OF}", [_of(name)])
            execute(
                "INSERT INTO mark (kind, subject, version, state, author, created) "
                f"SELECT 'note', note_id, 1, 'withdrawn', ?, ? {STANDING} AND run = ?",
                [execute.author, now(), name],
            )
            marked(execute, "run", name, REMOVED)
            away()


def _of(name: str) -> str:
    return f"+{name}+"
