"""The demo runs against what is known of them: which mechanism each kind of question can be answered by.

    python bench/truth.py [--store store] [--layer 1]

For every boxes run, the head of the layer that binds best (accuracy on the test split under `order`), attention on the
target after swaps in the order, query-centred order, lexical and joint subspaces, beside random ones of the same ranks,
and shares of the logit gap. Subspaces come from train prompts, figures from test prompts, whose entities no train
prompt has. For the lists: the rank of every category and the top head's attention on queried items over all others.
Exit code 1 when any of it is not as it must be.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import qkstore
from qkstore import analysis
from qkstore.analysis.heads import heads

FEATURES = ("order", "lexical")


def box_run(store, run, layer: int) -> dict:
    """Of the best head of a layer: target attention after each swap, and the shares of the logit gap.

    Swaps are {condition: (mean, random of its rank)}.
    """
    named = {name: store.feature(run, name) for name in (*FEATURES, "order-centred")}
    scores = [h for h in heads(run, named["order"][0], nulls=0) if h.layer == layer]
    best = max(scores, key=lambda h: h.accuracy)
    joint = analysis.intervene(run, {name: named[name] for name in FEATURES}, layer, best.head)
    centred = analysis.intervene(run, {"order-centred": named["order-centred"]}, layer, best.head)
    by_name = {c.name: c for c in joint.conditions + centred.conditions[:1]}
    pairs = {"order": "random of order's rank", "lexical": "random of lexical's rank", "order+lexical": "random"}
    swaps = {name: (by_name[name], by_name[other]) for name, other in pairs.items()} | {
        "order-centred": tuple(centred.conditions)
    }
    shares = analysis.shares(
        run, {name: named[name] for name in FEATURES}, layer, best.head, over=named["order"][0]
    ).shares.share
    return {"head": best.head, "accuracy": best.accuracy, "n": joint.n, "swaps": swaps, "shares": shares}


def box_failures(kind: str, found: dict) -> list[str]:
    after = {name: (c.target_after, r.target_after) for name, (c, r) in found["swaps"].items()}
    share = found["shares"]
    rules = {
        "ent": {
            "lexical moves ≥ 0.6": after["lexical"][0] >= 0.6,
            "order ≤ random + 0.05": after["order"][0] <= after["order"][1] + 0.05,
            "order-centred ≤ random + 0.05": after["order-centred"][0] <= after["order-centred"][1] + 0.05,
            "lexical has the larger share": share["lexical"] > share["order"],
        },
        "ord": {
            "order moves ≥ 0.6": after["order"][0] >= 0.6,
            "lexical ≤ random + 0.05": after["lexical"][0] <= after["lexical"][1] + 0.05,
            "order has the larger share": share["order"] > share["lexical"],
        },
        "both": {
            "both move ≥ 0.7": after["order+lexical"][0] >= 0.7,
            "both at least 0.1 more than either": after["order+lexical"][0]
            > max(after["order"][0], after["lexical"][0]) + 0.1,
            "random of equal rank ≤ 0.15": after["order+lexical"][1] <= 0.15,
        },
    }[kind]
    return [f"demo-boxes-{kind}: {rule} does not hold" for rule, holds in rules.items() if not holds]


def list_run(store, run, layer: int) -> dict:
    """{category: rank} at the head of the layer with the largest ratio, and that ratio."""
    names = [n for n in store.features(run) if n.startswith("category:") and n != "category:*"]
    (category,) = store.feature(run, "category")
    best = max((h for h in heads(run, category, nulls=0) if h.layer == layer), key=lambda h: h.selectivity)
    ranks = {
        n.removeprefix("category:"): analysis.covariance(run, store.feature(run, n)[0], layer, best.head).subspace.rank
        for n in names
    }
    swap = analysis.intervene(run, {"category:*": store.feature(run, "category:*")}, layer, best.head)
    return {"head": best.head, "ratio": best.selectivity, "ranks": ranks, "swap": swap}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", default=None)
    parser.add_argument("--layer", type=int, default=1)
    o = parser.parse_args(arguments)
    store, failed = qkstore.open(o.store), []
    for kind in ("ent", "ord", "both"):
        found = box_run(store, store.run(f"demo-boxes-{kind}"), o.layer)
        share = ", ".join(f"{name} {value:.0%}" for name, value in found["shares"].items())
        print(
            f"{kind}: layer {o.layer} head {found['head']}, accuracy {found['accuracy']:.3f}, "
            f"n = {found['n']}; shares: {share}"
        )
        for name, (swap, random) in found["swaps"].items():
            low, high = swap.ci["target_after"]
            print(
                f"  {name:14s} rank {swap.rank:2d}  original {swap.original_before:.3f} → {swap.original_after:.3f}  "
                f"target {swap.target_before:.3f} → {swap.target_after:.3f} [{low:.3f}, {high:.3f}]  "
                f"random of its rank {random.target_after:.3f} ± {random.spread['target_after']:.3f}"
            )
        failed += box_failures(kind, found)
    lists = list_run(store, store.run("demo-lists"), o.layer)
    swap, random = lists["swap"].conditions
    print(
        f"lists: layer {o.layer} head {lists['head']}, attention on queried items over all others "
        f"{lists['ratio']:.1f}, n = {lists['swap'].n}"
    )
    print(f"  ranks: {', '.join(f'{name} {rank}' for name, rank in lists['ranks'].items())}")
    print(
        f"  category:*     rank {swap.rank:2d}  original {swap.original_before:.3f} → {swap.original_after:.3f}  "
        f"target {swap.target_before:.3f} → {swap.target_after:.3f}  random of its rank {random.target_after:.3f} ± "
        f"{random.spread['target_after']:.3f}"
    )
    failed += [f"demo-lists: category {name} has rank {rank}" for name, rank in lists["ranks"].items() if rank != 1]
    failed += [f"demo-lists: the ratio is {lists['ratio']:.2f}, below 3"] * (lists["ratio"] < 3)
    print(*failed or ["all as it must be"], sep="\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
