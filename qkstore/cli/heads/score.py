"""The command that scores all heads of a run, or compares the scores of two contrasts or two runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qkstore.cli.arguments import (
    Add,
    completed_by,
    contrasts,
    each,
    every,
    runs,
    store,
    with_contrasts,
    with_json,
    with_workers,
    workers,
)
from qkstore.cli.terminal import Progress, count, print_json, print_table
from qkstore.errors import ContrastError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qkstore import Contrast, Run, Store
    from qkstore.analysis.heads import HeadScore
    from qkstore.pool import Pool

    Asked = tuple[Run, str, Contrast]  # the name is that of the contrast, as it was asked for

SCORED = (
    "layer",
    "head",
    "selected",
    "accuracy",
    "chance",
    "selectivity",
    "attention_positive",
    "attention_negative",
    "strength",
    "p_value",
    "rank",
    "n_queries",
)


def heads(add: Add) -> None:
    told = "score every head of a run under a contrast, or of several runs under several, or compare two"
    sub = with_workers(with_json(with_contrasts(add("heads", _heads, told))))
    sub.add_argument(
        "--nulls", type=count, default=19, help="deals of signs for the null of ‖ΔC‖ (default 19, 0 for none)"
    )
    sub.add_argument(
        "--top", type=count, metavar="N", help="the N heads of the most evidence on the prompts that choose"
    )
    told = "another contrast, whose scores to take from these; of this run, or of --compare-run"
    completed_by(sub.add_argument("--compare-with", metavar="CONTRAST", help=told), contrasts)
    told = "another run, with the same contrast or that of --compare-with"
    completed_by(sub.add_argument("--compare-run", metavar="RUN", help=told), runs)
    sub.add_argument("--by", metavar="MEASURE", help="what to compare (default accuracy)")


def _heads(options) -> None:
    with workers(options) as pool:
        there = store(options)
        asked = each(there, options)
        if options.compare_with or options.compare_run:
            _compare(options, there, asked, pool)
        else:
            _score(options, there, asked, pool)


def _score(options, there: Store, asked: Sequence[Asked], pool: Pool) -> None:
    """One after another, in one pool: each table is printed as soon as it is there, JSON when all are."""
    from qkstore.analysis.heads import by_evidence, check, kept
    from qkstore.text import visible

    if options.by:
        raise ContrastError("--by names what to compare: give --compare-with or --compare-run too, or leave it out")
    several = len(asked) > 1
    if several:  # mistakes are told before hours of work on what has none
        every([(run, name, partial(check, there, run, contrast, options.nulls)) for run, name, contrast in asked])
    told = []
    for i, (run, name, contrast) in enumerate(asked):
        stage = f"heads of {run.name} under {name}" if several else "heads"
        with Progress() as progress:
            found = kept(there, run, contrast, options.nulls, progress=partial(progress, stage), pool=pool)
        scores = by_evidence(found)
        if options.json:
            told.append({"run": run.name, "contrast": name, "heads": _rows(scores, options.top)})
            continue
        if several:
            print(*[""] * (i > 0), visible(f"{run.name} under {name}"), sep="\n")
        _print(scores, options.top)
    if options.json:
        print_json(told if several else told[0]["heads"])


def _rows(scores: Sequence[HeadScore], top: int | None) -> list[dict]:
    from qkstore.analysis.heads import table

    chosen = {(row["layer"], row["head"]): row["selected"] for row in table(scores).to_dicts()}
    return [s.to_dict() | {"selected": chosen[s.layer, s.head]} for s in scores[:top]]


def _print(scores: Sequence[HeadScore], top: int | None) -> None:
    from qkstore.analysis.heads import clear_told, statement, table

    rows = {(row["layer"], row["head"]): row for row in table(scores).to_dicts()}
    print_table([{name: rows[s.layer, s.head][name] for name in SCORED} for s in scores[:top]])
    print(statement(scores))
    print("\n".join(filter(None, (clear_told(scores, by) for by in ("accuracy", "p_value")))))


def _compare(options, there: Store, asked: Sequence[Asked], pool: Pool) -> None:
    from qkstore.analysis.heads import compared

    if len(asked) > 1:
        raise ContrastError("one run under one contrast is compared: give one --run and one --contrast beside it")
    [(run, called, contrast)] = asked
    other_run = there.run(options.compare_run) if options.compare_run else run
    name = options.compare_with or (called if options.contrast else None)
    members = there.feature(other_run, name) if name else (contrast,)
    if len(members) > 1:
        raise ContrastError(f"{name!r} is the span of {len(members)} contrasts; compare with one, {members[0].name!r}")
    both, by = ((run, contrast), (other_run, members[0])), options.by or "accuracy"
    with Progress() as progress:
        found = compared(there, *both, by, options.nulls, pool, partial(progress, "heads"))
    if options.json:
        print_json(found.to_dict())
        return
    print_table(found.table.head(len(found.table) if options.top is None else options.top).to_dicts())
    print(f"{found.sentence}\n{found.statement}")
