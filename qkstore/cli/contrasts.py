"""The command of contrasts: list them, save one, look at its versions, rename it, put it away."""

from __future__ import annotations

import argparse
import sys

from qkstore.cli import arguments
from qkstore.cli.arguments import Add, inline, store, with_json, with_predicates
from qkstore.cli.terminal import print_json, print_table
from qkstore.errors import ContrastError, QKStoreError


def contrasts(add: Add) -> None:
    told = (
        "list contrasts; save one with --save NAME and its predicates; --history, --rename, --archive or --restore one"
    )
    sub = with_json(add("contrasts", _contrasts, told))
    shown = sub.add_argument("--run", help="list what is built in for this run, or check on it what is saved")
    arguments.completed_by(shown, arguments.runs)
    act = sub.add_mutually_exclusive_group()
    act.add_argument("--save", metavar="NAME", help="save the predicates given as a new version of this name")
    named = (
        ("--history", "every version of a contrast, who saved it, and what changed"),
        ("--archive", "put a contrast away: it is in no list, links to it go on"),
        ("--restore", "bring an archived one back"),
    )
    for option, told in named:
        arguments.completed_by(act.add_argument(option, metavar="NAME", help=told), arguments.contrasts)
    renamed = act.add_argument(
        "--rename", nargs=2, metavar=("OLD", "NEW"), help="call a contrast something else; links to the old name go on"
    )
    arguments.completed_by(renamed, arguments.contrasts)
    act.add_argument("--archived", action="store_true", help="the names that were put away")
    sub.add_argument("--fork", metavar="NAME[@VERSION]", help="with --save: start from this contrast")
    described = sub.add_argument("--description", help="what it is, in words; '' takes that of --fork away")
    sub.may_be_empty.append(described)
    sub.add_argument("--author", default="", help="default: the user of this machine, or of the shared catalogue")
    with_predicates(sub)


def _contrasts(options: argparse.Namespace) -> None:
    if options.fork and not options.save:
        raise ContrastError(f"--fork {options.fork} makes a new contrast; name it with --save")
    there = store(options)
    if options.save:
        _save(there, options)
    elif options.history:
        _history(there, options)
    elif options.archived:
        names = [contrast.name for contrast in there.catalog.archived()]
        print_json(names) if options.json else print(*names, sep="\n", end="\n" if names else "")
    elif options.archive:
        print(f"archived {there.catalog.archive(options.archive)!r}")
    elif options.restore:
        print(f"restored {there.catalog.restore(options.restore)!r}")
    elif options.rename:
        old, new = options.rename
        print(f"renamed {old!r} to {there.catalog.rename(old, new)!r}; links to the old name go on")
    elif options.run:
        _built_in(there, options)
    else:
        kept = there.catalog.contrasts()
        print_json([c.to_dict() for c in kept]) if options.json else print_table(
            [{"name": c.name, "version": c.version, "contrast": c.sentence()} for c in kept]
        )


def _save(there, options: argparse.Namespace) -> None:
    run = there.run(options.run) if options.run else None
    base = _base(there, run, options)
    made = _changed(base, options) if base else inline(options, options.save)
    described = made.description if options.description is None else options.description
    contrast = made.replace(name=options.save, description=described, author=options.author, version=None)
    contrast.sentence()  # raises, and names the condition, where one is none: before anything else reads it
    checked = None
    if run:
        from qkstore.analysis import build_split
        from qkstore.contrast.check import told

        checked = told(run, contrast, build_split(run))
    saved = there.catalog.save(contrast, checked, base if base and base.name != options.save else None)
    print_json(saved.to_dict()) if options.json else print(f"saved {saved.name!r}, version {saved.version}")
    for finding in checked["findings"] if checked else []:
        print(f"  ! {finding}", file=sys.stderr)


def _base(there, run, options: argparse.Namespace):
    """The contrast that --fork names: saved, or built in for --run."""
    from qkstore.contrast.builtin import taken

    if not options.fork:
        return None
    if not run:
        if taken(options.fork):
            raise ContrastError(f"{options.fork!r} is built in for some runs; name one of them with --run")
        return there.catalog.contrast(options.fork)
    members = arguments.called(there, run, options.fork)
    if len(members) > 1:
        raise ContrastError(f"{options.fork!r} is the span of {len(members)} contrasts; fork one of them")
    return members[0]


def _changed(base, options: argparse.Namespace):
    """A contrast with what was given on the command line in the place of its own."""
    given = {name: value or None for name in arguments.PARTS if (value := getattr(options, name)) is not None}
    if "pairs" in given:
        given = {"where": None, "positive": None, "negative": None} | given
    elif base.pairs and {"where", "positive", "negative"} & given.keys():
        given = {"pairs": None} | given
    return base.changed(**given)


def _history(there, options: argparse.Namespace) -> None:
    from qkstore.text import visible

    versions = there.catalog.history(there.catalog.contrast(options.history).name)
    rows = [_version(version, before) for version, before in zip(versions, [None, *versions])]
    if options.json:
        print_json(rows)
        return
    if before := there.catalog.names(versions[-1].contrast.name):
        print(visible(f"called {', '.join(before)} before"))
    for version, row in zip(versions, rows, strict=True):
        said = f": {row['told']}" if row["told"] else ""
        print(visible(f"version {row['version']}, {row['created'][:16]}, by {version.who}{said}"))
        for line in filter(None, (version.told, *map(_told, row["changed"]))):
            print(f"  {visible(line)}")


def _told(change: dict) -> str:
    return f"{change['field']}: {change['before'] or '(none)'}  ->  {change['after'] or '(none)'}"


def _version(version, before) -> dict:
    """A version as a row, beside the one before it."""
    from qkstore.contrast.difference import difference

    contrast, known = version.contrast, {"forked": version.forked, "checked": version.checked}
    changed = [vars(d) for d in difference(before.contrast, contrast)] if before else []
    known |= {"created": str(version.created), "changed": changed, "told": version.since(before)}
    return contrast.to_dict() | known


def _built_in(there, options: argparse.Namespace) -> None:
    run = there.run(options.run)
    rows = [_counted(run, members[0]) for members in there.features(run).values() if len(members) == 1]
    if options.json:
        print_json(rows)
    for name, reason in there.misfits(run).items():
        print(f"qkstore: contrast {name!r} does not fit run {run.name!r}: {reason}", file=sys.stderr)
    for row in [] if options.json else rows:
        print(f"{row['name']}: {row['sentence']}", *(f"  ! {f}" for f in row["findings"]), sep="\n")


def _counted(run, contrast) -> dict:
    """A contrast on a run: its sentence with counts and what its check finds, or the error that it meets there."""
    from qkstore.contrast import pairs
    from qkstore.contrast.check import check

    try:
        counts = pairs(run, contrast).counts
        findings = [f.text for f in check(run, contrast) if f.warns]
        more = {"sentence": contrast.sentence(counts), "counts": counts._asdict(), "findings": findings}
    except QKStoreError as error:
        more = {"sentence": contrast.sentence(), "counts": None, "findings": [str(error)]}
    return contrast.to_dict() | more
