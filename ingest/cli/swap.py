"""The command that swaps keys inside the running model."""

from __future__ import annotations

import argparse

from ingest.cli.model import Add, prepare, with_dtype
from qkstore.cli.terminal import count, positive


def intervene(add: Add) -> None:
    sub = add("intervene", _intervene, "swap keys inside the running model, beside the closed form of a run")
    sub.add_argument("--run", required=True, help="the run whose contrasts and queries are used")
    sub.add_argument("--model", required=True, metavar="demo|PATH_OR_ID", help="the model that the run was made with")
    sub.add_argument("--contrast", help="a built-in or saved name; needed without --components")
    sub.add_argument(
        "--and", dest="other", metavar="CONTRAST", help="a second contrast; both are also swapped together"
    )
    sub.add_argument(
        "--components",
        nargs="*",
        metavar="0,3,5",
        help="swap the heads' components: all of them, everything but them, and a group where one is named, such as "
        "0,3,5 of a single head, 1:0=0,3,5 1:2=1 of several; with --contrast, between the same keys",
    )
    where = sub.add_mutually_exclusive_group()
    where.add_argument(
        "--heads", metavar="1:0,1:2", help="the heads that are edited together, layer:head; default the best one"
    )
    where.add_argument("--layer", type=count, help="every head of a layer")
    sub.add_argument(
        "--rows",
        choices=("last", "all"),
        default="last",
        help="edit the query's row alone, or every row that sees both keys",
    )
    sub.add_argument("--bases", type=count, default=10, help="random bases a rank (default %(default)s)")
    sub.add_argument("--most", type=positive, default=1000, help="queries at most (default %(default)s)")
    sub.add_argument("--seed", type=count, default=0, help="of queries, targets and random bases")
    with_dtype(sub)
    sub.add_argument("--batch-size", type=positive, default=32, help="prompts at once (default %(default)s)")
    sub.add_argument("--json", action="store_true", help="print the whole result as JSON")


def _intervene(options: argparse.Namespace) -> None:
    from ingest import intervene

    prepare(options.threads)
    intervene.intervene(options)
