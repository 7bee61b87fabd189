"""The commands that compute something of one run: each one's arguments, and below them what it does."""

from __future__ import annotations

from qkstore.cli.arguments import (
    Add,
    features,
    one,
    store,
    with_contrast,
    with_head,
    with_json,
    with_other,
    with_seed,
)
from qkstore.cli.terminal import positive, print_json, print_table, prompt, whole
from qkstore.files import write


def covariance(add: Add) -> None:
    sub = with_head(with_contrast(add("covariance", _covariance, "ΔC of one head, its SVD and rank, into an npz file")))
    sub.add_argument("--out", required=True, metavar="FILE.npz")
    sub.add_argument("--rank", type=whole, help="cut at this rank instead of the 99 %% rule")


def _covariance(options) -> None:
    import numpy as np

    from qkstore.analysis import covariance as fit
    from qkstore.text import split_name

    there = store(options)
    run = there.run(options.run)
    fitted = fit(run, one(there, run, options), options.layer, options.head, options.rank)
    write(options.out, ".npz", lambda path: np.savez(path, **fitted.arrays()))
    n = fitted.counts
    print(
        f"rank {fitted.subspace.rank} of {run.d_head}, {n.n_pos:,} positive and {n.n_neg:,} negative pairs "
        f"of the {split_name(fitted.split)} split → {options.out}"
    )


def rank(add: Add) -> None:
    with_seed(
        with_json(
            with_head(
                with_contrast(
                    add("rank", _rank, "the rank of ΔC three ways, with p-values, and canonical correlations")
                )
            )
        )
    )


def _rank(options) -> None:
    from qkstore.analysis.evidence import dimension
    from qkstore.text import split_name

    there = store(options)
    run = there.run(options.run)
    ranks = dimension(run, one(there, run, options), options.layer, options.head, options.seed).to_dict()
    if options.json:
        print_json(ranks)
        return
    print(
        f"99 % of ‖ΔC‖²: {ranks['energy']}, statistical: {ranks['statistical']}, "
        f"cross-validated: {ranks['cross_validated']}; "
        f"{ranks['n']:,} queries of the {split_name(ranks['split'])} split, level {ranks['level']}"
    )
    print(ranks["sentence"])
    above = [v for v in ranks["canonical"] if v > ranks["chance"]]
    print(
        f"canonical correlations: {len(above)} above chance ({ranks['chance']:.2f}): "
        f"{' '.join(f'{v:.2f}' for v in above) or 'none'}; {len(ranks['canonical']) - len(above)} within it"
    )


def growth(add: Add) -> None:
    sub = with_head(
        with_contrast(add("growth", _growth, "the 99 % rank against the number of values of a label that go in"))
    )
    with_json(sub)
    sub.add_argument("--by", metavar="LABEL", help="a label of queries (default: the contrast's own)")
    sub.add_argument("--draws", type=positive, default=5, help="times that the values are drawn (default 5)")
    with_seed(sub)


def _growth(options) -> None:
    from qkstore.analysis.evidence import growth as grow

    there = store(options)
    run = there.run(options.run)
    grown = grow(
        run, one(there, run, options), options.layer, options.head, options.by, draws=options.draws, seed=options.seed
    )
    rows = grown.table.to_dicts()
    if options.json:
        print_json({"label": grown.label, "total": grown.total, "split": grown.split, "rows": rows})
    else:
        print_table(rows)


def attribute(add: Add) -> None:
    sub = with_head(
        with_contrast(
            add("attribute", _attribute, "split a prompt's logits, or the logit gap of all prompts, by feature")
        )
    )
    with_other(with_json(sub))
    told = "prompt_id, or the prompt's own id (default: the logit gap over all prompts of the judged split)"
    sub.add_argument("--prompt", type=prompt, help=told)
    sub.add_argument("--order", help="names in the order they are projected out (default: smaller rank first)")


def _attribute(options) -> None:
    from qkstore.analysis import attribute as split

    there = store(options)
    run = there.run(options.run)
    order = [name.strip() for name in options.order.split(",")] if options.order else None
    asked = features(there, run, options)
    if options.prompt is None:
        _gaps(options, run, asked, order)
        return
    parts = split(run, asked, options.layer, options.head, run.prompt_id(options.prompt), order=order).to_dict()
    if options.json:
        print_json(parts)
        return
    print(
        f"prompt {parts['prompt_id']}, query {parts['query']['text']!r} at {parts['query']['pos']}; "
        f"projected out in the order {', '.join(parts['order'])}"
    )
    print_table(
        [
            {name: t[name] for name in ("pos", "word", "role", "label", "sign", "attention", "logit")} | t["parts"]
            for t in parts["tokens"]
        ]
    )


def _gaps(options, run, asked, order) -> None:
    """The distribution over prompts of the logit gap of the first contrast's pairs, and of its parts."""
    from qkstore.analysis.attribution import distributed, gaps
    from qkstore.analysis.choice import caution
    from qkstore.text import counted, split_name

    over = next(iter(asked.values()))[0]
    found = gaps(run, asked, options.layer, options.head, over, order)
    rows, n = distributed(found).to_dicts(), len(found.gap)
    if options.json:
        print_json({"n": n, "split": found.split, "over": over.name, "rows": rows})
        return
    queries = f"{counted(n, 'query', 'queries')} of the {split_name(found.split)} split"
    print(f"logit gap of {over.name}'s pairs, {queries}{caution(n)}")
    print_table(rows)


def export(add: Add) -> None:
    told = "the pairs of a contrast with logits, attention and labels (.parquet), or with vectors (.npz)"
    sub = with_head(with_contrast(add("export", _export, told)))
    sub.add_argument("--out", required=True, metavar="FILE.parquet|FILE.npz")


def _export(options) -> None:
    import numpy as np

    from qkstore.analysis.export import arrays, table

    there = store(options)
    run = there.run(options.run)
    contrast = one(there, run, options)
    if options.out.endswith(".npz"):
        pairs = arrays(run, contrast, options.layer, options.head)
        write(options.out, ".npz", lambda path: np.savez(path, **pairs))
    else:
        pairs = table(run, contrast, options.layer, options.head)
        write(options.out, ".parquet", pairs.write_parquet)
    print(f"{len(pairs['sign']):,} pairs → {options.out}")
