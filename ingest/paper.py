"""The paper's prompts for one model: its lists, and its boxes with every counterfactual, each a run of its own."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import qkstore
from ingest import demo, job, model
from ingest.prompts import slot, task
from ingest.prompts.boxes import QUESTIONS, Question
from ingest.prompts.pieces import Pieces
from qkstore.errors import PromptError, RunError, near
from qkstore.run.schema import check_run_name

SIZES: dict[task.Kind, int] = {
    "lists": 2000,
    "boxes": 3000,
}  # train prompts (sections 5.1, 5.2); of boxes, base prompts
N_TEST = 1000
FEWEST = 50  # prompts of a split: with fewer, some of the 13 categories may never be asked for
SEED = 0
FACTS = {
    "task": "task",
    "n_prompts": "number of prompts",
    "dtype": "dtype",
    "store_dtype": "store dtype",
    "weights_hash": "weights' hash",
}


@dataclass(frozen=True)
class Part:
    """One run of the programme: 'lists', or 'boxes' with a kind of question."""

    run: str
    kind: task.Kind
    question: Question | None
    n: int
    n_test: int

    def prompts(self) -> task.Task:
        return task.of(self.kind, self.n, self.n_test, self.question, SEED, reflexive=True)


def parts(
    where: str, prefix: str | None = None, questions: Sequence[Question] | None = None, scale: float = 1.0
) -> list[Part]:
    """The runs to be made for the model `where`: its name, or `prefix`, begins theirs.

    questions: kinds of question of the boxes. By default 'ent', the paper's; for the demo model, which was made for all
    three, all of them.
    scale: prompts of each run and split, times this, rounded up.
    Raises PromptError for an unknown question or a scale that leaves too few prompts, RunError for a prefix that names
    no run.
    """
    asked = (QUESTIONS if where == demo.NAME else QUESTIONS[:1]) if questions is None else tuple(questions)
    if not asked:
        raise PromptError(f"no question; there are: {', '.join(sorted(QUESTIONS))}")
    for question in asked:
        if question not in QUESTIONS:
            raise PromptError(f"no question {question!r}: {near(question, QUESTIONS)}")
    sizes, n_test = {kind: _scaled(n, scale) for kind, n in SIZES.items()}, _scaled(N_TEST, scale)
    start = check_run_name(f"{prefix or name_of(where)}-lists").removesuffix("-lists")
    boxes = [Part(f"{start}-boxes-{q}", "boxes", q, sizes["boxes"], n_test) for q in dict.fromkeys(asked)]
    return [Part(f"{start}-lists", "lists", None, sizes["lists"], n_test), *boxes]


def name_of(where: str) -> str:
    """How the runs of a model begin: its name in small letters.

    The demo model's do not take the names of the demo's runs.
    """
    name = re.sub(r"[^a-z0-9._-]+", "-", Path(where).name.lower()).strip("._-")
    return "demo-paper" if where == demo.NAME else name or "paper"


def build(
    store: str | Path,
    where: str,
    programme: Sequence[Part],
    options: job.Options = job.Options(),
    dtype: model.Dtype = "float32",
    device: str = "cpu",
    asked: slot.Slot | str = slot.AUTO,
    pieces: Pieces = "last",
    progress: job.Progress | None = None,
) -> list[str]:
    """Ingest the runs of the programme that `store` lacks; returns their names.

    Interrupted, it goes on where it stopped when called again.
    where: a folder, a hub id, or 'demo'. asked: the answer slot, as slot.of takes it. pieces: as task.for_tokenizer.
    Raises RunError where a run of that name holds something else; PromptError, ModelError, StoreError as an ingest
    does.
    """
    model.check_device(dtype, device, auto=True)
    there = [part for part in programme if job.run_path(store, part.run).exists()]
    stored = {"store_dtype": options.store_dtype}
    for part in there:
        made = part.prompts()
        _check_same(store, part, {"task": made.name, "n_prompts": len(made.prompts), "dtype": dtype} | stored)
    missing = [part for part in programme if part not in there]
    if not missing:
        return []
    loaded = demo.load(where, dtype, device)
    for part in there:
        _check_same(store, part, {"weights_hash": loaded.weights_hash})
    for part in missing:
        made = task.for_tokenizer(part.prompts(), loaded.tokenizer, pieces)
        job.ingest(
            store,
            part.run,
            loaded,
            made.prompts,
            replace(options, slots=slot.of(asked, made.slots, loaded.tokenizer)),
            task=made.name,
            template=made.template,
            seed=SEED,
            progress=partial(_staged, progress, part.run),
        )
    return [part.run for part in missing]


def _scaled(n: int, scale: float) -> int:
    least = FEWEST / N_TEST
    if not (math.isfinite(scale) and scale >= least):
        raise PromptError(
            f"scale {scale:g}: {least:g} is the least, which leaves {FEWEST} test prompts a run; 1 is the paper's size"
        )
    return math.ceil(round(n * scale, 6))  # 0.07 · 1000 is a little more than 70


def _check_same(store: str | Path, part: Part, asked: dict[str, str | int]) -> None:
    run = qkstore.open(store).run(part.run)
    for fact, value in asked.items():
        stored = getattr(run.manifest, fact)
        if stored != value:
            had, wanted = (f"{v:,}" if isinstance(v, int) else str(v)[:12] for v in (stored, value))
            raise RunError(
                f"run {part.run!r} is in the store already, and its {FACTS[fact]} is {had}, not {wanted}; "
                "choose another --prefix"
            )


def _staged(progress: Callable | None, run: str, stage: str, done: int, total: int, now: str = "") -> None:
    if progress:
        progress(f"{run}: {stage}", done, total, now=now)
