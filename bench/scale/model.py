"""What a run has: a model's heads, prompts, and what of them is kept; vectors and bytes follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from qkstore.run.schema import vector_bytes

LABELLED = 10  # keys a prompt of a labelled task: nine boxes and the slot that asks
FOLDS = 16  # parts of the prompts whose sums are kept apart, for halves and intervals


@dataclass(frozen=True)
class Model:
    """A model's sizes. parameters: how many; None where no pass is reckoned."""

    name: str
    layers: int
    heads: int
    kv_heads: int
    d_head: int
    parameters: float | None = None

    @property
    def group(self) -> int:
        """Query heads that read one KV head."""
        return self.heads // self.kv_heads


@dataclass(frozen=True)
class Kept:
    """What is kept of a prompt, on the mean. sums: contrasts of which each query keeps Σ k⁺ and Σ k⁻ instead of keys.

    fitted: whether ΔC's sums alone are kept, by folds of prompts, and no vector. stored: the words of a table.
    """

    stored: str
    queries: float
    keys: float
    dtype: str = "float32"
    sums: int = 0
    fitted: bool = False


@dataclass(frozen=True)
class Plan:
    """A run that is to be made: a model over n prompts of so many tokens, of which something is kept."""

    model: Model
    prompts: int
    tokens: float
    kept: Kept

    def keeping(self, kept: Kept) -> Plan:
        return replace(self, kept=kept)

    @property
    def n_tokens(self) -> float:
        return self.prompts * self.tokens

    @property
    def query_rows(self) -> float:
        return self.prompts * self.kept.queries

    @property
    def key_rows(self) -> float:
        return self.prompts * self.kept.keys

    @property
    def query_vectors(self) -> float:
        return self.model.layers * self.model.heads * self.query_rows

    @property
    def key_vectors(self) -> float:
        """Keys, or the two key sums that each query has of each contrast in their place."""
        return self.model.layers * self.model.kv_heads * (self.key_rows + 2 * self.kept.sums * self.query_rows)

    @property
    def query_bytes(self) -> float:
        """What the queries of one head take in memory, as float32."""
        return 4.0 * self.model.d_head * self.query_rows

    @property
    def key_bytes(self) -> float:
        """What the keys of one KV head take, or the sums in their place."""
        return 4.0 * self.model.d_head * (self.key_rows + 2 * self.kept.sums * self.query_rows)

    def bytes(self, size: Mapping[str, float]) -> dict[str, float]:
        """Bytes of the file by what they are of: `size` has the measured constants (see storing.py)."""
        m, kept = self.model, self.kept
        if kept.fitted:  # product, key sums, query sums in float64, of each fold of each contrast
            state = 8 * (2 * m.d_head**2 + 3 * m.d_head + 5)
            return {"sums of ΔC": FOLDS * kept.sums * m.layers * m.heads * state}
        vector = vector_bytes(m.d_head, kept.dtype) * size["of a payload"] + size["beside a vector"]
        rows = self.query_rows * (1 + 2 * kept.sums) + self.key_rows
        return {
            "queries": self.query_vectors * vector,
            "keys": self.key_vectors * vector,
            "log-sum-exps": self.query_vectors * size["a log-sum-exp"],
            "rows": rows * size["a row of q or k"],
            "text": self.n_tokens * size["a token"] + self.prompts * size["a prompt"],
        }

    def size(self, size: Mapping[str, float]) -> float:
        return sum(self.bytes(size).values())


LLAMA_70B = Model("70 B", 80, 64, 8, 128, 70.6e9)
LLAMA_8B = Model("8 B", 32, 32, 8, 128, 8.0e9)


def choices(tokens: int, sample: int, contrasts: int) -> list[Kept]:
    """What may be kept of prompts of so many tokens: all, less of it, or sums of `contrasts` contrasts."""
    return [
        Kept("all queries, all keys, float32", tokens, tokens),
        Kept("all queries, all keys, int16", tokens, tokens, "int16"),
        Kept(f"{sample} queries a prompt, all keys, float32", sample, tokens),
        Kept(f"{sample} queries a prompt, all keys, int16", sample, tokens, "int16"),
        Kept(f"{sample} queries a prompt, key sums of {contrasts} contrasts, float32", sample, 0, sums=contrasts),
        Kept(f"all queries, key sums of {contrasts} contrasts, float32", tokens, 0, sums=contrasts),
        Kept(f"1 query and {LABELLED} labelled keys a prompt, float32", 1, LABELLED),
        Kept(f"1 query and {LABELLED} labelled keys a prompt, int16", 1, LABELLED, "int16"),
        Kept(f"ΔC's sums of {contrasts} contrasts alone, {FOLDS} folds", 0, 0, sums=contrasts, fitted=True),
    ]
