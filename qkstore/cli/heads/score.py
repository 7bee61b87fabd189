"""The command that scores all heads of a run, or compares the scores of two contrasts or two runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qkstore.cli.arguments import (
    Add,
    completed_by,
    contrasts,
    one,
    runs,
    store,
    with_contrast,
    with_json,
    with_workers,
    workers,
)
from qkstore.cli.terminal import Progress, count, print_json, print_table
from qkstore.errors import ContrastError

if TYPE_CHECKING:
    from qkstore import Contrast, Run, Store
    from qkstore.pool import Pool

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
    told = "score every head of a run under a contrast, or compare two"
    sub = with_workers(with_json(with_contrast(add("heads", _heads, told))))
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
        run = there.run(options.run)
        contrast = one(there, run, options)
        if options.compare_with or options.compare_run:
            _compare(options, there, run, contrast, pool)
        else:
            _score(options, there, run, contrast, pool)


def _score(options, there: Store, run: Run, contrast: Contrast, pool: Pool) -> None:
    from qkstore.analysis.heads import by_evidence, clear_told, kept, statement, table

    if options.by:
        raise ContrastError("--by names what to compare: give --compare-with or --compare-run too, or leave it out")
    with Progress() as progress:
        found = kept(there, run, contrast, options.nulls, progress=partial(progress, "heads"), pool=pool)
    scores = by_evidence(found)
    rows = {(row["layer"], row["head"]): row for row in table(scores).to_dicts()}
    told = [(s, rows[s.layer, s.head]) for s in scores[: options.top]]
    if options.json:
        print_json([s.to_dict() | {"selected": row["selected"]} for s, row in told])
        return
    print_table([{name: row[name] for name in SCORED} for _, row in told])
    print(statement(scores))
    print("\n".join(filter(None, (clear_told(scores, by) for by in ("accuracy", "p_value")))))


def _compare(options, there: Store, run: Run, contrast: Contrast, pool: Pool) -> None:
    from qkstore.analysis.heads import compared

    other_run = there.run(options.compare_run or options.run)
    name = options.compare_with or options.contrast
    members = there.feature(other_run, name) if name else (contrast,)
    if len(members) > 1:
        raise ContrastError(f"{name!r} is the span of {len(members)} contrasts; compare with one, {members[0].name!r}")
    asked, by = ((run, contrast), (other_run, members[0])), options.by or "accuracy"
    with Progress() as progress:
        found = compared(there, *asked, by, options.nulls, pool, partial(progress, "heads"))
    if options.json:
        print_json(found.to_dict())
        return
    print_table(found.table.head(len(found.table) if options.top is None else options.top).to_dicts())
    print(f"{found.sentence}\n{found.statement}")
