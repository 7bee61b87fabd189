"""What a toy run stores: triplets and contexts of the task, as tables of prompts and tokens and as queries and keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from ingest.prompts import Split
from ingest.toy.payload import Payload, Variant

SHOWN = 3  # coordinates of a latent whose signs are kept as a label of their own
JOINED = ", "  # between the tokens of a prompt
Kind = Literal["triplet", "exact", "context"]  # of a prompt, its variant in the store
Factor = Literal[1, 2]  # the number of a latent
SPLIT: dict[Kind, Split] = {"triplet": "train", "exact": "train", "context": "test"}


@dataclass(frozen=True)
class Latent:
    """n draws of one latent: values (n, r); code (n,), equal where the values are: signs, or the number of the draw."""

    value: np.ndarray
    code: np.ndarray

    def __getitem__(self, rows) -> Latent:
        return Latent(self.value[rows], self.code[rows])

    @property
    def signs(self) -> np.ndarray:
        """(n,) signs of the first coordinates, as text."""
        return _text(self.value[:, :SHOWN])


def _text(value: np.ndarray) -> np.ndarray:
    """(n,) the signs of values (n, r) as text, such as +-+."""
    return np.where(value > 0, "+", "-").astype("<U1").view(f"<U{value.shape[1]}").ravel()


@dataclass
class Draws:
    """Latents of one rank, drawn one after the other."""

    rng: np.random.Generator
    variant: Variant
    r: int
    drawn: int = 0

    def draw(self, n: int) -> Latent:
        """n independent values."""
        return self._signs(self.rng.integers(0, 2**self.r, n)) if self.variant == "discrete" else self._fresh(n)

    def other(self, than: Latent) -> Latent:
        """Independent values, each different from that of `than`.

        They are uniform over the other codes, or, where the latent is Gaussian, simply drawn anew.
        """
        if self.variant == "continuous":
            return self._fresh(len(than.code))
        number = (than.value > 0) @ (2 ** np.arange(self.r))
        return self._signs((number + self.rng.integers(1, 2**self.r, len(number))) % 2**self.r)

    def _signs(self, number: np.ndarray) -> Latent:
        value = 2.0 * (number[:, None] >> np.arange(self.r) & 1) - 1
        return Latent(value, _text(value))

    def _fresh(self, n: int) -> Latent:
        self.drawn += n
        return Latent(self.rng.standard_normal((n, self.r)), np.arange(self.drawn - n, self.drawn))


@dataclass
class Sample:
    """Prompts of one head, in the order they are added: first the tokens of a prompt, last its selector.

    q, k: (n, d_head), (m, d_head) float32, logsumexp: (n,) float64, prompts and tokens: tables, of one addition each.
    """

    task: Payload
    weights: dict[str, np.ndarray]
    rng: np.random.Generator
    q: list[np.ndarray] = field(default_factory=list)
    k: list[np.ndarray] = field(default_factory=list)
    logsumexp: list[np.ndarray] = field(default_factory=list)
    prompts: list[pl.DataFrame] = field(default_factory=list)
    tokens: list[pl.DataFrame] = field(default_factory=list)

    def __post_init__(self):
        self.maps = self.task.maps()
        self.z = {i: Draws(self.rng, self.task.variant, r) for i, r in ((1, self.task.r1), (2, self.task.r2))}

    def triplets(self, factor: Factor, n: int, exact: bool = False) -> None:
        """n triplets (q, k+, k−) of latent `factor` (1 or 2).

        k− has another value of it; of the other latent, both keys have one random value.
        exact: both keys share payload and noise too, so that nothing but the latent tells them apart.
        """
        own, shared = self.z[factor], self.z[3 - factor]
        sought, held = own.draw(n), shared.draw(n)
        pair = np.tile(np.arange(2), n)  # k+, k−, k+, k−, …
        both = _choose(sought, own.other(sought), pair)
        alike = 1 if exact else 2
        payload = np.broadcast_to(self.rng.integers(0, self.task.n_payloads, (n, alike)), (n, 2))
        noise = np.broadcast_to(self._noise(n, alike), (n, 2, self.task.d))
        variant, twice = "exact" if exact else "triplet", np.repeat(np.arange(n), 2)
        queried, keys = {factor: sought, 3 - factor: shared.draw(n)}, {factor: both, 3 - factor: held[twice]}
        self._add(variant, f"z{factor}", queried, keys, payload, noise, np.zeros(n, int))

    def contexts(self, n: int) -> None:
        """n contexts of the task: n_keys independent tokens, of which one has the selector's latents."""
        T = self.task.n_keys
        keys = {i: z.draw(n * T) for i, z in self.z.items()}
        sought = self.rng.integers(0, T, n)
        queried = {i: z[np.arange(n) * T + sought] for i, z in keys.items()}
        self._add(
            "context",
            None,
            queried,
            keys,
            self.rng.integers(0, self.task.n_payloads, (n, T)),
            self._noise(n, T),
            sought,
        )

    def _noise(self, *shape: int) -> np.ndarray:
        return self.task.noise * self.rng.standard_normal((*shape, self.task.d))

    def _add(
        self,
        variant: Kind,
        factor: str | None,
        queried: dict[int, Latent],
        keys: dict[int, Latent],
        payload,
        noise,
        sought,
    ) -> None:
        """Add n prompts of T tokens each.

        queried: latents of the n selectors, keys: of their n · T tokens; payload (n, T), noise (n, T, d), sought (n,)
        tokens.
        """
        (n, T), m, W = payload.shape, self.maps, self.weights
        x_q = queried[1].value @ m["B1"].T + queried[2].value @ m["B2"].T + self._noise(n)
        x = (
            keys[1].value @ m["A1"].T
            + keys[2].value @ m["A2"].T
            + m["A_y"].T[payload.ravel()]
            + noise.reshape(n * T, -1)
        )
        q, k = (x_q @ W["W_Q"].T).astype(np.float32), (x @ W["W_K"].T).astype(np.float32)
        logits = np.einsum("nd,ntd->nt", q.astype(np.float64), k.reshape(n, T, -1)) / np.sqrt(self.task.d_head)
        self.q.append(q)
        self.k.append(k)
        self.logsumexp.append(np.logaddexp.reduce(logits, axis=1))
        first = sum(map(len, self.prompts))
        tokens = _tokens(first, queried, keys, payload, sought)
        self.tokens.append(tokens)
        self.prompts.append(_prompts(tokens, variant, factor, payload[np.arange(n), sought]))

    def frames(self) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """The tables of prompts, tokens, query rows and key rows."""
        prompts, tokens = pl.concat(self.prompts), pl.concat(self.tokens)
        rows = [
            tokens.filter(pl.col("role") == role)
            .select("prompt_id", "pos")
            .with_row_index(name)
            .with_columns(pl.col(name).cast(pl.Int32))
            for role, name in (("selector", "query_row"), ("payload", "key_row"))
        ]
        return prompts, tokens, *rows


def _choose(a: Latent, b: Latent, which: np.ndarray) -> Latent:
    """Of each draw of a and b in turn, the one of a where `which` is 0, that of b where it is 1."""
    twice = np.repeat(np.arange(len(a.code)), 2)
    return Latent(
        np.where(which[:, None] == 0, a.value[twice], b.value[twice]),
        np.where(which == 0, a.code[twice], b.code[twice]),
    )


def _tokens(
    first: int, queried: dict[int, Latent], keys: dict[int, Latent], payload: np.ndarray, sought: np.ndarray
) -> pl.DataFrame:
    """A row a token, prompt by prompt; the selector has no payload and no side."""
    n, T = payload.shape
    pos = np.tile(np.arange(T + 1, dtype=np.int32), n)
    of_key = pl.Series(pos < T)

    def column(key: np.ndarray, query: np.ndarray) -> np.ndarray:
        return np.hstack([key.reshape(n, T), query[:, None]]).ravel()

    codes = {f"z{i}": column(keys[i].code, queried[i].code) for i in (1, 2)} | {
        f"signs{i}": column(keys[i].signs, queried[i].signs) for i in (1, 2)
    }
    side = np.where(np.arange(T) == sought[:, None], "positive", "negative")
    frame = pl.DataFrame(
        {
            "prompt_id": np.repeat(np.arange(first, first + n, dtype=np.int32), T + 1),
            "pos": pos,
            "token_id": None,
            "role": np.where(pos < T, "payload", "selector"),
            "span": pos,
            "span_last": True,
            **codes,
            "payload": column(payload.astype(np.int32), np.zeros(n, np.int32)),
            "side": column(side, np.full(n, "")),
        }
    ).with_columns(pl.when(of_key).then(pl.col("payload", "side")), token_id=pl.lit(None, pl.Int32))
    said = [f"z{i}" if frame.schema[f"z{i}"] == pl.String else f"signs{i}" for i in (1, 2)]
    text = pl.concat_str(*said, pl.col("payload").cast(pl.String).fill_null("?"), separator=" ")
    length = (pl.col("text").str.len_chars() + len(JOINED)).cast(pl.Int32)
    end = length.cum_sum().over("prompt_id").cast(pl.Int32)
    return frame.with_columns(text=text).with_columns(char_start=end - length, char_end=end - len(JOINED))


def _prompts(tokens: pl.DataFrame, variant: Kind, factor: str | None, answer: np.ndarray) -> pl.DataFrame:
    text = tokens.group_by("prompt_id", maintain_order=True).agg(pl.col("text").str.join(JOINED))
    return text.with_columns(
        id=pl.lit(None, pl.String),
        split=pl.lit(SPLIT[variant]),
        variant=pl.lit(variant),
        counterfactual_id=pl.lit(None, pl.Int32),
        answer=pl.Series(answer.astype(str)),
        factor=pl.lit(factor, pl.String),
    )
