"""A stack of toy heads: their weights along a leading axis, and the forward pass of all of them on one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ingest.toy.payload import Payload
from ingest.toy.stream import Batch

NAMES = ("W_Q", "W_K", "W_V", "W_O")


class Stack:
    """M heads of one d_head and variant that read one stream (section 2.2).

    W_Q, W_K, W_V: (M, d_head, d), W_O: (M, P, d_head). The maps of each head's embedding are folded in, so tokens are
    never embedded: E_k = [A1 A2 A_y I] and E_q = [B1 B2 0 I], (M, d, D), with zeros where a head has fewer dimensions
    than the stream. As q·k = (W_Kᵀ q)·x and Σ α W_V x = W_V Σ α x, keys and values are never formed either: all that
    grows with heads times tokens are two products with the stream itself.
    """

    def __init__(
        self, tasks: Sequence[Payload], r1: int, r2: int, device: str = "cpu", dtype: torch.dtype = torch.float32
    ):
        self.d_head = tasks[0].d_head
        embedded = [_embeddings(task, r1, r2) for task in tasks]
        self.E_k, self.E_q = (torch.tensor(np.stack(e), device=device, dtype=dtype) for e in zip(*embedded))
        drawn = [initial(task) for task in tasks]
        self.weights = {
            name: torch.tensor(np.stack([w[name] for w in drawn]), device=device, dtype=dtype).requires_grad_()
            for name in NAMES
        }

    def __len__(self) -> int:
        return len(self.E_k)

    def keep(self, chosen: torch.Tensor) -> None:
        """Go on with these heads alone."""
        self.E_k, self.E_q = self.E_k[chosen], self.E_q[chosen]
        self.weights = {name: W.detach()[chosen].clone().requires_grad_() for name, W in self.weights.items()}

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention (n, M, T) on the tokens, and the answer's logits (M, n, P)."""
        W = self.weights
        q = batch.u_q @ (W["W_Q"] @ self.E_q).transpose(1, 2)  # (M, n, d_head)
        looked = (q @ (W["W_K"] @ self.E_k)).transpose(0, 1)  # (n, M, D)
        attention = torch.softmax(looked @ batch.u.transpose(1, 2) / self.d_head**0.5, -1)  # (n, M, T)
        read = (attention @ batch.u).transpose(0, 1)  # (M, n, D)
        return attention, read @ (W["W_O"] @ W["W_V"] @ self.E_k).transpose(1, 2)

    def losses(self, batch: Batch) -> torch.Tensor:
        """(M,) mean cross-entropy of the sought payload."""
        _, answer = self.forward(batch)
        wanted = batch.y.expand(len(self), -1)
        return (
            torch.nn.functional.cross_entropy(answer.flatten(0, 1), wanted.reshape(-1), reduction="none")
            .view(len(self), -1)
            .mean(1)
        )


def initial(task: Payload) -> dict[str, np.ndarray]:
    """The weights a head begins with: uniform within ±1/√(inputs), as torch's linear layers."""
    rng = np.random.default_rng([task.seed, 3, task.d_head, task.r1, task.r2])
    shapes = {
        "W_Q": (task.d_head, task.d),
        "W_K": (task.d_head, task.d),
        "W_V": (task.d_head, task.d),
        "W_O": (task.n_payloads, task.d_head),
    }
    return {name: rng.uniform(-1, 1, shape) / np.sqrt(shape[1]) for name, shape in shapes.items()}


def _embeddings(task: Payload, r1: int, r2: int) -> tuple[np.ndarray, np.ndarray]:
    """E_k and E_q (d, D) of one head, for a stream of latents of up to r1 and r2 dimensions."""
    m, eye = task.maps(), np.eye(task.d)
    wide = {
        name: np.pad(m[name], ((0, 0), (0, r - m[name].shape[1])))
        for name, r in (("A1", r1), ("A2", r2), ("B1", r1), ("B2", r2))
    }
    return np.hstack([wide["A1"], wide["A2"], m["A_y"], eye]), np.hstack([wide["B1"], wide["B2"], 0 * m["A_y"], eye])
