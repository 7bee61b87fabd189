"""Training of toy heads: a stack goes through one stream, and each head stops on its own."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ingest.toy.payload import Payload
from ingest.toy.stack import NAMES, Stack
from ingest.toy.stream import Kind, Stream
from qkstore import files
from qkstore.errors import ModelError, near

BATCH = 256
WEIGHT_DECAY = 0.01
CHECK_EVERY, CHECK_BATCHES, CHECK_SIZE = 200, 20, 512  # Table 1: validation
KEPT = ("step", "seconds", "left", "best", "worse", "kept")  # of a training, as they are
DIGEST = hashlib.sha256().digest_size  # bytes at the start of a state's file
TEST_BATCHES = 100  # of CHECK_SIZE: 51,200 samples


@dataclass(frozen=True)
class Recipe:
    """How a head is trained, with AdamW, batches of 256 and weight decay 0.01.

    cosine: the learning rate falls to 0 over `steps`.
    patience: stop when more than this many validations in a row (every 200 steps, on 20 × 512 samples) had no better
    loss, and go back to the best; None trains for all `steps`.
    """

    name: str  # its own key in RECIPES, and in runs' names
    rate: float
    steps: int
    cosine: bool = False
    patience: int | None = None


RecipeName = Literal["fast", "paper"]
RECIPES: dict[RecipeName, Recipe] = {
    "fast": Recipe("fast", rate=3e-2, steps=2000, cosine=True),
    "paper": Recipe(
        "paper", rate=1e-4, steps=200_000, patience=5
    ),  # Table 1; `steps` is a limit that nothing came near
}


def recipe(name: RecipeName | str) -> Recipe:
    """A recipe by name; raises ModelError."""
    if name not in RECIPES:
        raise ModelError(f"recipe {name!r}: {near(name, RECIPES)}")
    return RECIPES[name]


@dataclass(frozen=True)
class Trained:
    """One head after training.

    weights: {W_Q, W_K, W_V (d_head, d), W_O (P, d_head)}. measures: accuracy and attention on the sought token, over
    51,200 fresh samples. seconds: of the whole stack, shared out among its heads.
    """

    task: Payload
    weights: dict[str, np.ndarray]
    measures: dict[str, float]


Progress = Callable[[int, int], None]  # steps done, of at most


class Training:
    """A stack of heads in training.

    Its state can be saved between two steps and taken up again, and leads to the same weights.
    """

    def __init__(self, tasks: Sequence[Payload], how: Recipe, device: str = "cpu", dtype: torch.dtype = torch.float32):
        self.tasks, self.how, self.device, self.dtype = list(tasks), how, device, dtype
        self.r = max(t.r1 for t in tasks), max(t.r2 for t in tasks)
        self.stack, self.stream = Stack(tasks, *self.r, device, dtype), self._stream("train")
        self.left = list(range(len(tasks)))  # the head that each place of the stack holds
        self.done: dict[int, tuple[dict, int]] = {}  # {head: (weights, steps)}
        self.step, self.seconds = 0, 0.0
        self.best = torch.full((len(tasks),), torch.inf, device=device)
        self.worse = torch.zeros(len(tasks), dtype=torch.int64, device=device)
        self.kept = self._snapshot()
        self._optimise()

    def _stream(self, kind: Kind) -> Stream:
        return Stream(self.tasks[0], *self.r, kind, self.device, self.dtype)

    def _optimise(self) -> None:
        self.optimiser = torch.optim.AdamW(self.stack.weights.values(), lr=self.how.rate, weight_decay=WEIGHT_DECAY)

    def _snapshot(self) -> dict[str, torch.Tensor]:
        return {name: W.detach().clone() for name, W in self.stack.weights.items()}

    @property
    def finished(self) -> bool:
        return not self.left

    def advance(self) -> None:
        """One step of every head that is still in training."""
        begun = time.perf_counter()
        for group in self.optimiser.param_groups:
            group["lr"] = self.how.rate * (
                0.5 * (1 + np.cos(np.pi * self.step / self.how.steps)) if self.how.cosine else 1
            )
        self.optimiser.zero_grad()
        self.stack.losses(self.stream.draw(BATCH)).sum().backward()
        self.optimiser.step()
        self.step += 1
        if self.how.patience is not None and self.step % CHECK_EVERY == 0:
            self._validate()
        if self.step == self.how.steps:
            self._stop(torch.ones(len(self.left), dtype=torch.bool))
        self.seconds += time.perf_counter() - begun

    def _validate(self) -> None:
        """Keep the weights of the heads that are better than ever, stop those whose patience has run out."""
        stream, losses = self._stream("validate"), 0  # the same samples each time
        with torch.no_grad():
            for _ in range(CHECK_BATCHES):
                losses = losses + self.stack.losses(stream.draw(CHECK_SIZE)) / CHECK_BATCHES
        better = losses < self.best
        self.best = torch.where(better, losses, self.best)
        self.worse = torch.where(better, 0, self.worse + 1)
        for name, W in self.stack.weights.items():
            self.kept[name][better] = W.detach()[better]
        self._stop((self.worse > self.how.patience).cpu())

    def _stop(self, these: torch.Tensor) -> None:
        """Take heads out of the stack; the optimiser's state of the others stays."""
        if not these.any():
            return
        weights = self.kept if self.how.patience is not None else self._snapshot()
        for place in torch.nonzero(these).flatten().tolist():
            self.done[self.left[place]] = {name: W[place].cpu().numpy() for name, W in weights.items()}, self.step
        chosen = torch.nonzero(~these).flatten().to(self.device)
        self.left = [self.left[i] for i in chosen.tolist()]
        states = [self.optimiser.state[W] for W in self.stack.weights.values()]
        self.stack.keep(chosen)
        self.best, self.worse = self.best[chosen], self.worse[chosen]
        self.kept = {name: W[chosen] for name, W in self.kept.items()}
        self._optimise()
        for W, state in zip(self.stack.weights.values(), states):
            self.optimiser.state[W] = {name: value[chosen] if value.ndim else value for name, value in state.items()}

    def result(self) -> list[Trained]:
        """The heads in the order of their tasks, tested on 51,200 fresh samples each."""
        weights = [self.done[i][0] for i in range(len(self.tasks))]
        accuracy, attention, loss = judge(self.tasks, weights, self.device)
        return [
            Trained(
                task,
                weights[i],
                dict(
                    accuracy=accuracy[i],
                    attention=attention[i],
                    loss=loss[i],
                    bound=task.bound(),
                    steps=self.done[i][1],
                    train_seconds=self.seconds / len(self.tasks),
                ),
            )
            for i, task in enumerate(self.tasks)
        ]

    # -- a state that can be taken up again --------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write the state into a file, which is whole or not there; raises StoreError where it cannot be written.

        It holds numbers and text alone, so reading it runs no code; a SHA-256 of all else stands at its start.
        """
        state = {
            "tasks": [asdict(task) for task in self.tasks],
            "how": asdict(self.how),
            "device": self.device,
            "dtype": self.dtype,
            "done": {
                i: ({name: torch.from_numpy(W) for name, W in weights.items()}, steps)
                for i, (weights, steps) in self.done.items()
            },
            "weights": self._snapshot(),
            "optimiser": [dict(self.optimiser.state[W]) for W in self.stack.weights.values()],
            "generators": [g.get_state() for g in self.stream.generators],
            **{name: getattr(self, name) for name in KEPT},
        }
        torch.save(state, written := io.BytesIO())
        body = written.getvalue()
        files.write(str(path), ".pt", lambda part: part.write_bytes(hashlib.sha256(body).digest() + body))

    @classmethod
    def resume(cls, path: Path) -> Training:
        """The training that `save` wrote down, at the step where it stood; raises ValueError for a damaged file."""
        raw = path.read_bytes()
        if hashlib.sha256(raw[DIGEST:]).digest() != raw[:DIGEST]:  # torch would take other numbers for the saved ones
            raise ValueError(f"{path.name} is not as it was written")
        state = torch.load(io.BytesIO(raw[DIGEST:]), weights_only=True)
        self = cls(
            [Payload(**task) for task in state["tasks"]], Recipe(**state["how"]), state["device"], state["dtype"]
        )
        self.stack.keep(torch.tensor(state["left"], dtype=torch.int64, device=self.device))
        for name in KEPT:
            setattr(self, name, state[name])
        self.done = {
            i: ({name: W.numpy() for name, W in weights.items()}, steps)
            for i, (weights, steps) in state["done"].items()
        }
        self._optimise()
        for name, kept in zip(NAMES, state["optimiser"]):
            self.stack.weights[name].data.copy_(state["weights"][name])
            self.optimiser.state[self.stack.weights[name]] = kept
        for generator, at in zip(self.stream.generators, state["generators"]):
            generator.set_state(at)
        return self


def judge(
    tasks: Sequence[Payload], weights: Sequence[dict[str, np.ndarray]], device: str = "cpu"
) -> tuple[list[float], list[float], list[float]]:
    """Accuracy, attention on the sought token and loss of each head, over 51,200 samples of a stream kept for this."""
    stream = Stream(tasks[0], max(t.r1 for t in tasks), max(t.r2 for t in tasks), "test", device)
    stack = Stack(tasks, stream.r1, stream.r2, device)
    stack.weights = {
        name: torch.tensor(np.stack([w[name] for w in weights]), device=device, dtype=torch.float32) for name in NAMES
    }
    total = torch.zeros(3, len(tasks), device=device)
    with torch.no_grad():
        for _ in range(TEST_BATCHES):
            batch = stream.draw(CHECK_SIZE)
            attention, answer = stack.forward(batch)
            there = attention[torch.arange(CHECK_SIZE, device=device), :, batch.sought].mean(0)
            total += (
                torch.stack([(answer.argmax(-1) == batch.y).float().mean(1), there, stack.losses(batch)]) / TEST_BATCHES
            )
    return tuple(total.tolist())
