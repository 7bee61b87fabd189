"""The command that decomposes heads without labels: one, with names and the prompts at its ends, or all in short."""

from __future__ import annotations

from qkstore.cli.arguments import Add, store, with_json, with_run, with_seed, with_workers
from qkstore.cli.heads import across
from qkstore.cli.terminal import Progress, count, positive, print_json, print_table, whole
from qkstore.errors import ContrastError

PROMPTS = 5  # at each end


def components(add: Add) -> None:
    told = (
        "what a head tells keys apart by, found without labels: components, named by the labels there are, and swapped"
    )
    sub = with_workers(with_seed(with_json(with_run(add("components", _components, told)))))
    sub.add_argument("--layer", type=whole)
    sub.add_argument("--head", type=whole)
    sub.add_argument("--all", action="store_true", help="every head instead of one: how many components each one has")
    sub.add_argument("--names", action="store_true", help="with --all: name them by labels, which takes as long again")
    told = "with --all: the components that heads have in common instead, named (--names)"
    sub.add_argument("--clusters", action="store_true", help=told)
    sub.add_argument("--where", help="SQL over q: which queries (default: those of whole questions)")
    sub.add_argument("--n", type=count, metavar="N", help="components to keep (default: as many as there are)")
    sub.add_argument("--group", nargs="+", type=group, metavar="0,3,5", help="swap the components of a group together")
    sub.add_argument("--prompts", type=count, metavar="J", help="the prompts at both ends of component J instead")
    sub.add_argument("--labels", type=count, metavar="J", help="what each label explains of component J instead")
    sub.add_argument("--top", type=positive, metavar="N", help="prompts at each end (default 5), or rows (default 20)")
    sub.add_argument("--left-out", action="store_true", help="print each label that was not tried, and why")


def group(text: str) -> list[int]:
    """0,3,5 as numbers of components."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise ContrastError(f"--group {text!r:.60}: give numbers of components, each once, such as 0,3,5")
    return numbers


def _components(options) -> None:
    from qkstore.analysis.decomposition import kept_study

    across.check(options)
    there = store(options)
    run = there.run(options.run)
    if options.all:
        across.across(options, there, run)
        return
    if options.prompts is not None:
        _prompts(options, run)
        return
    with Progress() as progress:
        found = kept_study(
            there, run, options.layer, options.head, options.where, options.n, options.seed,
            lambda done, total: progress("components", done, total),
        )  # fmt: skip
    if options.labels is not None:
        _labels(options, found)
        return
    groups = _groups(options, run) if options.group else []
    if options.json:
        print_json(found.to_dict() | ({"groups": groups} if groups else {}))
        return
    print(found.headline)
    if found.warning:
        print(f"warning: {found.warning}.")
    if found.rows:
        print_table([_row(row) for row in found.rows])
    for sentence in found.sentences:
        print(f"{sentence}.")
    together = [c for c in (found.swaps["conditions"] if found.swaps else []) if not _of_one(c)]
    if conditions := [*groups, *together]:
        print_table([_condition(c) for c in conditions])
    for label, why in found.untried.items() if options.left_out else ():
        print(f"not tried: {label}: {why}")


def _row(row: dict) -> dict:
    """A row as it is printed: figures, and the name last, which is the longest."""
    from qkstore.analysis.decomposition.claim import claim
    from qkstore.text import estimate, number, visible

    gap = None if row["gap"] is None else estimate(row["gap"], row["gap_ci"], 2)
    return {
        "component": str(row["component"]),
        "correlation": estimate(row["rho"], row["rho_ci"], 2),
        "share of gap": number(row["share"], 3),
        "gap beyond random": gap,
        "explained": None if row["explained"] is None else number(row["explained"], 2),
        "p": row["p"],
        "best label": row["label"],
        "claim": claim(row).short,
        "name": visible(row["name"]),
    }


def _condition(condition: dict) -> dict:
    shown = "name rank original_before target_before original_after target_after gap_before gap_after gap_gain"
    return {name: condition[name] for name in shown.split()}


def _of_one(condition: dict) -> bool:
    """Whether a swap is of one component, which stands in its row, or what one random dimension does."""
    return condition["name"].isdecimal() or (condition["bases"] is not None and condition["rank"] == 1)


def _groups(options, run) -> list[dict]:
    """The swaps of the groups that were asked for, as conditions."""
    from qkstore.analysis import components as find
    from qkstore.analysis.decomposition import swaps

    of = find(run, options.layer, options.head, options.where, options.n, seed=options.seed)
    named = {",".join(map(str, numbers)): numbers for numbers in options.group}
    found = swaps(of, named, seed=options.seed).to_dict()["conditions"]
    ranks = {len(numbers) for numbers in options.group}
    wanted = {*named, *(f"random {rank}" for rank in ranks)}
    return [
        {**c, "name": f"group {c['name']}" if c["name"] in named else c["name"]} for c in found if c["name"] in wanted
    ]


def _labels(options, found) -> None:
    """What every label that was tried explains of one component: on the query's side, the key's, or in agreement."""
    from qkstore.text import number, split_name

    row = next((row for row in found.rows if row["component"] == options.labels), None)
    if row is None:
        there = f"its components are 0 to {len(found.rows) - 1}" if found.rows else "it has none"
        raise ContrastError(f"layer {found.layer} head {found.head} has no component {options.labels}; {there}")
    if options.json:
        print_json(row["labels"])
        return
    print_table([label | {"explained": number(label["explained"], 3)} for label in row["labels"]])
    print(
        f"Share of the variance of component {options.labels} on {found.n_named:,} queries of the "
        f"{split_name(found.judged_on)} split, less what chance gives; p over all labels and components together. "
        f"{len(found.untried)} labels were not tried (--left-out)."
    )


def _prompts(options, run) -> None:
    from qkstore.analysis import components as find
    from qkstore.analysis.decomposition import Scored, prompts
    from qkstore.text import head_name, split_name

    of = find(run, options.layer, options.head, options.where, options.n, seed=options.seed)
    found = prompts(Scored.of_head(of), options.prompts, options.top or PROMPTS)
    if options.json:
        print_json(found.to_dict())
        return
    for end, rows in (("highest", found.high), ("lowest", found.low)):
        print(f"{end} scores of {head_name(options.layer, options.head)}, component {found.component}:")
        for row in rows:
            _extreme(row)
        _tokens(found.tokens, end)
    print(f"{found.n:,} queries of the {split_name(found.split)} split; the key is what a query attends to most")


def _extreme(row) -> None:
    from qkstore.text import number, visible

    figures = f"score {number(row.score, 2)}, its key {number(row.key_score, 2)}, attention {number(row.attention, 2)}"
    print(f"  prompt {row.prompt_id}: {figures}")
    for what, token, labels in (("query", row.query, row.labels), ("key", row.key, row.key_labels)):
        told = "; ".join(f"{name} {value}" for name, value in labels.items())
        print(f"    {what:5}  …{visible(token.before)}[{visible(token.text)}]{visible(token.after)}")
        if told:
            print(f"           {visible(told)}")


def _tokens(tokens: dict, end: str) -> None:
    from qkstore.text import percent, visible

    for what, side in (("queries", end.removesuffix("est")), ("their keys", f"{end.removesuffix('est')}_keys")):
        told = ", ".join(f"{visible(t.text)} {t.n} of {t.of} (all: {percent(t.everywhere)})" for t in tokens[side])
        print(f"  frequent tokens of {what}: {told}")
