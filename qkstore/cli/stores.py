"""The commands that query and keep what a store has: each one's arguments, and below them what it does."""

from __future__ import annotations

import argparse

from qkstore.cli.arguments import Add, store, where, with_run
from qkstore.cli.terminal import count, print_json, seconds
from qkstore.errors import StoreError

MOST_ILL = 10  # findings in the one line of `check`


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
