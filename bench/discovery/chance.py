"""Claims of components: of the trained demo model, and of models of its architecture that learned nothing.

The limits of qkstore/analysis/decomposition/claim.py were chosen on seeds 0 and 1 of random and of shuffled weights,
and looked at on seeds 2 to 4, on prompts of seed 0. Here they are judged: other seeds of weights, other prompts, some
of forms that no limit was set by. Each model is thrown away when its heads are studied; what was found is kept.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import qkstore
from bench.discovery.demo import LAYER
from ingest import demo, job, model, train
from ingest.prompts import Prompt, boxes, lists
from qkstore import files
from qkstore.analysis.decomposition import study as of_head
from qkstore.errors import ContrastError
from qkstore.store.source import code_key

TRAINED, SHUFFLED, DRAWN, BEGUN = "trained", "trained, shuffled", "random", "random, as training begins"
SEEDS = {SHUFFLED: range(10, 18), DRAWN: range(10, 14), BEGUN: range(10, 12)}  # of weights; none was looked at before
PROMPTS = 71  # the seed of the prompts, which is another than the demo's
N, N_TEST = 3000, 1000
FORMS: dict[str, Callable[[int, int], list[Prompt]]] = {
    "both": lambda n, n_test: boxes.build(n, "both", PROMPTS, n_test),
    "ent, 6 pairs": lambda n, n_test: boxes.build(n, "ent", PROMPTS, n_test, 6),
    "ord, 7 pairs": lambda n, n_test: boxes.build(n, "ord", PROMPTS, n_test, 7),
    "lists": lambda n, n_test: lists.build(n, PROMPTS, n_test),
    "both, as statements": lambda n, n_test: boxes.build(n, "both", PROMPTS, n_test, form="statement"),
}
KEPT = "component rho rho_ci gap gap_ci named label side explained agreement".split()  # of a study's rows
OPTIONS = job.Options(layers=(LAYER,), batch_size=128, answers=False)


@dataclass(frozen=True)
class Side:
    """Which model, and which prompts: what is ingested, studied and thrown away."""

    weights: str
    seed: int
    form: str
    n: int = N
    n_test: int = N_TEST

    @property
    def key(self) -> str:
        return f"{self.weights}, seed {self.seed}: {self.form}, {self.n} + {self.n_test}"


@dataclass(frozen=True)
class Head:
    """What one head's study says: KEPT of its components, or the line that says why it has none (`refused`)."""

    weights: str
    seed: int
    form: str
    head: int
    n: int = 0
    rows: tuple[dict[str, Any], ...] = ()
    refused: str | None = None


def sides() -> list[Side]:
    """The trained model on every form; each of the others on `both` and on one more form, in turn."""
    first, *others = FORMS
    trained = [Side(TRAINED, 0, form) for form in FORMS]
    return trained + [
        Side(weights, seed, form)
        for weights, seeds in SEEDS.items()
        for seed in seeds
        for form in (first, others[seed % len(others)])
    ]


def quick() -> list[Side]:
    """Two small ones, of a seed that was looked at."""
    return [Side(weights, 5, "both", 700, 250) for weights in (TRAINED, SHUFFLED)]


def study(
    folder: Path, tell: Callable[[str], None] = lambda line: None, of: Iterable[Side] | None = None
) -> tuple[list[Head], float]:
    """The heads of LAYER of each side, and the CPU seconds that they took, also in calls before.

    What the folder keeps of the same source is not made anew, so that a restart goes on.
    """
    path, made_by = folder / "claims.json", code_key("qkstore", "ingest")
    kept = json.loads(path.read_text()) if path.exists() else {}
    there = kept["sides"] if kept.get("made_by") == made_by else {}
    out: list[Head] = []
    seconds = 0.0
    for side in sides() if of is None else of:
        if side.key not in there:
            begun = time.process_time()
            heads = [asdict(head) for head in judged(side, folder)]
            there[side.key] = {"seconds": time.process_time() - begun, "heads": heads}
            text = json.dumps({"made_by": made_by, "sides": there})
            files.write(str(path), ".json", lambda part: part.write_text(text))  # noqa: B023
            tell(f"claims of {side.key}")
        out += [Head(**head | {"rows": tuple(head["rows"])}) for head in there[side.key]["heads"]]
        seconds += there[side.key]["seconds"]
    return out, seconds


def judged(side: Side, folder: Path) -> list[Head]:
    """Ingest a side into a store that is thrown away, and study the heads of LAYER."""
    folder.mkdir(parents=True, exist_ok=True)
    prompts = [p for p in FORMS[side.form](side.n, side.n_test) if p.variant == "base"]
    with tempfile.TemporaryDirectory(dir=folder) as store:
        job.ingest(store, "claims", weights(side.weights, side.seed), prompts, OPTIONS, task=side.form, seed=PROMPTS)
        run = qkstore.open(store).run("claims")
        return [_head(side, run, head) for head in range(run.n_heads)]


def _head(side: Side, run: qkstore.run.Run, head: int) -> Head:
    at = (side.weights, side.seed, side.form, head)
    try:
        found = of_head(run, LAYER, head)
    except ContrastError as error:
        return Head(*at, refused=str(error))
    return Head(*at, found.n_built, tuple({name: row[name] for name in KEPT} for row in found.by_component))


def weights(kind: str, seed: int) -> model.Model:
    """The demo model, or one of its architecture: as transformers draws it, as the demo's training begins, shuffled."""
    loaded = model.load(str(demo.MODEL), answers=None)
    if kind == TRAINED:
        return loaded
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == BEGUN:
            net = train.new_model(seed)
        elif kind == DRAWN:
            net = type(loaded.net)(loaded.net.config)
        else:
            net = shuffled(model.load(str(demo.MODEL), answers=None).net)
    return model.wrap(net, loaded.tokenizer, f"{kind}, seed {seed}")


def shuffled(net: torch.nn.Module) -> torch.nn.Module:
    """Deal the entries of each of a model's matrices anew, in place, by torch's seed: only their sizes stay."""
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(p.flatten()[torch.randperm(p.numel())].reshape(p.shape) if p.dim() > 1 else p)
    return net
