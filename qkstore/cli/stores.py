"""The commands that list, query and keep what a store has: each one's arguments, and below them what it does."""

from __future__ import annotations

import argparse
import os
import sys

from qkstore.cli import arguments
from qkstore.cli.arguments import Add, inline, store, where, with_json, with_predicates, with_run
from qkstore.cli.terminal import count, print_json, print_table, seconds
from qkstore.errors import QKStoreError, StoreError

MOST_ILL = 10  # findings in the one line of `check`


def runs(add: Add) -> None:
    with_json(add("runs", _runs, "list the runs of a store"))


def _runs(options) -> None:
    from qkstore.store.overview import answers, query_tokens

    readable, errors = store(options).scan()
    facts = (
        "model",
        "task",
        "n_prompts",
        "n_queries",
        "n_keys",
        "n_layers",
        "n_heads",
        "n_kv_heads",
        "d_head",
        "dtype",
    )
    rows = [
        {"run": r.name}
        | {f: getattr(r.manifest, f) for f in facts}
        | {"answers": answers(r), "query": query_tokens(r), "layers": list(r.layers), "created": str(r.created)}
        for r in readable
    ]
    if options.json:
        print_json(rows)
    else:
        print_table([{k: v for k, v in row.items() if k not in ("layers", "dtype")} for row in rows])
    for error in errors:
        print(f"qkstore: {error}", file=sys.stderr)


def contrasts(add: Add) -> None:
    told = "list contrasts, or save one with --save NAME and its predicates"
    sub = with_json(add("contrasts", _contrasts, told))
    shown = sub.add_argument("--run", help="list what is built in for this run, with counts and the check of each")
    arguments.completed_by(shown, arguments.runs)
    sub.add_argument("--save", metavar="NAME", help="save the predicates given as a new version of this name")
    sub.add_argument("--description", default="")
    sub.add_argument("--author", default=os.environ.get("USER", ""))
    with_predicates(sub)


def _contrasts(options) -> None:
    there = store(options)
    if options.save:
        contrast = inline(options, options.save).replace(description=options.description, author=options.author)
        saved = there.catalog.save(contrast)
        print_json(saved.to_dict()) if options.json else print(f"saved {saved.name!r}, version {saved.version}")
        return
    if not options.run:
        kept = there.catalog.contrasts()
        print_json([c.to_dict() for c in kept]) if options.json else print_table(
            [{"name": c.name, "version": c.version, "contrast": c.sentence()} for c in kept]
        )
        return
    run = there.run(options.run)
    rows = [_counted(run, members[0]) for members in there.features(run).values() if len(members) == 1]
    if options.json:
        print_json(rows)
    for row in [] if options.json else rows:
        print(f"{row['name']}: {row['sentence']}", *(f"  ! {f}" for f in row["findings"]), sep="\n")


def _counted(run, contrast) -> dict:
    """A contrast on a run: its sentence with counts and what its check finds, or the error that it meets there."""
    from qkstore.contrast import pairs
    from qkstore.contrast.check import check

    try:
        counts = pairs(run, contrast).counts
        findings = [f.text for f in check(run, contrast) if f.warns]
        more = {"sentence": contrast.sentence(counts), "counts": counts._asdict(), "findings": findings}
    except QKStoreError as error:
        more = {"sentence": contrast.sentence(), "counts": None, "findings": [str(error)]}
    return contrast.to_dict() | more


def sql(add: Add) -> None:
    sub = with_run(add("sql", _sql, "one guarded, read-only SELECT over a run; prints JSON {columns, rows}"))
    sub.add_argument("--limit", type=seconds, default=10.0, help="seconds (default 10)")
    sub.add_argument("--rows", type=count, default=10_000, help="rows at most (default 10000)")
    sub.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    sub.add_argument("select")


def _sql(options) -> None:
    from qkstore.cli.answer import answer
    from qkstore.sql import guard

    run = store(options).run(options.run)
    print_json(answer(run.path, guard.select(options.select, run.columns), options.limit, options.rows))


def check(add: Add) -> None:
    add("check", _check, "read every file of a store whole, and say what is wrong")


def _check(options) -> None:
    from qkstore.store.archive import check as inspect

    well, ill = inspect(store(options))
    print(*(f"ok  {line}" for line in well), sep="\n")
    if ill:
        more = f"; and {len(ill) - MOST_ILL} more" if len(ill) > MOST_ILL else ""
        raise StoreError("; ".join(ill[:MOST_ILL]) + more)


def backup(add: Add) -> None:
    sub = add("backup", _backup, "pack a store into one tar file")
    sub.add_argument("--out", required=True, metavar="FILE.tar")


def _backup(options) -> None:
    from qkstore.store.archive import backup as pack

    path = pack(store(options), options.out)
    print(f"{path}: {path.stat().st_size / 1e6:,.1f} MB")


def restore(add: Add) -> None:
    sub = add("restore", _restore, "unpack a backup into a new store")
    sub.add_argument("--from", dest="archive", required=True, metavar="FILE.tar")


def _restore(options) -> None:
    from qkstore.store.archive import restore as unpack

    print(f"restored into {unpack(where(options), options.archive)}")
