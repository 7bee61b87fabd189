"""The paper's toy heads: trained in four stacks and kept in a folder; what each made of contexts, and the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ingest.toy.payload import VARIANTS, Payload
from ingest.toy.recipe import RECIPES, Training
from ingest.toy.sample import Sample
from ingest.toy.stack import initial
from qkstore import files
from qkstore.components import Choices, choices

GRIDS = {8: range(2, 7), 16: range(4, 13)}  # d_head: r1 and r2; both variants make 212 heads
NAMES = ("W_Q", "W_K")
TRAIN, TEST = 4000, 2000  # contexts that a head is decomposed by, and others that it is judged on


@dataclass(frozen=True)
class Contexts:
    """What one head made of n contexts of the task.

    q: (n, d_head); k: (n, T, d_head); z: (n, r1 + r2) latents of the query, z1 first; found: what it chose; logsumexp:
    (n,). All float64.
    """

    q: np.ndarray
    k: np.ndarray
    z: np.ndarray
    logsumexp: np.ndarray
    found: Choices


@dataclass(frozen=True)
class ToyHead:
    """A trained head of one task, with W_Q and W_K: (d_head, d) alone."""

    task: Payload
    W_Q: np.ndarray
    W_K: np.ndarray

    @property
    def r(self) -> int:
        """Coordinates of both latents."""
        return self.task.r1 + self.task.r2

    @property
    def room(self) -> int:
        """Coordinates that can be told apart in d_head dimensions."""
        return min(self.r, self.task.d_head)

    @property
    def beyond(self) -> int:
        """r1 + r2 − d_head: above 0, coordinates must share directions."""
        return self.r - self.task.d_head

    def spaces(self) -> tuple[np.ndarray, np.ndarray]:
        """(d_head, r) each: W_Q [B1 B2], what a query has of the latents, and W_K [A1 A2], what a key has."""
        m = self.task.maps()
        return self.W_Q @ np.hstack([m["B1"], m["B2"]]), self.W_K @ np.hstack([m["A1"], m["A2"]])

    def contexts(self, n: int, seed: int) -> Contexts:
        """n contexts drawn by a seed: the sampler's own q, k and log-sum-exps, in float32 as a store has them."""
        sample = _Remembering(self.task, {"W_Q": self.W_Q, "W_K": self.W_K}, np.random.default_rng([5, seed]))
        sample.contexts(n)
        q, k = sample.q[0].astype(np.float64), sample.k[0].astype(np.float64).reshape(n, self.task.n_keys, -1)
        seen = np.ones((n, 1, self.task.n_keys), bool)
        logsumexp = sample.logsumexp[0]
        found = choices(q[:, None], k, seen, np.arange(n), self.scaling, logsumexp=logsumexp[:, None])
        return Contexts(q, k, sample.sought, logsumexp, found)

    def untrained(self) -> ToyHead:
        """The head as its training begins."""
        weights = initial(self.task)
        return ToyHead(self.task, weights["W_Q"], weights["W_K"])

    @property
    def scaling(self) -> float:
        return self.task.d_head**-0.5


class _Remembering(Sample):
    """A sample that keeps the latents of its queries, which a store has as signs alone."""

    sought: np.ndarray

    def _add(self, variant, factor, queried, *rest) -> None:
        self.sought = np.hstack([queried[1].value, queried[2].value])
        super()._add(variant, factor, queried, *rest)


def grid(d_head: int, variant: str) -> list[Payload]:
    """The tasks of one of the paper's grids."""
    return [Payload(variant, d_head, r1, r2) for r1 in GRIDS[d_head] for r2 in GRIDS[d_head]]


def heads(folder: Path, tell: Callable[[str], None] = print) -> list[ToyHead]:
    """All 212 heads, by the fast recipe; a stack that the folder has is not trained anew."""
    return [
        head
        for d_head in GRIDS
        for variant in VARIANTS
        for head in stack(folder, f"{variant}-d{d_head}", grid(d_head, variant), tell)
    ]


def stack(folder: Path, name: str, tasks: Sequence[Payload], tell: Callable[[str], None] = print) -> list[ToyHead]:
    """The heads of tasks of one variant and d_head, from the folder or trained together and put there."""
    path = folder / f"{name}.npz"
    if not path.exists():
        begun = time.process_time()
        training = Training(tasks, RECIPES["fast"])
        while not training.finished:
            training.advance()
        done = [training.done[i][0] for i in range(len(tasks))]
        arrays = {part: np.stack([weights[part] for weights in done]) for part in NAMES}
        folder.mkdir(parents=True, exist_ok=True)
        told = np.array([repr(asdict(task)) for task in tasks])
        files.write(str(path), ".npz", lambda part: np.savez(part, tasks=told, **arrays))
        tell(f"trained {len(tasks)} heads, {name}: {time.process_time() - begun:.0f} CPU s")
    with np.load(path) as kept:
        assert list(kept["tasks"]) == [repr(asdict(task)) for task in tasks], f"{path.name} is of other tasks"
        return [ToyHead(task, *(kept[part][i] for part in NAMES)) for i, task in enumerate(tasks)]
