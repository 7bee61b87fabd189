"""The options that several commands share, and the store, contrast and features that they name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import qkstore
from qkstore.cli.terminal import Parser, count, positive, whole
from qkstore.errors import ContrastError, QKStoreError

if TYPE_CHECKING:
    from qkstore import Contrast, Run, Store
    from qkstore.pool import Pool

PARTS = ("where", "positive", "negative", "pairs", "weighting", "centring")
MOST_WRONG = 3  # mistakes of many that are told
T = TypeVar("T")
Sub = Parser  # the parser of one command
Add = Callable[[str, Callable[[argparse.Namespace], None], str], Sub]  # (name, what it does, its help) → its parser


# -- options ---------------------------------------------------------------------------------------------------------


def with_json(sub: Sub) -> Sub:
    sub.add_argument("--json", action="store_true", help="print JSON")
    return sub


def with_run(sub: Sub) -> Sub:
    completed_by(sub.add_argument("--run", required=True), runs)
    return sub


def with_contrast(sub: Sub) -> Sub:
    with_run(sub)
    named = sub.add_argument("--contrast", help="a built-in or saved name; or give --positive and --negative")
    completed_by(named, contrasts)
    return with_predicates(sub)


def with_contrasts(sub: Sub) -> Sub:
    """Runs and contrasts of a command that takes several of both: `each` gives every run under every contrast."""
    told = "a run, or several"
    completed_by(sub.add_argument("--run", required=True, nargs="+", action="append", metavar="RUN", help=told), runs)
    told = "a built-in or saved name, or several: of each run under each; or give --positive and --negative"
    named = sub.add_argument("--contrast", nargs="+", action="append", metavar="CONTRAST", help=told)
    completed_by(named, contrasts)
    return with_predicates(sub)


def with_other(sub: Sub, help: str | None = None) -> Sub:
    completed_by(sub.add_argument("--and", dest="other", metavar="CONTRAST", help=help), contrasts)
    return sub


def with_predicates(sub: Sub) -> Sub:
    where = sub.add_argument("--where", help="SQL over q and k that every pair satisfies; '' for none")
    sub.may_be_empty.append(where)
    sub.add_argument("--positive")
    sub.add_argument("--negative")
    sub.add_argument("--pairs", help="instead of predicates: one SELECT of query_row, key_row, sign [, weight]")
    sub.add_argument("--weighting", choices=("pair", "query", "sum"), help="default pair")
    sub.add_argument("--centring", choices=("none", "queries"), help="default none")
    return sub


def with_head(sub: Sub) -> Sub:
    sub.add_argument("--layer", type=whole, required=True)
    sub.add_argument("--head", type=whole, required=True)
    return sub


def with_seed(sub: Sub) -> Sub:
    sub.add_argument("--seed", type=count, default=0)
    return sub


def with_workers(sub: Sub) -> Sub:
    told = "processes of this machine that share the work (default 1)"
    sub.add_argument("--workers", type=positive, default=1, metavar="N", help=told)
    told = "give the work to the Ray cluster at this address, or `auto`: the one that runs on this machine"
    sub.add_argument("--ray", metavar="ADDRESS", help=told)
    return sub


def with_most(sub: Sub) -> Sub:
    sub.add_argument("--most", type=positive, default=1000, help="queries at most (default 1000)")
    return with_seed(sub)


def with_swaps(sub: Sub) -> Sub:
    sub.add_argument("--bases", type=whole, default=10, help="random bases a rank (default 10)")
    return with_most(sub)


# -- what they name --------------------------------------------------------------------------------------------------


def store(options: argparse.Namespace) -> Store:
    options.opened = qkstore.open(options.store)
    return options.opened


def workers(options: argparse.Namespace) -> Pool:
    """Who does the work: this process, others, or a cluster. Raises QKStoreError without Ray, and for two of these."""
    from qkstore.pool import opened

    if options.ray is not None and options.workers != 1:
        raise QKStoreError("--workers are processes of this machine and --ray is a cluster: give one of them")
    return opened(options.workers, options.ray)


def held(options: argparse.Namespace) -> str | None:
    """Who holds the catalogue of the store that a command has opened, where it was read from a copy; else None."""
    return options.opened.catalog.held if "opened" in options else None


def where(options: argparse.Namespace) -> str:
    """The directory of the store, which need not be there: --store, $QKSTORE or ./store."""
    from qkstore.store import DEFAULT

    return options.store or os.environ.get("QKSTORE") or DEFAULT


def inline(options: argparse.Namespace, name: str = "inline") -> Contrast:
    """The contrast whose predicates are given."""
    return qkstore.Contrast(
        name=name,
        where=options.where or None,
        positive=options.positive,
        negative=options.negative,
        pairs=options.pairs,
        weighting=options.weighting or "pair",
        centring=options.centring or "none",
    )


def features(store: Store, run: Run, options: argparse.Namespace) -> dict[str, tuple[Contrast, ...]]:
    """{name: contrasts} of --contrast, or of the predicates given, and of --and."""
    if options.contrast:
        _alone(options)
        named = {options.contrast: called(store, run, options.contrast)}
    else:
        if not any((options.where, options.positive, options.negative, options.pairs)):
            raise ContrastError("no contrast is given: name one by --contrast, or give --positive and --negative")
        named = {"inline": (inline(options),)}
    other = getattr(options, "other", None)
    if other and other in named:
        raise ContrastError(f"--and {other} is the contrast itself; name another one, or leave --and out")
    return named | ({other: called(store, run, other)} if other else {})


def called(store: Store, run: Run, name: str) -> tuple[Contrast, ...]:
    """The contrasts of a name, also of one that `discover` lists and nobody has saved. Raises ContrastError."""
    from qkstore.analysis.discovery import named

    return named(store, run, name)


def feature(store: Store, run: Run, options: argparse.Namespace) -> tuple[str, tuple[Contrast, ...]]:
    """The name and the contrasts of --contrast or of the predicates, of a command without --and."""
    ((name, contrasts),) = features(store, run, options).items()
    return name, contrasts


def one(store: Store, run: Run, options: argparse.Namespace) -> Contrast:
    """The one contrast; raises ContrastError for a span of several, such as `category:*`."""
    name, contrasts = feature(store, run, options)
    if len(contrasts) > 1:
        raise ContrastError(
            f"{name!r} is the span of {len(contrasts)} contrasts; this command takes one, such as {contrasts[0].name!r}"
        )
    return contrasts[0]


def each(store: Store, options: argparse.Namespace) -> list[tuple[Run, str, Contrast]]:
    """Every run of --run with every contrast of --contrast, or of the predicates given, and what it is called.

    Raises ContrastError that names every pair of them that cannot be; of a single pair what `one` raises.
    """
    found = [store.run(name) for name in dict.fromkeys(chain(*options.run))]
    names = list(dict.fromkeys(chain(*options.contrast))) if options.contrast else [None]
    asked = [(run, name) for run in found for name in names]

    def made(run: Run, name: str | None) -> tuple[Run, str, Contrast]:
        return run, name or "inline", one(store, run, argparse.Namespace(**vars(options) | {"contrast": name}))

    return every([(run, name or "inline", partial(made, run, name)) for run, name in asked])


def every(asked: Sequence[tuple[Run, str, Callable[[], T]]]) -> list[T]:
    """What each call gives. Raises ContrastError of all that fail, by run and contrast; of a single call its own."""
    if len(asked) == 1:
        return [asked[0][2]()]
    made, wrong = [], []
    for run, name, call in asked:
        try:
            made.append(call())
        except QKStoreError as error:
            wrong.append(f"{name!r} on {run.name!r}: {error}")
    if wrong:
        more = [f"{len(wrong) - MOST_WRONG:,} more"] if len(wrong) > MOST_WRONG else []
        raise ContrastError("; ".join(wrong[:MOST_WRONG] + more))
    return made


def _alone(options: argparse.Namespace) -> None:
    """Raise ContrastError where a part of a contrast is given beside the name of a whole one."""
    given = [name for name in PARTS if getattr(options, name)]
    if given:
        raise ContrastError(
            f"--contrast {options.contrast} is a whole contrast; "
            f"leave out --{given[0]}, or give the predicates themselves"
        )


# -- completion by a shell -------------------------------------------------------------------------------------------


def runs(parsed_args: argparse.Namespace, **_) -> list[str]:
    """The runs of the store that the line names so far: the names of its files, unopened."""
    folder = Path(where(parsed_args)) / "runs"
    return sorted(path.stem for path in folder.glob("*.duckdb") if not path.name.startswith("."))


def contrasts(parsed_args: argparse.Namespace, **_) -> list[str]:
    """The contrasts of the run that the line names, or the saved ones of the store; none where it cannot be read."""
    try:
        there = store(parsed_args)
        given = getattr(parsed_args, "run", None)
        run = given[-1][-1] if isinstance(given, list) else given  # of several, the last
        return list(there.features(there.run(run))) if run else [c.name for c in there.catalog.contrasts()]
    except QKStoreError:
        return []


def completed_by(argument: argparse.Action, by: Callable[..., list[str]]) -> None:
    argument.completer = by  # type: ignore[attr-defined]  # where argcomplete looks for it
