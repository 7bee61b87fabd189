"""The training data of toy heads: one stream of latents, payloads and noise, of which each head reads its share."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
import torch

from ingest.toy.payload import Payload

Kind = Literal["train", "validate", "test"]
KINDS: tuple[Kind, ...] = get_args(Kind)  # their order is part of the seed


class Batch(NamedTuple):
    """What the heads read in one step.

    u: (n, T, D) inputs of the tokens, D = r1 + r2 + payloads + d: both latents, the payload one-hot, the noise of the
    embedding. u_q: (n, D) the selector's, without payload. sought: (n,) its token. y: (n,) that token's payload.
    """

    u: torch.Tensor
    u_q: torch.Tensor
    sought: torch.Tensor
    y: torch.Tensor


class Stream:
    """Batches from a seed, for latents of up to r1 and r2 dimensions.

    Every coordinate of a latent has a generator of its own: a head of fewer dimensions reads the first ones, and what
    it reads does not depend on which heads are trained beside it. `kind` keeps training, validation and test apart.
    """

    def __init__(
        self,
        task: Payload,
        r1: int,
        r2: int,
        kind: Kind = "train",
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.task, self.r1, self.r2, self.device, self.dtype = task, r1, r2, device, dtype
        names = [KINDS.index(kind)]
        self.latents = [self._generator(*names, 1, j) for j in range(r1)] + [
            self._generator(*names, 2, j) for j in range(r2)
        ]
        self.payload, self.noise, self.target = (self._generator(*names, 0, j) for j in range(3))

    def _generator(self, *names: int) -> torch.Generator:
        state = np.random.SeedSequence([self.task.seed, 2, *names]).generate_state(1, np.uint64)[0]
        return torch.Generator(self.device).manual_seed(int(state >> np.uint64(1)))

    @property
    def generators(self) -> list[torch.Generator]:
        return [*self.latents, self.payload, self.noise, self.target]

    def draw(self, n: int) -> Batch:
        """The next n samples. Drawing twice n and drawing n twice are different streams."""
        t, T, P = self.task, self.task.n_keys, self.task.n_payloads
        put = dict(device=self.device, dtype=self.dtype)
        r = self.r1 + self.r2
        u, u_q = torch.empty(n, T, r + P + t.d, **put), torch.zeros(n, r + P + t.d, **put)
        for j, generator in enumerate(self.latents):
            u[..., j] = self._latent(n, generator)
        y = torch.randint(0, P, (n, T), generator=self.payload, device=self.device)
        u[..., r : r + P] = torch.nn.functional.one_hot(y, P)
        u[..., r + P :].normal_(0, t.noise, generator=self.noise)
        u_q[:, r + P :].normal_(0, t.noise, generator=self.noise)
        sought = torch.randint(0, T, (n,), generator=self.target, device=self.device)
        rows = torch.arange(n, device=self.device)
        u_q[:, :r] = u[rows, sought, :r]
        return Batch(u, u_q, sought, y[rows, sought])

    def _latent(self, n: int, generator: torch.Generator) -> torch.Tensor:
        put = dict(generator=generator, device=self.device, dtype=self.dtype)
        if self.task.variant == "discrete":
            return torch.randint(0, 2, (n, self.task.n_keys), **put) * 2 - 1
        return torch.randn(n, self.task.n_keys, **put)
