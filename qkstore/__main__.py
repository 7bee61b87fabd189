"""The command line: every page's result as a command. Exit code 0 done, 2 a user's mistake (one line), 1 a bug."""

from __future__ import annotations

import argparse
import os
import sys

from qkstore.cli import commands as cli_commands
from qkstore.cli.terminal import Parser, count, numbers, positive, seconds
from qkstore.errors import QKStoreError


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    try:
        options = parser().parse_args(arguments)
        options.act(options)
    except QKStoreError as error:
        print(f"qkstore: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output went away: `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="python -m qkstore", description="Analyse a store of queries and keys.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, does, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.add_argument("--store", help="a store directory (default: $QKSTORE, then ./store)")
        sub.set_defaults(act=does)
        return sub

    _json(command("runs", cli_commands.runs, "list the runs of a store"))
    sub = _json(
        command("contrasts", cli_commands.contrasts, "list contrasts, or save one with --save NAME and its predicates")
    )
    sub.add_argument("--run", help="list what is built in for this run, with counts and the check of each")
    sub.add_argument("--save", metavar="NAME", help="save the predicates given as a new version of this name")
    sub.add_argument("--description", default="")
    sub.add_argument("--author", default=os.environ.get("USER", ""))
    _predicates(sub)

    sub = _json(_contrast(command("heads", cli_commands.heads, "score every head of a run under a contrast")))
    sub.add_argument(
        "--nulls", type=count, default=19, help="sign permutations for the null of ‖ΔC‖ (default 19, 0 for none)"
    )

    sub = _head(
        _contrast(command("covariance", cli_commands.covariance, "ΔC of one head, its SVD and rank, into an npz file"))
    )
    sub.add_argument("--out", required=True, metavar="FILE.npz")
    sub.add_argument("--rank", type=int, help="cut at this rank instead of the 99 %% rule")

    sub = _json(
        _head(
            _contrast(
                command(
                    "rank", cli_commands.rank, "the rank of ΔC three ways, with p-values, and canonical correlations"
                )
            )
        )
    )
    sub.add_argument("--seed", type=count, default=0)

    sub = _swaps(
        _json(_head(_contrast(command("intervene", cli_commands.intervene, "swap key coordinates in closed form"))))
    )
    sub.add_argument(
        "--and", dest="other", metavar="CONTRAST", help="a second contrast; both are also swapped together"
    )
    sub.add_argument(
        "--side",
        choices=("keys", "queries"),
        default="keys",
        help="swap two keys, or a query with another that looks for the target",
    )

    sub = _swaps(
        _json(
            _head(
                _contrast(
                    command("dose", cli_commands.dose, "swap keys little by little, all coordinates and one at a time")
                )
            )
        )
    )
    sub.add_argument("--doses", type=numbers, metavar="0,0.5,1", help="1 is the whole swap (default 0 to 1.5)")

    sub = _json(
        _head(
            _contrast(
                command(
                    "growth", cli_commands.growth, "the 99 %% rank against the number of values of a label that go in"
                )
            )
        )
    )
    sub.add_argument("--by", metavar="LABEL", help="a label of queries (default: the contrast's own)")
    sub.add_argument("--draws", type=positive, default=5, help="times that the values are drawn (default 5)")
    sub.add_argument("--seed", type=count, default=0)

    sub = _json(
        _head(
            command(
                "variants",
                cli_commands.variants,
                "the text's contrasts beside those of the authors' scripts, on the same swaps",
            )
        )
    )
    sub.add_argument("--run", required=True)
    sub.add_argument("--most", type=positive, default=1000, help="queries at most (default 1000)")
    sub.add_argument("--seed", type=count, default=0)

    sub = _json(_head(_contrast(command("attribute", cli_commands.attribute, "split one prompt's logits by feature"))))
    sub.add_argument("--and", dest="other", metavar="CONTRAST")
    sub.add_argument("--prompt", required=True, help="prompt_id, or the prompt's own id")
    sub.add_argument("--order", help="names in the order they are projected out (default: smaller rank first)")

    sub = _json(
        command("toy", cli_commands.toy, "what the paper says of its toy task beside what all toy runs of a store show")
    )
    sub.add_argument("--into", metavar="FILE.md", help="put the table between the marker comments of a page")

    sub = command(
        "report",
        cli_commands.report,
        "the paper's language-model figures over runs of lists and boxes, as one HTML page",
    )
    sub.add_argument("--run", required=True, nargs="+", help="a run of lists, runs of boxes, or both")
    sub.add_argument("--out", required=True, metavar="FILE.html")
    sub.add_argument("--markdown", metavar="DIR", help="also report.md there, with the figures as files beside it")

    sub = command("sql", cli_commands.sql, "one guarded, read-only SELECT over a run; prints JSON {columns, rows}")
    sub.add_argument("--run", required=True)
    sub.add_argument("--limit", type=seconds, default=10.0, help="seconds (default 10)")
    sub.add_argument("--rows", type=count, default=10_000, help="rows at most (default 10000)")
    sub.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    sub.add_argument("select")

    sub = _head(
        _contrast(
            command(
                "export",
                cli_commands.export,
                "the pairs of a contrast with logits, attention and labels (.parquet), or with vectors (.npz)",
            )
        )
    )
    sub.add_argument("--out", required=True, metavar="FILE.parquet|FILE.npz")

    command("check", cli_commands.check, "read every file of a store whole, and say what is wrong")
    command("backup", cli_commands.backup, "pack a store into one tar file").add_argument(
        "--out", required=True, metavar="FILE.tar"
    )
    command("restore", cli_commands.restore, "unpack a backup into a new store").add_argument(
        "--from", dest="archive", required=True, metavar="FILE.tar"
    )
    return top


def _json(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("--json", action="store_true", help="print JSON")
    return sub


def _contrast(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("--run", required=True)
    sub.add_argument("--contrast", help="a built-in or saved name; or give --positive and --negative")
    _predicates(sub)
    return sub


def _predicates(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--where", help="SQL over q and k that every pair satisfies")
    sub.add_argument("--positive")
    sub.add_argument("--negative")
    sub.add_argument("--pairs", help="instead of predicates: one SELECT of query_row, key_row, sign [, weight]")
    sub.add_argument("--weighting", choices=("pair", "query", "sum"), default="pair")
    sub.add_argument("--centring", choices=("none", "queries"), default="none")


def _swaps(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("--bases", type=int, default=10, help="random bases a rank (default 10)")
    sub.add_argument("--most", type=positive, default=1000, help="queries at most (default 1000)")
    sub.add_argument("--seed", type=count, default=0)
    return sub


def _head(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("--layer", type=int, required=True)
    sub.add_argument("--head", type=int, required=True)
    return sub


if __name__ == "__main__":
    sys.exit(main())
