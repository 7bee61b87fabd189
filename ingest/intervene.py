"""`python -m ingest intervene`: from its options to a result in the catalogue.

It prints a table and a line on what the result can be trusted for.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import qkstore
from ingest import demo
from ingest.model import live
from qkstore import analysis
from qkstore.analysis import discovery
from qkstore.analysis import heads as analysis_heads
from qkstore.analysis.live import SHARES, Answers, Features, Live, Outcome, kept
from qkstore.analysis.plans import ComponentGroups
from qkstore.cli.terminal import Progress, print_json, print_table
from qkstore.errors import ContrastError, QKStoreError
from qkstore.intervention import Condition
from qkstore.run import Run
from qkstore.store import Store
from qkstore.text import split_name

SAME = 1e-5  # |live − closed form| of attention, in float32


def intervene(options: argparse.Namespace) -> None:
    """The command. What can be checked without the model is checked before it is loaded."""
    store = qkstore.open(options.store)
    run = store.run(options.run)
    named = features(store, run, options.contrast, options.other, options.components is not None)
    heads = chosen(store, run, named, options.heads, options.layer)
    live.check(run, heads, options.bases)
    components = None if options.components is None else grouped(run, heads, options.components)
    loaded = demo.load(options.model, options.dtype, options.device, answers=True)
    with Progress() as progress:
        o = options
        result = live.intervene(
            store, run, loaded, named, heads, o.rows, o.bases, o.most, o.seed, o.batch_size, progress, components
        )
    warn(result)
    if kept(store, result) is None:
        print("warning: the store's catalogue cannot be written, so this result is shown but not kept", file=sys.stderr)
    print_json(result.to_dict()) if options.json else tell(result)


def features(store: Store, run: Run, name: str | None, other: str | None = None, components: bool = False) -> Features:
    """{name: contrasts} of one or two names; of none where components are swapped. Raises ContrastError."""
    if not name and not components:
        raise ContrastError("nothing to swap: name a --contrast, or swap the heads' --components")
    if other and not name:
        raise ContrastError(f"--and {other} without --contrast; name that first")
    if name and name == other:
        raise ContrastError(f"--and {other} is the contrast itself; name another one, or leave --and out")
    return {n: discovery.named(store, run, n) for n in (name, other) if n}


def chosen(store: Store, run: Run, named: Features, heads: str | None, layer: int | None) -> list[live.Head]:
    """The heads asked for: named ones, all of a layer, or the best one of the first contrast."""
    if heads is not None:
        return parse(heads)
    if layer is not None:
        return [(layer, head) for head in range(run.n_heads)]
    if not named:
        return []
    name = next(iter(named))
    best = analysis_heads.best(
        analysis_heads.kept(store, run, analysis_heads.scored_by(store.features(run) | named, name))
    )
    return [(best.layer, best.head)]


def grouped(run: Run, heads: Sequence[live.Head], texts: Sequence[str]) -> ComponentGroups:
    """The components of the heads, and of the texts one group: '0,3,5' of a single head, '1:0=0,3,5' of any.

    Raises ContrastError for a head without components, or for ones that are not there.
    """
    group = {at: numbers for text in texts for at, numbers in [part(text, heads)]}
    found = {at: analysis.components(run, *at) for at in sorted(set(heads))}
    components = ComponentGroups(found, {f"components {' '.join(texts)}": group} if texts else {})
    components.plans(1, 0)  # whatever is wrong is said before the model is loaded
    return components


def part(text: str, heads: Sequence[live.Head]) -> tuple[live.Head, list[int]]:
    """'1:0=0,3' → ((1, 0), [0, 3]); without '=' of the only head."""
    at, there, numbers = text.rpartition("=")
    words = numbers.split(",")
    if not all(word.isdecimal() and len(word) <= 4 for word in words) or len(set(words)) < len(words):
        raise QKStoreError(f"components {text[:60]!r}: write numbers, such as 0,3,5, or 1:0=0,3,5 of a head")
    if not there and len(set(heads)) > 1:
        raise QKStoreError(f"components {text[:60]!r} of which head? Of several write 1:0=0,3,5 1:2=1")
    return parse(at)[0] if there else heads[0], [int(word) for word in words]


def parse(text: str) -> list[live.Head]:
    """'1:0,1:2' → [(1, 0), (1, 2)]; raises QKStoreError."""
    heads = []
    for part in text.split(","):
        layer, _, head = part.strip().partition(":")
        if not (layer.isdecimal() and head.isdecimal()) or max(len(layer), len(head)) > 9:
            raise QKStoreError(f"heads {text[:60]!r}: write layer:head, such as 1:0,1:2")
        heads.append((int(layer), int(head)))
    return heads


def warn(result: Live) -> None:
    """One line where rounding is large enough to be taken for an effect."""
    if result.dtype == "bfloat16":
        difference = (
            ""
            if result.noise["difference"] is None
            else f" and {result.noise['difference']:.2g} in the logit difference"
        )
        print(
            f"warning: in bfloat16 two equal passes differ by up to {result.noise['attention']:.2g} "
            f"in attention{difference}; what is smaller is rounding (--dtype float32 resolves it)",
            file=sys.stderr,
        )


def tell(result: Live) -> None:
    """The result for people: a row a condition, and what it rests on."""
    print_table([row for c in result.conditions for row in _rows(c)])
    hidden = f", {result.hidden:,} more are left out, their keys are outside a window" if result.hidden else ""
    print(f"{result.title}; {split_name(result.split)} split{hidden}")
    more = "" if result.gap <= SAME else f", more than {SAME:.0e}: this pass or the run's vectors are rounded"
    print(f"largest |live − closed form| in layer {result.heads[0].split(':')[0]}: {result.gap:.1e}{more}")
    if result.unanswered:
        print(f"answers are left out: {result.unanswered}")


def _rows(c: Outcome) -> list[dict]:
    """A row an edited head, and one for what comes after it: the heads of later layers, and the answers."""
    rows = []
    for head, condition in c.attention.items():
        rows.append(_row(c, f"head {head}", condition) | {"rank": c.ranks[head], "closed": c.closed[head].target_after})
    if c.downstream:
        rows.append(_row(c, "later heads", c.downstream))
    if c.answers:
        logits = f"{c.answers.difference_before:+.2f} → {c.answers.difference_after:+.2f}"
        rows.append(_row(c, "answers", c.answers) | {"logits": logits})
    return rows


def _row(c: Outcome, what: str, shares: Condition | Answers) -> dict:
    low, high = shares.ci["target_after"]
    means = {name: getattr(shares, name) for name in SHARES}
    return (
        {"condition": c.name, "what": what, "rank": None}
        | means
        | {"95 %": f"{low:.3f}–{high:.3f}", "closed": None, "logits": None}
    )
