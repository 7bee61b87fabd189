"""The commands that swap keys or queries in closed form: each one's arguments, and below them what it does."""

from __future__ import annotations

from argparse import ArgumentTypeError
from functools import partial
from itertools import groupby

from qkstore.cli.arguments import (
    Add,
    feature,
    features,
    store,
    with_contrast,
    with_head,
    with_json,
    with_most,
    with_other,
    with_run,
    with_swaps,
    with_workers,
    workers,
)
from qkstore.cli.terminal import Progress, numbers, print_json, print_table, whole
from qkstore.errors import QKStoreError
from qkstore.files import write


def intervene(add: Add) -> None:
    sub = with_contrast(add("intervene", _intervene, "swap key coordinates in closed form, in one head or in many"))
    sub.add_argument("--layer", type=whole)
    sub.add_argument("--head", type=whole)
    told = "many heads, layer:head, or all: a row each, the one first that moves most beyond random subspaces"
    sub.add_argument("--heads", type=at_heads, metavar="1:0,1:2|all", help=told)
    with_workers(with_swaps(with_json(sub)))
    with_other(sub, "a second contrast; both are also swapped together")
    sub.add_argument(
        "--side",
        choices=("keys", "queries"),
        default="keys",
        help="swap two keys, or a query with another that looks for the target",
    )
    sub.add_argument(
        "--out", metavar="FILE.csv|FILE.parquet", help="write what each query's swap moves, a row a swap and query"
    )


def _intervene(options) -> None:
    if options.side == "queries":
        from qkstore.analysis.swaps import intervene_queries as swap
    else:
        from qkstore.analysis import intervene as swap
    from qkstore.analysis.swaps import answer, headline, sentence
    from qkstore.text import counted, split_name

    if (options.heads is None) == (None in (options.layer, options.head)):
        raise QKStoreError("intervene takes --layer and --head, or --heads 1:0,1:2 or all: give one of the two")
    there = store(options)
    run = there.run(options.run)
    asked = features(there, run, options)
    if options.heads is not None:
        _many(options, there, run, asked)
        return
    if options.out:
        _each(options, run, asked)
    swapped = swap(run, asked, options.layer, options.head, options.bases, options.most, options.seed).to_dict()
    if options.json:
        print_json(swapped)
        return
    print(
        f"{counted(swapped['n'], 'query', 'queries')} of the {split_name(swapped['split'])} split, "
        f"layer {options.layer}, head {options.head}"
    )
    for moved, baseline in headline(swapped["conditions"]):
        print(answer(moved, baseline))
    shown = (
        "name",
        "rank",
        "original_before",
        "target_before",
        "original_after",
        "target_after",
        "delta_p",
        "flip_rate",
        "gap_before",
        "gap_after",
        "gap_gain",
    )
    print_table([{name: c[name] for name in shown} for c in swapped["conditions"]])
    for c in swapped["conditions"]:
        if c["beyond"]:
            print(sentence(c))


def at_heads(text: str) -> list[tuple[int, int]]:
    """Heads as they are written, '1:0,1:2'; none of them for all."""
    if text == "all":
        return []
    parts = [part.strip().partition(":") for part in text.split(",")]
    if not all(layer.isdecimal() and head.isdecimal() for layer, _, head in parts):
        raise ArgumentTypeError(f"{text[:40]!r}: write heads as layer:head, such as 1:0,1:2, or all")
    return [(int(layer), int(head)) for layer, _, head in parts]


def _many(options, there, run, asked) -> None:
    """The swaps of many heads, which the store keeps."""
    from qkstore.analysis.heads.everywhere import kept, ordered, table

    if options.out:
        raise QKStoreError("--out is of the queries of one head: give --layer and --head, or --json for many heads")
    with workers(options) as pool, Progress() as progress:
        found = kept(
            there,
            run,
            asked,
            options.heads or None,
            options.bases,
            options.most,
            options.seed,
            options.side,
            pool,
            partial(progress, "swaps"),
        )
    if options.json:
        print_json([made.to_dict() for made in ordered(found)])
        return
    print_table(table(found).to_dicts())
    print(
        "beyond: by how many logits the gap between target and original moves more than in random subspaces of that "
        "rank; its interval is of one head by itself"
    )
    for why, some in groupby(sorted(made.why for made in found if made.why)):
        print(f"{len(list(some)):,} of {len(found):,} heads without: {why}")


def _each(options, run, asked) -> None:
    """Write the swaps of single queries."""
    from qkstore.analysis.moved import moved
    from qkstore.text import csv

    least = ".csv" if options.out.endswith(".csv") else ".parquet"
    told = moved(run, asked, options.layer, options.head, options.side, options.bases, options.most, options.seed)
    made = told.table.write_parquet if least == ".parquet" else lambda path: path.write_text(csv(told.table))
    write(options.out, least, made)


def dose(add: Add) -> None:
    sub = with_head(with_contrast(add("dose", _dose, "swap keys little by little, all coordinates and one at a time")))
    with_swaps(with_json(sub))
    sub.add_argument("--doses", type=numbers, metavar="0,0.5,1", help="1 is the whole swap (default 0 to 1.5)")


def _dose(options) -> None:
    from qkstore.analysis.variations import DOSES, response

    there = store(options)
    run = there.run(options.run)
    _, contrasts = feature(there, run, options)
    doses = options.doses or DOSES
    told = response(run, contrasts, options.layer, options.head, doses, options.bases, options.most, options.seed)
    rows = told.table.to_dicts()
    if options.json:
        print_json({"n": told.n, "rank": told.rank, "bases": told.bases, "split": told.split, "rows": rows})
    else:
        print_table(rows)


def variants(add: Add) -> None:
    told = "the text's contrasts beside those of the authors' scripts, on the same swaps"
    with_most(with_run(with_json(with_head(add("variants", _variants, told)))))


def _variants(options) -> None:
    from qkstore.analysis.variations import variants as compare

    there = store(options)
    run = there.run(options.run)
    rows = [
        {"name": v.name, "whose": v.whose, "overlap": v.overlap} | v.swap.to_dict() | {"name": v.name}
        for v in compare(run, there.features(run), options.layer, options.head, options.most, options.seed)
    ]
    shown = ("name", "whose", "overlap", "rank", "n", "target_before", "target_after")
    print_json(rows) if options.json else print_table([{name: row[name] for name in shown} for row in rows])
