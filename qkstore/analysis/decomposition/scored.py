"""The scores of a head's components: of the queries that judge them, and of the key that each one chose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.analysis.decomposition.found import HeadComponents
from qkstore.analysis.decomposition.sight import Piece
from qkstore.components import choosing
from qkstore.components.components import Components
from qkstore.run import Layer


@dataclass(frozen=True)
class Scored:
    """n queries of the judged split with the key that each attends to most, of the keys that it may choose from.

    query, key: (n,) rows of the run, by ascending query. x: (n, r) scores of the queries. y: (n, r) scores of those
    keys, less the mean score of the keys that the query may choose from, since only differences between keys say
    something. attention: (n,) on that key, of the whole row. group: (n,) prompt_ids.
    """

    of: HeadComponents
    query: np.ndarray
    key: np.ndarray
    x: np.ndarray
    y: np.ndarray
    attention: np.ndarray
    group: np.ndarray

    def __len__(self) -> int:
        return len(self.query)

    @classmethod
    def of_head(cls, of: HeadComponents, k: np.ndarray | None = None) -> Scored:
        """The queries that `of.test` is of, read once more; k: the head's keys, all rows, where they are at hand."""
        parts = [_scored(piece, of.found, of.head.facts) for piece in of.judged.pieces(of.head, k)]
        query, key, x, y, attention, group = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(query, kind="stable")
        return cls(of, *(column[order] for column in (query, key, x, y, attention, group)))

    def rows(self, at: np.ndarray) -> Scored:
        """Some of the queries."""
        columns = (self.query, self.key, self.x, self.y, self.attention, self.group)
        return Scored(self.of, *(column[at] for column in columns))


def _scored(piece: Piece, found: Components, facts: Layer) -> tuple[np.ndarray, ...]:
    chosen = choosing(piece.q, piece.k, piece.seen, facts.scaling, facts.softcap, piece.logsumexp)
    kept, seen = chosen.kept, piece.seen
    best = np.where(seen, chosen.attention, -1.0).argmax(axis=2)  # (b, i)
    score = found.key_scores(piece.k)  # (b, j, r)
    mean = (seen / np.maximum(seen.sum(axis=2, keepdims=True), 1)) @ score
    gain = np.take_along_axis(score, best[:, :, None], axis=1) - mean
    most = np.take_along_axis(chosen.attention, best[:, :, None], axis=2)[:, :, 0] * chosen.share
    block = piece.block
    return (
        block.query[kept],
        np.take_along_axis(block.key, best, axis=1)[kept],
        found.query_scores(piece.q[kept].astype(np.float64)),
        gain[kept],
        most[kept],
        np.broadcast_to(block.group[:, None], kept.shape)[kept],
    )
