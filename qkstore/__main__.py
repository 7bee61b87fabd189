# PYTHON_ARGCOMPLETE_OK
"""The command line: every page's result as a command. Exit code 0 done, 2 a user's mistake (one line), 1 a bug."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import qkstore
from qkstore.cli import analyses, arguments, contrasts, notes, programs, runs, stores, summaries, team
from qkstore.cli.heads import components, discover, head, score, swaps
from qkstore.cli.terminal import Parser, complete, need, printed
from qkstore.errors import QKStoreError

NEEDS = ("duckdb", "numpy", "polars", "pyarrow")
COMMANDS = (  # in the order of --help
    programs.demo,
    programs.ingest,
    programs.serve,
    runs.runs,
    runs.rename,
    runs.reshard,
    runs.remove,
    contrasts.contrasts,
    notes.notes,
    notes.history,
    score.heads,
    discover.discover,
    components.components,
    analyses.covariance,
    analyses.rank,
    swaps.intervene,
    swaps.dose,
    analyses.growth,
    swaps.variants,
    analyses.attribute,
    head.strongest,
    head.nearest,
    summaries.toy,
    summaries.report,
    stores.sql,
    analyses.export,
    stores.check,
    stores.backup,
    stores.restore,
    team.init,
    team.people,
    team.push,
    team.pull,
)


def main(given: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    # Read when NumPy is loaded. Matrices of a head are small: several threads for one take more time than they save.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        with printed():
            _act(given)
    except QKStoreError as error:
        print(f"qkstore: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output went away: `… | head`
        return 0
    except KeyboardInterrupt:
        return 130
    return 0


def _act(given: list[str] | None) -> None:
    programs.completed_over()
    complete(parser())
    programs.handed_over(sys.argv[1:] if given is None else given)
    options = parser().parse_args(given)
    need(NEEDS, "pip install qkstore, or in a clone `make demo`")
    try:
        options.act(options)
    finally:
        held = arguments.held(options)
        if held and held != str(sys.exc_info()[1]):  # else the error itself says it
            print(f"qkstore: {held}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """Of all commands."""
    called = "qkstore" if Path(sys.argv[0]).stem == "qkstore" else "python -m qkstore"
    top = Parser(prog=called, description="Analyse a store of queries and keys.")
    top.add_argument("--version", action="version", version=f"qkstore {qkstore.__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, act, help: str) -> Parser:
        sub = commands.add_parser(name, help=help.replace("%", "%%"), description=help)
        told = "a store directory, or a team's file team.toml (default: $QKSTORE, then ./store)"
        sub.add_argument("--store", help=told)
        sub.set_defaults(act=act)
        return sub

    for command in COMMANDS:
        command(add)
    return top


if __name__ == "__main__":
    sys.exit(main())
