"""python -m ingest: runs of the demo model, or of any model that routes through transformers' attention interface."""

from __future__ import annotations

import argparse
import os
import sys

from ingest.cli import prompts, swap, toy
from qkstore.cli.arguments import where
from qkstore.cli.terminal import Parser, complete, need, printed
from qkstore.errors import QKStoreError

DONE, MISTAKE, INTERRUPTED = 0, 2, 130  # and 1, Python's own, for a bug
NEEDS = ("torch", "transformers", "safetensors", "tokenizers", "duckdb", "numpy", "polars", "pyarrow", "tqdm")
COMMANDS = (
    prompts.demo,
    prompts.model,
    prompts.real,
    prompts.paper,
    toy.toy,
    toy.sweep,
    swap.intervene,
)  # in the order of --help


def main(given: list[str] | None = None) -> int:
    """The command; returns its exit code. A user's mistake is one line on stderr, a bug a traceback."""
    given = sys.argv[1:] if given is None else given
    try:
        complete(parser())
        if not {"-h", "--help"} & set(given):
            need(NEEDS, "pip install 'qkstore[ingest]', or in a clone `make demo`")
        options = parser().parse_args(given)
        options.store = where(options)
        with printed():
            options.run_command(options)
    except QKStoreError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return MISTAKE
    except BrokenPipeError:  # the reader of our output went away: `… | head`
        return DONE
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    return DONE


def parser() -> argparse.ArgumentParser:
    """Of all commands."""
    top = Parser(prog="python -m ingest", description="Put a model's queries and keys into a store.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, act, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help)
        sub.add_argument(
            "--store", help="directory of the store, or a team's file team.toml; default $QKSTORE, then ./store"
        )
        sub.set_defaults(run_command=act)
        return sub

    for command in COMMANDS:
        command(add)
    return top


if __name__ == "__main__":
    # Read when torch is loaded. Where other work runs, threads that wait in a loop take the time of those that compute.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main())
