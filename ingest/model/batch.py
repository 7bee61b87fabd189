"""A batch: prompts of unlike length side by side, padded, and where in it the wanted positions are."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

import torch
from torch import Tensor

Padding = Literal["right", "left"]


@dataclass(frozen=True)
class Batch:
    """Padded prompts. `queries` and `keys` are (row of the batch, column) of what is to be stored."""

    ids: Tensor  # (B, T)
    real: Tensor  # (B, T), False where padded
    place: Tensor  # (B, T), a column's place among its prompt's tokens
    queries: tuple[Tensor, Tensor]  # (n,), (n,)
    keys: tuple[Tensor, Tensor]  # (m,), (m,)
    slots: tuple[Tensor, Tensor]  # (n,), (n,): the query's place in `columns`
    columns: Tensor  # (B, Q), the queries' columns, filled up with 0
    _copies: dict = field(default_factory=dict, init=False, repr=False, compare=False)  # {device: see on}

    @classmethod
    def of(
        cls, ids: list[list[int]], queries: list[list[int]], keys: list[list[int]], pad: int, padding: Padding, device
    ) -> Batch:
        """Token ids of prompts, filled up with `pad` on one side, and the positions of each that are wanted."""
        T = max(map(len, ids))
        shift = [T - len(row) if padding == "left" else 0 for row in ids]
        place = torch.arange(T) - torch.tensor(shift)[:, None]
        real = (place >= 0) & (place < torch.tensor([len(row) for row in ids])[:, None])
        padded = torch.full_like(place, pad)
        padded[real] = torch.tensor([token for row in ids for token in row])
        (q_row, q_column), key_rows = _rows(queries, shift), _rows(keys, shift)
        slot = torch.tensor([i for row in queries for i in range(len(row))], dtype=torch.long)
        columns = torch.zeros(len(ids), max(1, *map(len, queries)), dtype=torch.long)
        columns[q_row, slot] = q_column
        on = [t.to(device) for t in (padded, real, place, q_row, q_column, *key_rows, slot, columns)]
        return cls(*on[:3], queries=(on[3], on[4]), keys=(on[5], on[6]), slots=(on[3], on[7]), columns=on[8])

    def on(self, device: torch.device) -> Batch:
        """The same batch on a device where a layer lies: itself, or a copy that is made once."""
        if device == self.ids.device:
            return self
        if device not in self._copies:
            parts = [getattr(self, part.name) for part in fields(self) if part.init]
            moved = [tuple(t.to(device) for t in p) if isinstance(p, tuple) else p.to(device) for p in parts]
            self._copies[device] = Batch(*moved)
        return self._copies[device]


def _rows(positions: list[list[int]], shift: list[int]) -> tuple[Tensor, Tensor]:
    """(row of the batch, column) of every position."""
    rows = [b for b, row in enumerate(positions) for _ in row]
    columns = [p + shift[b] for b, row in enumerate(positions) for p in row]
    return torch.tensor(rows, dtype=torch.long), torch.tensor(columns, dtype=torch.long)
