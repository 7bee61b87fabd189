"""The commands that look at one head whole: its strongest pairs, and the heads that are nearest to it."""

from __future__ import annotations

from qkstore.cli.arguments import Add, feature, store, with_contrast, with_head, with_json, with_most
from qkstore.cli.terminal import Progress, positive, print_json, print_table, ranges


def strongest(add: Add) -> None:
    told = "the pairs of a head with the highest logit or attention, most moved by the swap, or its errors"
    sub = with_json(with_head(with_contrast(add("strongest", _strongest, told))))
    sub.add_argument(
        "--by", choices=("logit", "attention", "moved", "errors"), default="logit", help="the ranking (default logit)"
    )
    sub.add_argument(
        "--among",
        choices=("contrast", "all"),
        default="contrast",
        help="the contrast's pairs, or every stored key that a query sees (default contrast)",
    )
    sub.add_argument("--split", choices=("judge", "build", "train", "test", "whole"), default="judge")
    sub.add_argument("--top", type=positive, default=50, metavar="N", help="pairs at most (default 50)")
    with_most(sub)


def _strongest(options) -> None:
    from qkstore.analysis.pairs import strongest as rank

    there = store(options)
    run = there.run(options.run)
    _, contrasts = feature(there, run, options)
    with Progress() as progress:
        found = rank(
            run,
            contrasts,
            options.layer,
            options.head,
            options.by,
            options.among,
            options.split,
            options.top,
            options.most,
            options.seed,
            lambda done, total: progress("queries", done, total),
        )
    if options.json:
        print_json(found.to_dict())
        return
    print_table([_pair(row) for row in found.table.to_dicts()])
    print(f"{found.sentence}.")


def _pair(row: dict) -> dict:
    """A row as it is printed: each token with its place."""
    from qkstore.text import visible

    keys = {"query": ("query_text", "query_pos"), "key": ("key_text", "key_pos"), "other": ("other_text", "other_pos")}
    tokens = {n: f"{visible(row[text])} at {row[pos]}" for n, (text, pos) in keys.items() if text in row}
    figures = ("logit", "attention", "after", "moved", "margin", "other_logit", "other_attention")
    sign = {1: "+", -1: "−"}.get(row["sign"])
    return {"prompt": row["prompt_id"], **tokens, "sign": sign} | {n: row[n] for n in figures if n in row}


def nearest(add: Add) -> None:
    told = "the other heads by the angle between what their subspaces of a contrast hold of the same tokens"
    sub = with_json(with_head(with_contrast(add("nearest", _nearest, told))))
    sub.add_argument("--layers", type=ranges("--layers"), metavar="0-3,7", help="of these layers (default: all)")
    sub.add_argument("--bases", type=positive, default=10, help="random subspaces a head (default 10)")
    with_most(sub)


def _nearest(options) -> None:
    from qkstore.analysis.pairs import nearest as compare

    there = store(options)
    run = there.run(options.run)
    _, contrasts = feature(there, run, options)
    with Progress() as progress:
        found = compare(
            run,
            contrasts,
            options.layer,
            options.head,
            options.layers,
            options.most,
            options.bases,
            options.seed,
            lambda done, total: progress("heads", done, total),
        )
    if options.json:
        print_json(found.to_dict())
        return
    print_table(found.to_dict()["heads"])
    print(f"{found.sentence}.")
