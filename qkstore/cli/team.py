"""The commands of a shared store: set up its catalogue, say who may do what, move finished runs between stores."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from qkstore.cli.arguments import Add, store, where, with_json
from qkstore.cli.terminal import Progress, print_json, print_table
from qkstore.errors import StoreError

STAY = (  # what a colleague does not get
    "qkstore: runs are copied with all their labels and vectors; contrasts and notes stay here: a contrast is saved "
    "there by its own `qkstore contrasts --save`, and `qkstore backup` packs a whole store"
)
POLITE = 19  # niceness of a copy: whoever looks at pages of the same machine comes first (bench/team/browse.py)


def init(add: Add) -> None:
    add("init", _init, "make the catalogue of a shared store (--store team.toml), or bring it up to date")


def _init(options: argparse.Namespace) -> None:
    from qkstore.store import team
    from qkstore.store.catalog.person import ROLES
    from qkstore.store.catalog.postgres import Postgres

    file = where(options)
    if not file.endswith(team.SUFFIX):
        raise StoreError(f"store {file!r} is a directory, which needs no set-up; init is for a team's file, team.toml")
    database = Postgres(team.Team.read(file).catalogue)
    version = database.migrate()
    roles = ", ".join(f"qkstore_{role}" for role in ROLES)
    print(f"catalogue {database.told}: version {version}; roles {roles}: give them with GRANT qkstore_viewer TO alice")


def people(add: Add) -> None:
    sub = with_json(add("people", _people, "who may do what in a dashboard with a login; give a role with --set"))
    told = "a role: viewer, editor, admin; or none, which takes it away"
    sub.add_argument("--set", nargs=2, metavar=("ADDRESS", "ROLE"), help=told)


def _people(options: argparse.Namespace) -> None:
    people = store(options).catalog.people
    if options.set:
        people.set(*options.set)
    rows = [row | {"created": str(row["created"])[:19]} for row in people.all()]
    print_json(rows) if options.json else print_table(rows)


def push(add: Add) -> None:
    sub = add("push", _push, "copy finished runs of this store into another one")
    sub.add_argument("--to", required=True, metavar="STORE", help="a store directory, or a team's file team.toml")
    _with_runs(sub)


def _push(options: argparse.Namespace) -> None:
    os.nice(POLITE)  # before what takes long to import
    _move(store(options), options.to, options.run, backwards=False)


def pull(add: Add) -> None:
    sub = add("pull", _pull, "copy finished runs of another store into this one")
    sub.add_argument("--from", dest="source", required=True, metavar="STORE", help="a directory, or a team's team.toml")
    _with_runs(sub)


def _pull(options: argparse.Namespace) -> None:
    os.nice(POLITE)
    import qkstore

    _move(qkstore.open(where(options), create=True), options.source, options.run, backwards=True)


def _with_runs(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--run", nargs="+", required=True, metavar="RUN", help="names of the runs")


def _move(here, other: str, names: list[str], backwards: bool) -> None:
    import qkstore
    from qkstore.store.team import SUFFIX
    from qkstore.store.transfer import transfer

    made = not backwards and not other.endswith(SUFFIX) and not (Path(other) / "runs").is_dir()
    there = qkstore.open(other, create=not backwards)
    source, target = (there, here) if backwards else (here, there)
    for name in dict.fromkeys(names):
        with Progress() as progress:
            path = transfer(source, name, target, lambda done, total, name=name: progress(name, done, total))
        print(path)
    if made:
        print(f"qkstore: {other} was no store yet; a new one was made there", file=sys.stderr)
    if not backwards:
        print(STAY, file=sys.stderr)
