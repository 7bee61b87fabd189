"""The command that looks for what heads match on: every head under every pair of labels that can match."""

from __future__ import annotations

from qkstore.cli.arguments import Add, store, with_json, with_run, with_seed, with_workers, workers
from qkstore.cli.terminal import Progress, number, positive, print_json, print_table
from qkstore.errors import ContrastError, near


def discover(add: Add) -> None:
    told = "which heads match on what: every head under every pair of label columns that can match"
    sub = with_workers(with_seed(with_json(with_run(add("discover", _discover, told)))))
    sub.add_argument("--labels", nargs="+", metavar="LABEL", default=(), help="only pairs of these columns")
    sub.add_argument("--fdr", type=number, default=0.05, metavar="RATE", help="of false discoveries (default 0.05)")
    sub.add_argument("--most", type=positive, default=40, metavar="N", help="label pairs that are tried (default 40)")
    sub.add_argument("--top", type=positive, default=20, metavar="N", help="rows that are printed (default 20)")
    sub.add_argument("--best", action="store_true", help="of each head only the match whose swap moves most")
    sub.add_argument("--type", metavar="TYPE", help="only heads of one known name, such as induction")
    sub.add_argument("--save", nargs="+", metavar="NAME", default=(), help="save contrasts that were found, by name")
    sub.add_argument("--refused", action="store_true", help="print each label or pair that is left out, and why")


def _discover(options) -> None:
    from qkstore.analysis.discovery import kept, possible, save, statement, table, types

    possible(options.fdr)
    with workers(options) as pool, Progress() as progress:
        there = store(options)
        run = there.run(options.run)
        found = kept(there, run, options.labels, options.most, options.seed, progress, pool)
    if not found.n:
        why = "; ".join(f"{what}: {reason}" for what, reason in found.tried.refused[:6])
        raise ContrastError(f"run {run.name!r} has no two labels that can match ({why})")
    rows = table(found, options.fdr, options.best).to_dicts()
    known = types(found, options.fdr).to_dicts()
    names = {*(row["type"] for row in known), *(m.known for m in found.tried.matches if m.known)}
    if options.type is not None and options.type not in names:
        raise ContrastError(
            f"no match of run {run.name!r} is of a known type {options.type!r}; {near(options.type, names)}"
        )
    if options.type:
        own = [found.match(f).known == options.type for f in found.found(options.fdr, options.best)]
        rows = [row for row, of_type in zip(rows, own, strict=True) if of_type]
    saved = [save(there, run, found, name, options.fdr) for name in options.save]
    if options.json:
        print_json(found.to_dict() | {"types": known, "found": rows, "saved": [c.to_dict() for c in saved]})
        return
    if known and not options.type:
        print_table([row | {"strongest": row["strongest"].replace("\xa0", " ")} for row in known])
        print("\nBeyond known types:")
        rows = [row for row in rows if not row["type"]]
    print_table([_row(row) for row in rows[: options.top]])
    if more := rows[options.top :]:
        print(f"and {len(more):,} more (--top)")
    print(statement(found, options.fdr))
    for what, why in found.tried.refused if options.refused else ():
        print(f"left out: {what}: {why}")
    for contrast in saved:
        print(f"saved {contrast.name!r}, version {contrast.version}")


def _row(row: dict) -> dict:
    """A row as it is printed: p-values with their exponents."""
    kept = ("feature", "layer", "head", "p", "q", "accuracy", "chance", "swap", "swap_low", "swap_high", "name")
    return {name: f"{row[name]:.1e}" if name in ("p", "q") else row[name] for name in kept}
