"""The acts of the command line: each takes its options, calls the library once and prints what it says."""

from __future__ import annotations

import os
import sys

import qkstore
from qkstore.cli.terminal import print_json, print_table
from qkstore.errors import ContrastError, QKStoreError, StoreError
from qkstore.files import write

MOST_ILL = 10  # findings in the one line of `check`


def _store(options) -> qkstore.Store:
    return qkstore.open(options.store)


def _inline(options, name: str = "inline") -> qkstore.Contrast:
    return qkstore.Contrast(
        name=name,
        where=options.where,
        positive=options.positive,
        negative=options.negative,
        pairs=options.pairs,
        weighting=options.weighting,
        centring=options.centring,
    )


def _features(store, run, options) -> dict[str, tuple]:
    """{name: contrasts} of --contrast, or of the predicates given, and of --and."""
    if options.contrast:
        given = [name for name in ("where", "positive", "negative", "pairs") if getattr(options, name)]
        given += [
            name for name, usual in (("weighting", "pair"), ("centring", "none")) if getattr(options, name) != usual
        ]
        if given:
            raise ContrastError(
                f"--contrast {options.contrast} is a whole contrast; "
                f"leave out --{given[0]}, or give the predicates themselves"
            )
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
        raise ContrastError(
            f"{name!r} is the span of {len(contrasts)} contrasts; this command takes one, such as {contrasts[0].name!r}"
        )
    return contrasts[0]


def runs(options) -> None:
    from qkstore.store.overview import query_tokens

    found, errors = _store(options).scan()
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
    )
    rows = [
        {"run": r.name}
        | {f: r.manifest[f] for f in facts}
        | {"query": query_tokens(r), "layers": list(r.layers), "created": str(r.created)}
        for r in found
    ]
    if options.json:
        print_json(rows)
    else:
        print_table([{k: v for k, v in row.items() if k not in ("layers", "dtype")} for row in rows])
    for error in errors:
        print(f"qkstore: {error}", file=sys.stderr)


def contrasts(options) -> None:
    from qkstore.contrast import pairs
    from qkstore.contrast.check import check

    store = _store(options)
    if options.save:
        saved = store.catalog.save(
            _inline(options, options.save).replace(description=options.description, author=options.author)
        )
        print_json(saved.to_dict()) if options.json else print(f"saved {saved.name!r}, version {saved.version}")
        return
    if not options.run:
        found = store.catalog.contrasts()
        print_json([c.to_dict() for c in found]) if options.json else print_table(
            [{"name": c.name, "version": c.version, "contrast": c.sentence()} for c in found]
        )
        return
    run, rows = store.run(options.run), []
    for members in store.features(run).values():
        for contrast in members if len(members) == 1 else ():
            try:
                counts = pairs(run, contrast).counts
                rows.append(
                    contrast.to_dict()
                    | {
                        "sentence": contrast.sentence(counts),
                        "counts": counts._asdict(),
                        "findings": [f.text for f in check(run, contrast) if f.warns],
                    }
                )
            except QKStoreError as error:
                rows.append(
                    contrast.to_dict() | {"sentence": contrast.sentence(), "counts": None, "findings": [str(error)]}
                )
    if options.json:
        print_json(rows)
    for row in [] if options.json else rows:
        print(f"{row['name']}: {row['sentence']}", *(f"  ! {f}" for f in row["findings"]), sep="\n")


def heads(options) -> None:
    from qkstore.analysis.heads import selected

    store = _store(options)
    run = store.run(options.run)
    scores = store.heads(run, _one(store, run, options), options.nulls)
    kinds = selected(scores)
    rows = [h.to_dict() | {"selected": kinds.get((h.layer, h.head), "")} for h in scores]
    shown = (
        "layer",
        "head",
        "selected",
        "accuracy",
        "selectivity",
        "attention_positive",
        "attention_negative",
        "delta_norm",
        "delta_null",
        "rank",
        "n_queries",
    )
    print_json(rows) if options.json else print_table([{name: row[name] for name in shown} for row in rows])


def covariance(options) -> None:
    import numpy as np

    from qkstore.analysis import covariance as fit

    store = _store(options)
    run = store.run(options.run)
    found = fit(run, _one(store, run, options), options.layer, options.head, options.rank)
    write(options.out, ".npz", lambda path: np.savez(path, **found.arrays()))
    n = found.counts
    print(
        f"rank {found.subspace.rank} of {run.d_head}, {n.n_pos:,} positive and {n.n_neg:,} negative pairs "
        f"of the {found.split or 'whole'} split → {options.out}"
    )


def rank(options) -> None:
    from qkstore.analysis.evidence import dimension

    store = _store(options)
    run = store.run(options.run)
    found = dimension(run, _one(store, run, options), options.layer, options.head, options.seed).to_dict()
    if options.json:
        print_json(found)
        return
    print(
        f"99 % of ‖ΔC‖²: {found['energy']}, statistical: {found['statistical']}, "
        f"cross-validated: {found['cross_validated']}; "
        f"{found['n']:,} queries of the {found['split'] or 'whole'} split, level {found['level']}"
    )
    print(found["sentence"])
    print(f"canonical correlations (chance {found['chance']:.2f}): {' '.join(f'{v:.2f}' for v in found['canonical'])}")


def intervene(options) -> None:
    if options.side == "queries":
        from qkstore.analysis.swaps import intervene_queries as swap
    else:
        from qkstore.analysis import intervene as swap

    store = _store(options)
    run = store.run(options.run)
    found = swap(
        run, _features(store, run, options), options.layer, options.head, options.bases, options.most, options.seed
    ).to_dict()
    if options.json:
        print_json(found)
        return
    print(
        f"{found['n']:,} queries of the {found['split'] or 'whole'} split, layer {options.layer}, head {options.head}"
    )
    shown = (
        "name",
        "rank",
        "original_before",
        "target_before",
        "original_after",
        "target_after",
        "delta_p",
        "flip_rate",
    )
    print_table([{name: c[name] for name in shown} for c in found["conditions"]])


def dose(options) -> None:
    from qkstore.analysis.variations import DOSES, response

    store = _store(options)
    run = store.run(options.run)
    ((_, contrasts),) = _features(store, run, options).items()
    found = response(
        run, contrasts, options.layer, options.head, options.doses or DOSES, options.bases, options.most, options.seed
    )
    rows = found.table.to_dicts()
    print_json(
        {"n": found.n, "rank": found.rank, "bases": found.bases, "split": found.split, "rows": rows}
    ) if options.json else print_table(rows)


def growth(options) -> None:
    from qkstore.analysis.evidence import growth as grow

    store = _store(options)
    run = store.run(options.run)
    found = grow(
        run, _one(store, run, options), options.layer, options.head, options.by, draws=options.draws, seed=options.seed
    )
    rows = found.table.to_dicts()
    print_json(
        {"label": found.label, "total": found.total, "split": found.split, "rows": rows}
    ) if options.json else print_table(rows)


def variants(options) -> None:
    from qkstore.analysis.variations import variants as compare

    store = _store(options)
    run = store.run(options.run)
    rows = [
        {"name": v.name, "whose": v.whose, "overlap": v.overlap} | v.swap.to_dict() | {"name": v.name}
        for v in compare(run, store.features(run), options.layer, options.head, options.most, options.seed)
    ]
    shown = ("name", "whose", "overlap", "rank", "n", "target_before", "target_after")
    print_json(rows) if options.json else print_table([{name: row[name] for name in shown} for row in rows])


def attribute(options) -> None:
    from qkstore.analysis import attribute as split

    store = _store(options)
    run = store.run(options.run)
    order = [name.strip() for name in options.order.split(",")] if options.order else None
    found = split(
        run, _features(store, run, options), options.layer, options.head, run.prompt_id(options.prompt), order=order
    ).to_dict()
    if options.json:
        print_json(found)
        return
    print(
        f"prompt {found['prompt_id']}, query {found['query']['text']!r} at {found['query']['pos']}; "
        f"projected out in the order {', '.join(found['order'])}"
    )
    print_table(
        [
            {"pos": t["pos"], "text": t["text"], "attention": t["attention"], "logit": t["logit"]} | t["parts"]
            for t in found["tokens"]
        ]
    )


def toy(options) -> None:
    from qkstore.toy.claims import around, into, markdown, report

    if options.into:
        around(options.into)  # before minutes of work
    told = (
        (lambda i, n: print(f"\r{i} of {n} heads", end="\n" if i == n else "", file=sys.stderr))
        if sys.stderr.isatty()
        else None
    )
    rows = report(_store(options), told)
    if options.into:
        into(options.into, rows)
    if options.json:
        print_json([row.to_dict() for row in rows])
    else:
        print(f"{len(rows)} rows → {options.into}" if options.into else markdown(rows).rstrip())


def report(options) -> None:
    from qkstore.report.render import check, write
    from qkstore.report.report import report as study

    check(options.out, options.markdown)  # before minutes of work
    told = _progress() if sys.stderr.isatty() else None
    for path in write(study(_store(options), options.run, told), options.out, options.markdown, told):
        print(f"{path}: {path.stat().st_size / 1e6:,.1f} MB")


def _progress():
    """A line on stderr that is written over."""

    def told(done: int, total: int, what: str) -> None:
        print(f"\r{done + 1} of {total}: {what[:60]:60s}", end="\n" if done + 1 == total else "", file=sys.stderr)

    return told


def sql(options) -> None:
    from qkstore.sql import guard, worker

    run = _store(options).run(options.run)
    table = worker.query(
        run.path, guard.select(options.select, run.columns), limit_s=options.limit, max_rows=options.rows
    )
    print_json(
        {
            "columns": table.column_names,
            "rows": [list(r) for r in zip(*(c.to_pylist() for c in table.columns))],
            "truncated": worker.truncated(table),
        }
    )


def export(options) -> None:
    import numpy as np

    from qkstore.analysis.export import arrays, table

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
    from qkstore.store.archive import check as inspect

    well, ill = inspect(_store(options))
    print(*(f"ok  {line}" for line in well), sep="\n")
    if ill:
        more = f"; and {len(ill) - MOST_ILL} more" if len(ill) > MOST_ILL else ""
        raise StoreError("; ".join(ill[:MOST_ILL]) + more)


def backup(options) -> None:
    from qkstore.store.archive import backup as pack

    path = pack(_store(options), options.out)
    print(f"{path}: {path.stat().st_size / 1e6:,.1f} MB")


def restore(options) -> None:
    from qkstore.store.archive import restore as unpack

    print(f"restored into {unpack(options.store or os.environ.get('QKSTORE') or 'store', options.archive)}")
