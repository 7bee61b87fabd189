"""Swaps in closed form for many heads and random subspaces, against a re-run of the model for each.

The model is that of bench/ingest.py's `small`: Llama-3.1-8B's shape with a quarter of its width, heads and layers,
which flatters the re-runs. Of these a few are made and the rest counted; both ways must give the same attention.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

import qkstore
from bench.ingest import make, prompts
from bench.speed import turns
from bench.speed.row import Row
from bench.speed.scale import Scale
from bench.speed.synthetic import ORDER, PLANTED, Shape, made
from ingest import job, model
from ingest.model.edit import Case, Editor
from qkstore.analysis import intervene
from qkstore.analysis.head import Head
from qkstore.analysis.swaps import swapper
from qkstore.analysis.targets import Targets, visible_targets
from qkstore.run import Run

LEAST, SAME, TURNS = 1000.0, 1e-4, 3
BASES, PROMPTS, FEW = 10, 1000, 32
SHAPE = Shape(2 * PROMPTS, layers=8, heads=8, kv_heads=2, test=0.5, raw=0)
AT = (4, 3)  # of the few that are re-run
MISSED = "of a swap, most is the bootstrap of its intervals"


class Rerun:
    """A pass of the model over a few prompts, each with two keys of one head swapped in a random subspace."""

    def __init__(self, scale: Scale):
        torch.set_num_threads(1)
        loaded: model.Model = make("small", "cpu")
        job.ingest(scale.folder, "few", loaded, prompts(FEW), job.Options(layers=AT[:1]), task="bench")
        self.run = qkstore.open(scale.folder).run("few")
        self.head = Head(self.run, *AT)
        self.targets = visible_targets(self.run, (ORDER,), [self.head.facts], None, FEW)
        self.cases = _cases(self.run, self.targets)
        self.editor = Editor(loaded.net, AT[0])
        self.V = np.linalg.qr(np.random.default_rng(0).standard_normal((self.run.d_head, 4)))[0]

    def __call__(self) -> None:
        shown = self.editor(self.cases, {AT: self.V @ self.V.T}).attention[AT[0]]
        self.target_after = shown[:, AT[1], 1].double().numpy()

    def check(self) -> None:
        """The closed form gives the attention that the re-run shows; the swap moves it."""
        swap = swapper(self.head, self.targets)(self.V)
        off = np.abs(swap.target_after - self.target_after).max()
        assert off < SAME, f"attention after a swap differs by {off:.1e} from a re-run's"
        assert np.abs(swap.delta_p).max() > 10 * off, "the swap moves attention"


def _cases(run: Run, targets: Targets) -> list[Case]:
    """The prompts of the targets, with the positions of their query and two keys."""
    q, k = (run.table(f"SELECT prompt_id, pos FROM {s}_row ORDER BY {s}_row").to_pydict() for s in ("query", "key"))
    ids: dict[int, list[int]] = {}
    for prompt, token in run.table("SELECT prompt_id, token_id FROM token ORDER BY prompt_id, pos").to_pandas().values:
        ids.setdefault(int(prompt), []).append(int(token))
    return [
        Case(ids[q["prompt_id"][row]], q["pos"][row], k["pos"][original], k["pos"][target])
        for row, original, target in zip(targets.query, targets.original, targets.target)
    ]


class Closed:
    """Swaps of every head: in its own subspace and in random ones of that rank."""

    def __init__(self, run: Run):
        self.run = run

    def __call__(self) -> None:
        every = [(layer, head) for layer in self.run.layers for head in range(self.run.n_heads)]
        self.found = {at: intervene(self.run, {"order": (ORDER,)}, *at, n_random=BASES, most=PROMPTS) for at in every}

    def check(self) -> None:
        """The planted feature moves attention, and noise hardly any."""
        for (layer, head), one in self.found.items():
            assert one.n == PROMPTS, f"{one.n} prompts of L{layer} H{head}"
            gained = one.conditions[0].delta_p
            assert (gained > 0.5) == (head == PLANTED), f"L{layer} H{head}: the target gains {gained:.2f}"


def measure(scale: Scale) -> Iterator[Row]:
    rerun, closed = Rerun(scale), Closed(made(scale.folder, SHAPE).run())
    heads = SHAPE.layers * SHAPE.heads
    ours, passes = [turns.ours(closed, turns.cpu)], [turns.seconds(rerun, turns.cpu)]
    for _ in range(TURNS - 1):
        ours.append(turns.ours(closed, turns.cpu))
        passes.append(turns.seconds(rerun, turns.cpu))
    closed.check()
    rerun.check()
    swaps = PROMPTS * BASES * heads
    both = turns.Paired(tuple(s * swaps / len(rerun.cases) for s in passes), tuple(ours))
    (theirs, mine) = both.medians
    yield Row(
        "swaps",
        f"swaps of {PROMPTS:,} prompts in {BASES} random bases of {heads} heads",
        f"a re-run each, a quarter of the 8B ({len(rerun.cases)} made, counted {swaps / len(rerun.cases):,.0f} times)",
        f"{mine:.1f} s CPU; re-runs {theirs / 3600:.0f} hours",
        *both.beside,
        faster=True,
        aim=f"≥ {LEAST:,.0f} times faster",
        met=both.ratio >= LEAST,
        missed=MISSED,
        figures={"ours_s": mine, "reruns_s": theirs},
    )


MEASURES = {"swaps": measure}
