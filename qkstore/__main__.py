"""The command line: every page's result as a command. Exit code 0 done, 2 a user's mistake (one line), 1 a bug."""

from __future__ import annotations

import argparse
import os
import sys

import qkstore
from qkstore.argument import Parser, count, positive, seconds
from qkstore.errors import ContrastError, QKStoreError, StoreError
from qkstore.output import print_json, print_table, write

MOST_ILL = 10  # findings in the one line of `check`


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

    def command(name: str, act, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.add_argument("--store", help="a store directory (default: $QKSTORE, then ./store)")
        sub.set_defaults(act=act)
        return sub

    _json(command("runs", runs, "list the runs of a store"))
    sub = _json(command("contrasts", contrasts, "list contrasts, or save one with --save NAME and its predicates"))
    sub.add_argument("--run", help="list what is built in for this run, with counts and the check of each")
    sub.add_argument("--save", metavar="NAME", help="save the predicates given as a new version of this name")
    sub.add_argument("--description", default="")
    sub.add_argument("--author", default=os.environ.get("USER", ""))
    _predicates(sub)

    sub = _json(_contrast(command("heads", heads, "score every head of a run under a contrast")))
    sub.add_argument("--nulls", type=count, default=19, help="sign permutations for the null of ‖ΔC‖ (default 19, 0 for none)")

    sub = _head(_contrast(command("covariance", covariance, "ΔC of one head, its SVD and rank, into an npz file")))
    sub.add_argument("--out", required=True, metavar="FILE.npz")
    sub.add_argument("--rank", type=int, help="cut at this rank instead of the 99 %% rule")

    sub = _json(_head(_contrast(command("intervene", intervene, "swap key coordinates in closed form"))))
    sub.add_argument("--and", dest="other", metavar="CONTRAST", help="a second contrast; both are also swapped together")
    sub.add_argument("--bases", type=int, default=10, help="random bases a rank (default 10)")
    sub.add_argument("--most", type=positive, default=1000, help="queries at most (default 1000)")
    sub.add_argument("--seed", type=count, default=0)

    sub = _json(_head(_contrast(command("attribute", attribute, "split one prompt's logits by feature"))))
    sub.add_argument("--and", dest="other", metavar="CONTRAST")
    sub.add_argument("--prompt", required=True, help="prompt_id, or the prompt's own id")
    sub.add_argument("--order", help="names in the order they are projected out (default: smaller rank first)")

    sub = command("sql", sql, "one guarded, read-only SELECT over a run; prints JSON {columns, rows}")
    sub.add_argument("--run", required=True)
    sub.add_argument("--limit", type=seconds, default=10.0, help="seconds (default 10)")
    sub.add_argument("--rows", type=count, default=10_000, help="rows at most (default 10000)")
    sub.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    sub.add_argument("select")

    sub = _head(_contrast(command("export", export, "the pairs of a contrast with logits, attention and labels (.parquet), or with vectors (.npz)")))
    sub.add_argument("--out", required=True, metavar="FILE.parquet|FILE.npz")

    command("check", check, "read every file of a store whole, and say what is wrong")
    command("backup", backup, "pack a store into one tar file").add_argument("--out", required=True, metavar="FILE.tar")
    command("restore", restore, "unpack a backup into a new store").add_argument("--from", dest="archive", required=True, metavar="FILE.tar")
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


def _head(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("--layer", type=int, required=True)
    sub.add_argument("--head", type=int, required=True)
    return sub


# -- what the options name ---------------------------------------------------------------------------------------


def _store(options) -> qkstore.Store:
    return qkstore.open(options.store)


def _inline(options, name: str = "inline") -> qkstore.Contrast:
    return qkstore.Contrast(
        name=name, where=options.where, positive=options.positive, negative=options.negative, pairs=options.pairs,
        weighting=options.weighting, centring=options.centring,
    )


def _features(store, run, options) -> dict[str, tuple]:
    """{name: contrasts} of --contrast, or of the predicates given, and of --and."""
    if options.contrast:
        given = [name for name in ("where", "positive", "negative", "pairs") if getattr(options, name)]
        given += [name for name, usual in (("weighting", "pair"), ("centring", "none")) if getattr(options, name) != usual]
        if given:
            raise ContrastError(f"--contrast {options.contrast} is a whole contrast; leave out --{given[0]}, or give the predicates themselves")
        named = {options.contrast: store.feature(run, options.contrast)}
    else:
        named = {"inline": (_inline(options),)}
    other = getattr(options, "other", None)
    if other and other in named:
        raise ContrastError(f"--and {other} is the contrast itself; name another one, or leave --and out")
    return named | ({other: store.feature(run, other)} if other else {})


def _one(store, run, options) -> qkstore.Contrast:
    ((name, contrasts),) = _features(store, run, options).items()
    if len(contrasts) > 1:
        raise ContrastError(f"{name!r} is the span of {len(contrasts)} contrasts; this command takes one, such as {contrasts[0].name!r}")
    return contrasts[0]


# -- commands ----------------------------------------------------------------------------------------------------


def runs(options) -> None:
    found, errors = _store(options).scan()
    facts = ("model", "task", "n_prompts", "n_queries", "n_keys", "n_layers", "n_heads", "n_kv_heads", "d_head", "dtype")
    rows = [{"run": r.name} | {f: r.manifest[f] for f in facts} | {"layers": list(r.layers), "created": str(r.created)} for r in found]
    if options.json:
        print_json(rows)
    else:
        print_table([{k: v for k, v in row.items() if k not in ("layers", "dtype")} for row in rows])
    for error in errors:
        print(f"qkstore: {error}", file=sys.stderr)


def contrasts(options) -> None:
    from qkstore.check import check
    from qkstore.contrast import pairs

    store = _store(options)
    if options.save:
        saved = store.catalog.save(_inline(options, options.save).replace(description=options.description, author=options.author))
        print_json(saved.to_dict()) if options.json else print(f"saved {saved.name!r}, version {saved.version}")
        return
    if not options.run:
        found = store.catalog.contrasts()
        print_json([c.to_dict() for c in found]) if options.json else print_table([{"name": c.name, "version": c.version, "contrast": c.sentence()} for c in found])
        return
    run, rows = store.run(options.run), []
    for name, members in store.features(run).items():
        for contrast in members if len(members) == 1 else ():
            try:
                counts = pairs(run, contrast).counts
                rows.append(contrast.to_dict() | {"sentence": contrast.sentence(counts), "counts": counts._asdict(), "findings": [f.text for f in check(run, contrast) if f.warns]})
            except QKStoreError as error:
                rows.append(contrast.to_dict() | {"sentence": contrast.sentence(), "counts": None, "findings": [str(error)]})
    if options.json:
        print_json(rows)
    for row in [] if options.json else rows:
        print(f"{row['name']}: {row['sentence']}", *(f"  ! {f}" for f in row["findings"]), sep="\n")


def heads(options) -> None:
    store = _store(options)
    run = store.run(options.run)
    rows = [h.to_dict() for h in store.heads(run, _one(store, run, options), options.nulls)]
    shown = ("layer", "head", "accuracy", "selectivity", "attention_positive", "attention_negative", "delta_norm", "delta_null", "rank", "n_queries")
    print_json(rows) if options.json else print_table([{name: row[name] for name in shown} for row in rows])


def covariance(options) -> None:
    import numpy as np

    from qkstore.analysis import covariance as fit

    store = _store(options)
    run = store.run(options.run)
    found = fit(run, _one(store, run, options), options.layer, options.head, options.rank)
    write(options.out, ".npz", lambda path: np.savez(path, **found.arrays()))
    n = found.counts
    print(f"rank {found.subspace.rank} of {run.d_head}, {n.n_pos:,} positive and {n.n_neg:,} negative pairs of the {found.split or 'whole'} split → {options.out}")


def intervene(options) -> None:
    from qkstore.analysis import intervene as swap

    store = _store(options)
    run = store.run(options.run)
    found = swap(run, _features(store, run, options), options.layer, options.head, options.bases, options.most, options.seed).to_dict()
    if options.json:
        print_json(found)
        return
    print(f"{found['n']:,} queries of the {found['split'] or 'whole'} split, layer {options.layer}, head {options.head}")
    shown = ("name", "rank", "original_before", "target_before", "original_after", "target_after", "delta_p", "flip_rate")
    print_table([{name: c[name] for name in shown} for c in found["conditions"]])


def attribute(options) -> None:
    from qkstore.analysis import attribute as split

    store = _store(options)
    run = store.run(options.run)
    order = [name.strip() for name in options.order.split(",")] if options.order else None
    found = split(run, _features(store, run, options), options.layer, options.head, run.prompt_id(options.prompt), order=order).to_dict()
    if options.json:
        print_json(found)
        return
    print(f"prompt {found['prompt_id']}, query {found['query']['text']!r} at {found['query']['pos']}; projected out in the order {', '.join(found['order'])}")
    print_table([{"pos": t["pos"], "text": t["text"], "attention": t["attention"], "logit": t["logit"]} | t["parts"] for t in found["tokens"]])


def sql(options) -> None:
    from qkstore import guard, worker

    run = _store(options).run(options.run)
    table = worker.query(run.path, guard.select(options.select, run.columns), limit_s=options.limit, max_rows=options.rows)
    print_json({"columns": table.column_names, "rows": [list(r) for r in zip(*(c.to_pylist() for c in table.columns))], "truncated": worker.truncated(table)})


def export(options) -> None:
    import numpy as np

    from qkstore.export import arrays, table

    store = _store(options)
    run = store.run(options.run)
    contrast = _one(store, run, options)
    if options.out.endswith(".npz"):
        found = arrays(run, contrast, options.layer, options.head)
        write(options.out, ".npz", lambda path: np.savez(path, **found))
    else:
        found = table(run, contrast, options.layer, options.head)
        write(options.out, ".parquet", found.write_parquet)
    print(f"{len(found['sign']):,} pairs → {options.out}")


def check(options) -> None:
    from qkstore.archive import check as inspect

    well, ill = inspect(_store(options))
    print(*(f"ok  {line}" for line in well), sep="\n")
    if ill:
        more = f"; and {len(ill) - MOST_ILL} more" if len(ill) > MOST_ILL else ""
        raise StoreError("; ".join(ill[:MOST_ILL]) + more)


def backup(options) -> None:
    from qkstore.archive import backup as pack

    path = pack(_store(options), options.out)
    print(f"{path}: {path.stat().st_size / 1e6:,.1f} MB")


def restore(options) -> None:
    from qkstore.archive import restore as unpack

    print(f"restored into {unpack(options.store or os.environ.get('QKSTORE') or 'store', options.archive)}")


if __name__ == "__main__":
    sys.exit(main())
