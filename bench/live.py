"""The demo model's answers under swaps inside the running model, against what is known of each kind of question.

    python bench/live.py [--store store] [--layer 1] [--most 1000]

Swaps at every head of the layer together, in subspaces built on train prompts, over test prompts whose entities no
train prompt has: shares of answers that are the original's and the target's box after each swap, with 95 % intervals,
beside random subspaces of the same rank. A result that the store holds already is printed, not computed. Exit code 1
where a mechanism does not show.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import qkstore
from ingest import demo, model
from ingest.intervene import SAME
from ingest.model import live
from qkstore.analysis.live import Live
from qkstore.cli.terminal import Progress

JOINT = "order+lexical"
RULES = {  # {kind: (condition, at least, at most) of the answers that move to the target}
    "both": ((JOINT, 0.9, 1.0), ("random", 0.0, 0.1)),
    "ent": (("lexical", 0.8, 1.0), ("order", 0.0, 0.1), ("random", 0.0, 0.1)),
    "ord": (("order", 0.8, 1.0), ("lexical", 0.0, 0.05), ("random", 0.0, 0.1)),
}


def failures(kind: str, found: Live) -> list[str]:
    """What of the ground truth of this kind of question a live result does not show."""
    moved = {c.name: c.answers.target_after for c in found.conditions}
    out = [(name, low, high) for name, low, high in RULES[kind] if not low <= moved[name] <= high]
    wrong = [
        f"demo-boxes-{kind}: {name} moves {moved[name]:.3f} of the answers, not {low} to {high}"
        for name, low, high in out
    ]
    return wrong + [f"demo-boxes-{kind}: live and closed form differ by {found.gap:.1e}"] * (found.gap > SAME)


def box_run(store: qkstore.Store, small: model.Model, kind: str, layer: int, most: int, progress=None) -> Live:
    run = store.run(f"demo-boxes-{kind}")
    features = {name: store.feature(run, name) for name in ("order", "lexical")}
    return live.intervene(
        store,
        run,
        small,
        features,
        [(layer, head) for head in range(run.n_heads)],
        most=most,
        batch_size=128,
        progress=progress,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", default=None)
    parser.add_argument("--layer", type=int, default=1)
    parser.add_argument("--most", type=int, default=1000)
    o = parser.parse_args(arguments)
    store, small, failed = qkstore.open(o.store), model.load(str(demo.MODEL), answers=True), []
    for kind in RULES:
        with Progress() as progress:
            found = box_run(store, small, kind, o.layer, o.most, progress)
        print(
            f"{kind}: {found.title}; |live − closed form| ≤ {found.gap:.1e}, rounding of the logit difference "
            f"{found.noise['difference']:.1e}"
        )
        for c in found.conditions:
            said, (low, high) = c.answers, c.answers.ci["target_after"]
            print(
                f"  {c.name:24s} answers: original {said.original_before:.3f} → {said.original_after:.3f}  "
                f"target {said.target_before:.3f} → {said.target_after:.3f} [{low:.3f}, {high:.3f}]"
                f"  logit difference {said.difference_before:+.1f} → {said.difference_after:+.1f}"
            )
        failed += failures(kind, found)
    print(*failed or ["all as it must be"], sep="\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
