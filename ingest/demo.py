"""The demo: four runs of prompts whose mechanism is known, through the small model committed beside this file."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from ingest import job, model
from ingest.prompts import task
from ingest.prompts.boxes import Question
from qkstore.errors import RunError
from qkstore.store import folder

NAME, MODEL = "demo", Path(__file__).parent / "demo_model"
SEED = 0
RUNS: dict[str, tuple[task.Kind, Question | None, int]] = {  # run: (task, question, train prompts)
    "demo-boxes-ent": ("boxes", "ent", 3000),
    "demo-boxes-ord": ("boxes", "ord", 3000),
    "demo-boxes-both": ("boxes", "both", 3000),
    "demo-lists": ("lists", None, 2000),
}
N_TEST = 1000
OPTIONS = job.Options(batch_size=128)


def build(
    store: str | Path, progress: job.Progress, train: bool = False, n: int | None = None, n_test: int = N_TEST
) -> list[str]:
    """Ingest the demo runs that `store` lacks; returns their names. The stages of `progress` begin with the run's name.

    train: first train the model anew, from the committed seed, into STORE/demo_model, and ingest from there.
    n: train prompts of each run, in place of the demo's own numbers.
    """
    missing = [run for run in RUNS if not job.run_path(store, run).exists()]
    if train and len(missing) < len(RUNS):
        there = next(run for run in RUNS if run not in missing)
        raise RunError(
            f"run {there!r} is in the store already, of weights trained before; give --train an empty --store"
        )
    if not missing:
        return []
    small = _trained(folder(store) / "demo_model", progress) if train else load(NAME)
    for run in missing:
        name, question, size = RUNS[run]
        prompts = task.of(name, n or size, n_test, question, SEED)
        job.ingest(
            store,
            run,
            small,
            prompts.prompts,
            OPTIONS,
            task=prompts.name,
            template=prompts.template,
            seed=SEED,
            progress=partial(_staged, progress, run),
        )
    return missing


def _staged(progress: job.Progress, run: str, stage: str, done: int, total: int, now: str = "") -> None:
    progress(f"{run}: {stage}", done, total, now=now)


def _train(into: Path, progress: job.Progress) -> Path:
    from ingest.train import train

    train(into, SEED, progress=lambda done, total, _: progress("demo model: train", done, total))
    return into


def load(where: str, dtype: model.Dtype = "float32", device: str = "cpu", answers: bool | None = None) -> model.Model:
    """The model that a user names: `demo` is the one that comes along; anything else as `model.load` has it."""
    if where != NAME:
        return model.load(where, dtype, device, answers)
    return replace(model.load(str(MODEL), dtype, device, answers), name=NAME)


def _trained(into: Path, progress: job.Progress) -> model.Model:
    return replace(model.load(str(_train(into, progress)), answers=None), name=NAME)
