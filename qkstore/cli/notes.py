"""The commands of what people leave in a catalogue: notes, and who changed what."""

from __future__ import annotations

import argparse

from qkstore.cli import arguments
from qkstore.cli.arguments import Add, store, with_json
from qkstore.cli.terminal import positive, print_json, print_table, whole
from qkstore.errors import ContrastError, RunError, StoreError

MOST_LISTED = 100_000  # notes


def notes(add: Add) -> None:
    sub = with_json(add("notes", _notes, "notes on a run, a head or a contrast: list them, --add one, --withdraw one"))
    arguments.completed_by(sub.add_argument("--run"), arguments.runs)
    sub.add_argument("--layer", type=whole)
    sub.add_argument("--head", type=whole)
    arguments.completed_by(sub.add_argument("--contrast", help="a note on this contrast"), arguments.contrasts)
    act = sub.add_mutually_exclusive_group()
    told = "those that hold every word of it: in the note, in what it is on, in its author's name"
    sub.may_be_empty.append(act.add_argument("--search", metavar="TEXT", help=told))  # every note
    act.add_argument("--add", metavar="TEXT")
    act.add_argument("--withdraw", metavar="NOTE", help="the note of this number: one's own, or as an admin any")


def _notes(options: argparse.Namespace) -> None:
    there = store(options)
    if options.withdraw:
        there.catalog.notes.withdraw(options.withdraw)
        print(f"withdrew {options.withdraw}")
        return
    run, subject = _about(there, options)
    if options.add is not None:
        note = there.catalog.notes.add(options.add, run or "", subject or "")
        print_json(vars(note)) if options.json else print(f"note {note.note_id} on {note.about}")
        return
    found, _ = there.catalog.notes.search(options.search or "", run=run, subject=subject, most=MOST_LISTED)
    if options.json:
        print_json([vars(note) for note in found])
    else:
        print_table([_row(note) for note in found])


def _row(note) -> dict:
    from qkstore.text import visible

    made = {"author": visible(note.author), "created": str(note.created)[:16]}
    return {"note": note.note_id, "about": visible(note.about)} | made | {"text": visible(note.text)}


def _about(there, options: argparse.Namespace) -> tuple[str | None, str | None]:
    """(run, subject) of the options, each None where nothing is said; raises where they name nothing that is there."""
    from qkstore.store.catalog.notes import on_contrast, on_head

    if (options.layer is None) != (options.head is None):
        raise RunError("a note on a head needs both --layer and --head")
    if options.contrast:
        if options.run or options.layer is not None:
            raise ContrastError("a note on a contrast belongs to no run: leave out --run, --layer and --head")
        return "", on_contrast(_contrast(there, options.contrast))
    if not options.run:
        if options.layer is not None:
            raise RunError("--layer and --head are of a run; name it with --run")
        if options.add is not None:
            raise StoreError(
                "a note is on something: name a --run, with --layer and --head a head of it, or a --contrast"
            )
        return None, None
    run = there.run(options.run)
    if options.layer is None:
        return run.name, "" if options.add is not None else None
    run.layer(options.layer, options.head)  # raises where it is not stored
    return run.name, on_head(options.layer, options.head)


def _contrast(there, name: str) -> str:
    """The name of a contrast that is built in or saved, without a version."""
    from qkstore.contrast.builtin import taken

    return name if taken(name) else there.catalog.contrast(name).name


def history(add: Add) -> None:
    sub = with_json(add("history", _history, "who changed what in the catalogue, newest first"))
    sub.add_argument("--most", type=positive, default=50, help="changes at most (default 50)")


def _history(options: argparse.Namespace) -> None:
    from qkstore.text import visible

    rows = [
        {"created": str(c.created)[:19], "who": c.who, "act": c.act, "subject": c.subject}
        for c in store(options).catalog.changes(options.most)
    ]
    print_json(rows) if options.json else print_table([{k: visible(v) for k, v in row.items()} for row in rows])
