"""Log-sum-exps that go with vectors rounded to 16 bits, so that what a query leaves to all other keys stays exact."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor

from ingest.model.capture import Captured
from ingest.model.layer import Layer
from qkstore.run import vectors


def logsumexp(
    captured: Captured, layers: Sequence[Layer], queries: Sequence[Sequence[int]], keys: Sequence[Sequence[int]]
) -> Tensor:
    """(layers, heads, n) float64: the model's own, with the stored keys' logits in place of those of exact vectors.

    queries, keys: positions of the stored rows, of each prompt. Attention is then a softmax over the rounded logits of
    stored keys and the model's own of all others. Beside the model's own log-sum-exp two keys of much attention would
    leave the rest with the error of their logits, and a swap divides by that rest.
    """
    out = captured.logsumexp.double().clone()
    exact = captured.q.float(), captured.k.float()
    near = tuple(_rounded(v) for v in exact)
    ends = [list(pairwise(accumulate(map(len, rows), initial=0))) for rows in (queries, keys)]
    for (a, b), (c, d), query, key in zip(*ends, queries, keys, strict=True):
        pos = torch.tensor(query)[:, None], torch.tensor(key)[None]
        for i, layer in enumerate(layers):
            own, seen = out[i, :, a:b], layer.visible(*pos)
            before, after = (
                (layer.logits(q[None, i, :, a:b], k[None, i, :, c:d])[0] - own[..., None]).exp()
                for q, k in (exact, near)
            )
            own += torch.log1p(((after - before) * seen).sum(-1))
    return out


def _rounded(v: Tensor) -> Tensor:
    """The vectors (…, n, d) as a run of 16-bit numbers gives them back."""
    flat = v.reshape(-1, v.shape[-1]).numpy()
    scale, numbers = vectors.rounded(flat)
    return torch.from_numpy(np.multiply(numbers, scale[:, None])).reshape(v.shape)
