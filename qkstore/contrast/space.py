"""A subspace that a contrast carries: directions of one head of one run, found without ΔC and kept as text."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from qkstore.errors import ContrastError
from qkstore.subspace import Subspace

LONGEST = 1 << 20  # characters of the text: two square matrices of 256 dimensions
MOST_NUMBER = 1_000_000  # of a layer, a head or a dimension
UPRIGHT = 1e-4  # how far float32 columns may be from orthonormal
KEPT = 64  # texts whose reading is remembered
FIELDS = {"run": str, "layer": int, "head": int, "d_head": int, "rank": int, "U": str, "V": str}


@dataclass(frozen=True)
class Space:
    """Directions of one head: U and V (d_head, rank), float32, orthonormal columns, the most important pair first.

    run: the digest of the run (Run.digest) whose head it is. Of a group of components, U is the orthonormal span of
    their a_onto and V of their b_onto. A swap through V Vᵀ is orthogonal, the components' own projector is oblique:
    of all components of a head, and of most groups, the two move attention alike, of a part of them they can differ,
    since what other components leave in the span goes with it. The oblique one does not change with the head's basis.
    """

    run: str
    layer: int
    head: int
    U: np.ndarray
    V: np.ndarray

    @property
    def rank(self) -> int:
        return self.V.shape[1]

    @classmethod
    def spanned(cls, run: str, layer: int, head: int, a_onto: np.ndarray, b_onto: np.ndarray) -> Space:
        """The spans of a_onto and b_onto: (d_head, r), whose columns belong together; of the run with that digest."""
        U, _, Vt = np.linalg.svd(np.asarray(a_onto, np.float64) @ np.asarray(b_onto, np.float64).T)
        rank = a_onto.shape[1]
        return cls(run, layer, head, U[:, :rank].astype(np.float32), Vt[:rank].T.astype(np.float32))

    @property
    def text(self) -> str:
        """JSON of FIELDS, the matrices as base64 of little-endian float32, row by row."""
        told = {"run": self.run, "layer": self.layer, "head": self.head, "d_head": len(self.V), "rank": self.rank}
        return json.dumps(told | {"U": _written(self.U), "V": _written(self.V)})

    @property
    def told(self) -> str:
        """Whose it is, in words."""
        many = "1 dimension" if self.rank == 1 else f"{self.rank} dimensions"
        return f"{many} of layer {self.layer} head {self.head} of the run {self.run}"

    def subspace(self, run: str, layer: int, head: int, rank: int | None = None) -> Subspace:
        """The subspace for one head of the run with that digest, its first `rank` pairs of columns or all.

        Raises ContrastError for another head or run, and for more dimensions than it has.
        """
        if (run, layer, head) != (self.run, self.layer, self.head):
            whose = f"layer {layer} head {head}" if run == self.run else f"a head of the run {run}"
            raise ContrastError(f"this contrast's own subspace has {self.told}, so it says nothing of {whose}")
        if rank is not None and not 1 <= rank <= self.rank:
            raise ContrastError(f"rank {rank} is outside 1…{self.rank}: this contrast's own subspace has {self.told}")
        kept = rank or self.rank
        S = (np.arange(len(self.V)) < kept).astype(float)
        return Subspace(self.U[:, :kept].astype(np.float64), S, self.V[:, :kept].astype(np.float64), kept)


@lru_cache(KEPT)
def read(text: str) -> Space:
    """What `Space.text` wrote. Raises ContrastError for anything else, which a catalogue's file may hold."""
    if len(text) > LONGEST:
        raise ContrastError(f"a contrast's subspace has {len(text):,} characters; {LONGEST:,} are possible")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ContrastError("a contrast's subspace is no JSON") from None
    if not isinstance(found, dict) or set(found) != set(FIELDS):
        raise ContrastError(f"a contrast's subspace has not the fields {', '.join(FIELDS)}")
    for name, kind in FIELDS.items():
        if type(found[name]) is not kind:
            raise ContrastError(
                f"the {name} of a contrast's subspace is no {'text' if kind is str else 'whole number'}"
            )
        if kind is int and not 0 <= found[name] < MOST_NUMBER:
            raise ContrastError(f"the {name} of a contrast's subspace is outside 0…{MOST_NUMBER - 1:,}")
    if not found["run"].isalnum() or len(found["run"]) > 64:
        raise ContrastError("the run of a contrast's subspace is no digest")
    if not 1 <= found["rank"] <= found["d_head"]:
        raise ContrastError(f"the rank of a contrast's subspace, {found['rank']}, is outside 1…{found['d_head']}")
    shape = found["d_head"], found["rank"]
    U, V = (_matrix(name, found[name], shape) for name in ("U", "V"))
    return Space(found["run"], found["layer"], found["head"], U, V)


def _written(matrix: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(matrix, "<f4").tobytes()).decode()


def _matrix(name: str, text: str, shape: tuple[int, int]) -> np.ndarray:
    """(d_head, rank) float32; raises ContrastError unless it has that shape, is finite and orthonormal."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ContrastError(f"{name} of a contrast's subspace is no base64") from None
    if len(data) != 4 * shape[0] * shape[1]:
        raise ContrastError(
            f"{name} of a contrast's subspace has {len(data):,} bytes, {shape[0]} × {shape[1]} need 4 each"
        )
    matrix = np.frombuffer(data, "<f4").reshape(shape)
    if not (np.abs(matrix) <= 2).all():  # NaN is not
        raise ContrastError(f"{name} of a contrast's subspace has values that no direction has")
    if np.abs(matrix.astype(np.float64).T @ matrix - np.eye(shape[1])).max() > UPRIGHT:
        raise ContrastError(f"the columns of {name} of a contrast's subspace are not orthonormal")
    return matrix
