"""Training of toy heads: 25 as one stack against one at a time, in turns in one process.

    python bench/toy.py [--d-head 8] [--grid 2,3,4,5,6] [--steps 100] [--rounds 3] [--limit 6]

One at a time is the plain program: tokens are embedded, one attention head in torch, autograd and AdamW. Both do the
same steps of the `fast` recipe. Prints models per minute of both, of a stack of one too, and the ratio; exit code 1
below --limit.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ingest.toy.payload import Payload
from ingest.toy.recipe import BATCH, RECIPES, WEIGHT_DECAY, Training
from ingest.toy.stack import NAMES, initial
from ingest.toy.stream import Batch, Stream


class Head(torch.nn.Module):
    """One attention head as the paper writes it (section 2.2), on tokens that are embedded (eq. 1–4)."""

    def __init__(self, task: Payload, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.task = task
        self.maps = {name: torch.tensor(value, dtype=dtype) for name, value in task.maps().items()}
        for name, value in initial(task).items():
            self.register_parameter(name, torch.nn.Parameter(torch.tensor(value, dtype=dtype)))

    def loss(self, batch: Batch, r1: int, r2: int) -> torch.Tensor:
        """Cross-entropy on a batch of a stream whose latents have r1 and r2 dimensions.

        The head reads the first ones of each.
        """
        m, P = self.maps, self.task.n_payloads
        parts = [u.split([r1, r2, P, self.task.d], dim=-1) for u in (batch.u, batch.u_q)]
        (z1, z2, y, noise), (z1_q, z2_q, _, noise_q) = parts
        x = z1[..., : self.task.r1] @ m["A1"].T + z2[..., : self.task.r2] @ m["A2"].T + y @ m["A_y"].T + noise
        x_q = z1_q[..., : self.task.r1] @ m["B1"].T + z2_q[..., : self.task.r2] @ m["B2"].T + noise_q
        q, k, v = x_q @ self.W_Q.T, x @ self.W_K.T, x @ self.W_V.T
        attention = torch.softmax(torch.einsum("nd,ntd->nt", q, k) / self.task.d_head**0.5, -1)
        return torch.nn.functional.cross_entropy(torch.einsum("nt,ntd->nd", attention, v) @ self.W_O.T, batch.y)


def alone(
    task: Payload,
    r1: int,
    r2: int,
    steps: int,
    rate: float,
    weight_decay: float = WEIGHT_DECAY,
    dtype: torch.dtype = torch.float32,
) -> dict[str, torch.Tensor]:
    """The weights of one head after some steps of the plain program at a constant rate.

    It is trained on the stream of latents of r1 and r2 dimensions.
    """
    head, stream = Head(task, dtype), Stream(task, r1, r2, "train", dtype=dtype)
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=weight_decay)
    for _ in range(steps):
        optimiser.zero_grad()
        head.loss(stream.draw(BATCH), r1, r2).backward()
        optimiser.step()
    return {name: getattr(head, name).detach() for name in NAMES}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--d-head", type=int, default=8)
    parser.add_argument("--grid", default="2,3,4,5,6")
    parser.add_argument("--steps", type=int, default=100, help="timed in each turn; a model takes 2,000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=6.0)
    options = parser.parse_args()
    ranks = [int(r) for r in options.grid.split(",")]
    tasks = [Payload("discrete", options.d_head, r1, r2) for r1 in ranks for r2 in ranks]
    how, steps = RECIPES["fast"], options.steps

    def stacked(some: list[Payload]) -> float:
        training = Training(some, how)
        return _seconds(lambda: [training.advance() for _ in range(steps)]) / steps / len(some)

    def plain() -> float:
        return statistics.mean(
            _seconds(lambda t=t: alone(t, t.r1, t.r2, steps, how.rate)) / steps for t in (tasks[0], tasks[-1])
        )

    turns = [(stacked(tasks), stacked(tasks[:1]), plain()) for _ in range(options.rounds)]
    for name, seconds in zip((f"stack of {len(tasks)}", "stack of 1", "one at a time, plain"), zip(*turns)):
        print(
            f"{name:22} {60 / (statistics.median(seconds) * how.steps):8.1f} models a minute "
            f"({1000 * statistics.median(seconds):.2f} ms a step and model)"
        )
    ratio = statistics.median(one / many for many, _, one in turns)
    print(f"stacked ÷ one at a time: {ratio:.1f} (limit {options.limit:g}), {torch.get_num_threads()} threads")
    return 0 if ratio >= options.limit else 1


def _seconds(work) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
