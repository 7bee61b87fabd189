"""The commands of the runs of a store: list them, rename one, deal one out to shards, remove one."""

from __future__ import annotations

import argparse
import sys

from qkstore.cli import arguments
from qkstore.cli.arguments import Add, store, with_json, with_run
from qkstore.cli.terminal import Progress, positive, print_json, print_table
from qkstore.errors import QKStoreError, RunError


def runs(add: Add) -> None:
    with_json(add("runs", _runs, "list the runs of a store, and the ingests at work or stopped"))


def _runs(options: argparse.Namespace) -> None:
    from qkstore.run import Run
    from qkstore.store.overview import answers, query_tokens
    from qkstore.store.work import at_work
    from qkstore.text import visible

    there = store(options)
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
        "store_dtype",
    )
    rows, rounding, errors = list[dict](), dict[str, str](), list[QKStoreError]()
    for r in there.each():
        if not isinstance(r, Run):
            errors.append(r)
            continue
        row = {"run": r.name} | {f: getattr(r.manifest, f) for f in facts}
        row |= {"answers": answers(r), "query": query_tokens(r), "layers": list(r.layers), "created": str(r.created)}
        row |= {"n_shards": r.n_shards}
        rows.append(row)
        rounding[r.name] = r.manifest.rounding
    if options.json:
        print_json(rows)
    else:
        print_table(_table(rows, rounding))
    for said in (*errors, *(visible(one.sentence) for one in at_work(there))):
        print(f"qkstore: {said}", file=sys.stderr)


def _table(rows: list[dict], rounding: dict[str, str]) -> list[dict]:
    """The rows without what a table has no room for; with how vectors are stored where some are rounded."""
    left = ("layers", "dtype", "store_dtype", *(() if any(row["n_shards"] > 1 for row in rows) else ("n_shards",)))
    table = [{k: v for k, v in row.items() if k not in left} for row in rows]
    return [{**row, "stored": rounding[row["run"]]} for row in table] if any(rounding.values()) else table


def rename(add: Add) -> None:
    sub = with_run(add("rename", _rename, "give a run another name; its notes and kept results follow"))
    sub.add_argument("--to", required=True, metavar="NAME", help="the new name")


def _rename(options: argparse.Namespace) -> None:
    store(options).rename(options.run, options.to)
    print(f"run {options.run} is {options.to} now")


def reshard(add: Add) -> None:
    told = "copy a run into so many shards, files of vectors beside its own, or back into one file"
    sub = with_run(add("reshard", _reshard, told))
    sub.add_argument("--into", type=positive, required=True, metavar="N", help="shards; 1: one file")
    sub.add_argument("--to", required=True, metavar="NAME", help="name of the copy; kept results hold for it too")


def _reshard(options: argparse.Namespace) -> None:
    from qkstore.run.incoming.reshard import reshard as copied

    there = store(options)
    there.check_may_add()
    with Progress() as progress:
        copied(there.run(options.run), options.into, options.to, lambda done, of: progress("reshard", done, of))
    print(there.publish(options.to))


def remove(add: Add) -> None:
    sub = with_run(add("remove", _remove, "remove a run for good, with its kept results and notes"))
    told = "the run's name once more; without it nothing is removed, and what would be lost is said"
    sub.add_argument("--unfinished", action="store_true", help="what a stopped ingest of this name has kept instead")
    arguments.completed_by(sub.add_argument("--yes-i-mean", dest="meant", metavar="RUN", help=told), arguments.runs)


def _remove(options: argparse.Namespace) -> None:
    from qkstore.store.inventory import lost
    from qkstore.store.work import discard

    there = store(options)
    if options.unfinished:
        discard(there, options.run)
        print(f"removed what the ingest of {options.run} had kept")
        return
    if options.meant is not None and options.meant != options.run:
        raise RunError(f"--yes-i-mean {options.meant} is not --run {options.run}; nothing was removed")
    said = lost(there, options.run)
    if options.meant is None:
        raise RunError(f"{said}; to remove it for good add --yes-i-mean {options.run}")
    there.remove(options.run)
    print(f"removed {said}")
