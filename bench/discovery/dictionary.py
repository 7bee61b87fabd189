"""A bilinear sparse dictionary of queries and keys (after Wynroe and Sharkey 2024), written anew and small.

Two encoders with ReLU give sparse features of a query and of a key, two decoders give a query and a key back, and what
is fitted is the head's attention: the divergence of the attention that the decoded ones make from the head's own, with
a little of both reconstructions and the features' absolute values. Then one mask over pairs of a query's feature with
a key's is trained to keep the attention with few pairs: those left are what the head matches on.

As described: both sides at once, attention as the target, sparsity of features, a mask over pairs second. Left out: the
encoders read q and k themselves, since a store has no residual stream; no dead features are started anew; 600 steps
each; two features a dimension; what else the authors tuned on language models.
"""

from __future__ import annotations

import numpy as np
import torch

from bench.discovery.methods import Directions, Subject

WIDER = 2  # features a dimension
STEPS, RATE, BATCH = 600, 1e-2, 512
SPARSE, KEPT, FEW = 0.003, 0.1, 0.03  # weights of features' sizes (best of 0.003–0.1), of reconstruction, of pairs
LIVE = 0.5  # of the mask: pairs below are not counted


class Dictionary(torch.nn.Module):
    """Features of queries and keys: f_q = relu(q E_q + c_q), and the same of keys; f @ D is the vector again."""

    def __init__(self, d: int, m: int, generator: torch.Generator):
        super().__init__()
        for side in "qk":
            D = torch.nn.functional.normalize(torch.randn(m, d, generator=generator), dim=1)
            for name, value in (("E", D.T.clone()), ("D", D), ("c", torch.zeros(m)), ("o", torch.zeros(d))):
                setattr(self, f"{name}_{side}", torch.nn.Parameter(value))

    def features(self, x: torch.Tensor, side: str) -> torch.Tensor:
        return torch.relu(x @ getattr(self, f"E_{side}") + getattr(self, f"c_{side}"))

    def back(self, f: torch.Tensor, side: str) -> torch.Tensor:
        return f @ getattr(self, f"D_{side}") + getattr(self, f"o_{side}")


def dictionary(s: Subject, steps: int = STEPS, seed: int = 0) -> Directions:
    """Features by what their pairs carry of the logits; the number is that of query features in a live pair."""
    generator = torch.Generator().manual_seed(seed)
    n, d = s.q.shape
    sizes = [float(x.std()) for x in (s.q, s.k)]
    q, k = (torch.tensor(x / size, dtype=torch.float32) for x, size in zip((s.q, s.k), sizes))
    k, gain = k.reshape(n, -1, d), s.scaling * sizes[0] * sizes[1]
    net = Dictionary(d, WIDER * d, generator)
    _fit(net, q, k, gain, steps, generator)
    mask = _mask(net, q, k, gain, steps, generator)
    with torch.no_grad():
        G = (net.D_q @ net.D_k.T) * mask  # (m, m) what a pair of features adds to a logit
        f_q, f_k = net.features(q, "q"), net.features(k.reshape(-1, d), "k")
        carried = (f_q.std(dim=0)[:, None] * f_k.std(dim=0)[None, :] * G.abs()).numpy()
        live = (mask > LIVE).numpy() & (carried > 0.01 * carried.max())
        by = np.argsort(-carried, axis=None)
        rows, columns = (list(dict.fromkeys(x)) for x in np.unravel_index(by, carried.shape))
        U, V = (_span(D[order].double().numpy()) for D, order in ((net.D_q, rows), (net.D_k, columns)))
        kept = [int(i) for i in rows if live[i].any()]

    def scores(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net.features(torch.tensor(x / sizes[0], dtype=torch.float32), "q")[:, kept].double().numpy()

    return Directions(U, V, U, V, len(kept), scores=scores)


def _fit(net: Dictionary, q, k, gain: float, steps: int, generator: torch.Generator) -> None:
    optimiser = torch.optim.Adam(net.parameters(), lr=RATE)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = RATE * (1 - step / steps)
        rows = torch.randint(0, len(q), (BATCH,), generator=generator)
        f_q, f_k = net.features(q[rows], "q"), net.features(k[rows], "k")
        q_back, k_back = net.back(f_q, "q"), net.back(f_k, "k")
        kept = ((q_back - q[rows]) ** 2).mean() + ((k_back - k[rows]) ** 2).mean()
        size_q, size_k = net.D_q.norm(dim=1), net.D_k.norm(dim=1)
        sparse = (f_q * size_q).sum(dim=-1).mean() + (f_k * size_k).sum(dim=-1).mean()
        loss = _apart(_logits(q_back, k_back, gain), q[rows], k[rows], gain) + KEPT * kept + SPARSE * sparse
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _mask(net: Dictionary, q, k, gain: float, steps: int, generator: torch.Generator) -> torch.Tensor:
    """(m, m) between 0 and 1: how much of each pair the attention needs."""
    with torch.no_grad():
        G = net.D_q @ net.D_k.T
    raw = torch.full_like(G, 2.0, requires_grad=True)
    bias_q, bias_k = net.o_q.detach(), net.o_k.detach()
    optimiser = torch.optim.Adam([raw], lr=0.05)
    for _ in range(steps // 2):
        rows = torch.randint(0, len(q), (BATCH,), generator=generator)
        with torch.no_grad():
            f_q, f_k = net.features(q[rows], "q"), net.features(k[rows], "k")
            constant = _logits(bias_q.expand(len(rows), -1), net.back(f_k, "k"), gain)
            constant += gain * (f_q @ net.D_q @ bias_k)[:, None]
        mask = torch.sigmoid(raw)
        logits = constant + gain * torch.einsum("nm,ntm->nt", f_q @ (G * mask), f_k)
        loss = _apart(logits, q[rows], k[rows], gain) + FEW * mask.mean() * mask.shape[0]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return torch.sigmoid(raw).detach()


def _logits(q: torch.Tensor, k: torch.Tensor, gain: float) -> torch.Tensor:
    return gain * torch.einsum("nd,ntd->nt", q, k)


def _apart(logits: torch.Tensor, q: torch.Tensor, k: torch.Tensor, gain: float) -> torch.Tensor:
    """Divergence (nats) of the attention of some logits from the head's own."""
    own = torch.log_softmax(_logits(q, k, gain), dim=-1)
    return (own.exp() * (own - torch.log_softmax(logits, dim=-1))).sum(dim=-1).mean()


def _span(rows: np.ndarray) -> np.ndarray:
    """(d, d) orthonormal columns that span the rows in turn, then what is left."""
    Q = np.empty((rows.shape[1], 0))
    for x in [*rows, *np.eye(rows.shape[1])]:
        left = x - Q @ (Q.T @ x)
        if Q.shape[1] < rows.shape[1] and (size := float(np.linalg.norm(left))) > 1e-3 * float(np.linalg.norm(x)):
            Q = np.column_stack([Q, left / size])
    return Q
