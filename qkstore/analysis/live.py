"""Live interventions: what swaps did inside the running model, kept in a store's catalogue beside the closed form."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import polars as pl

from qkstore.contrast import Contrast
from qkstore.errors import StoreError
from qkstore.interval import bootstrap, wilson
from qkstore.intervention import Condition
from qkstore.run import Run
from qkstore.run.content import short
from qkstore.store import Store
from qkstore.store.catalog.rows import built
from qkstore.store.source import code_key
from qkstore.text import split_name

KIND = "live"
SHARES = ("original_before", "target_before", "original_after", "target_after")
CODE = ("qkstore", "ingest")  # the packages that compute a result
ROWS = {"last": "the query's row", "all": "all rows that see both keys"}
OTHER_CODE = "Another version of the code computed this; the same command computes it anew."
Features = Mapping[str, tuple[Contrast, ...]]


@dataclass(frozen=True)
class Replies:
    """Of n prompts, what the next token's logits say.

    difference: (n,) logit(target's token) − logit(original's token). original, target: (n,) bool, whether that token
    has the largest logit of the vocabulary.
    """

    difference: np.ndarray
    original: np.ndarray
    target: np.ndarray


@dataclass(frozen=True)
class Answers:
    """Shares of n answers that are the original's and the target's token, before and after a swap.

    Beside them the mean logit differences (see Replies). ci: 95 % intervals, Wilson for shares, bootstrap over prompts
    for differences; `gain` is after − before. Random conditions average over bases; spread is the standard deviation
    over them.
    """

    n: int
    original_before: float
    target_before: float
    original_after: float
    target_after: float
    difference_before: float
    difference_after: float
    ci: dict[str, tuple[float, float]]
    spread: dict[str, float] | None = None


def answers(before: Replies, after: Sequence[Replies], seed: int = 0) -> Answers:
    """The answers of one condition: `after` holds one Replies, or one for each of a random condition's bases."""
    n = len(before.difference)
    shares = [
        before.original.mean(),
        before.target.mean(),
        *(np.mean([getattr(r, key).mean() for r in after]) for key in ("original", "target")),
    ]
    ci = {name: wilson(share * n, n) for name, share in zip(SHARES, shares)}
    moved = np.mean([r.difference for r in after], axis=0)
    columns = np.stack([before.difference, moved, moved - before.difference], axis=1)
    low, high = np.quantile(bootstrap(columns, seed), [0.025, 0.975], axis=0)
    ci |= {f"difference_{when}": (float(a), float(b)) for when, a, b in zip(("before", "after", "gain"), low, high)}
    spread = None
    if len(after) > 1:
        each = {
            "original_after": [r.original.mean() for r in after],
            "target_after": [r.target.mean() for r in after],
            "difference_after": [r.difference.mean() for r in after],
        }
        spread = {name: float(np.std(values, ddof=1)) for name, values in each.items()}
    return Answers(n, *map(float, shares), float(columns[:, 0].mean()), float(moved.mean()), ci, spread)


@dataclass(frozen=True)
class Outcome:
    """What one condition did.

    attention: {'1:0': Condition} of every edited head in the running model. closed: the same in closed form, from the
    store, of each head edited alone. downstream: the mean over the heads of later layers that are not edited
    themselves. later: each of these (layer, head and its means). answers: None where the answer's token is not known,
    see Live.unanswered.
    """

    name: str
    bases: int | None
    ranks: dict[str, int]
    attention: dict[str, Condition]
    closed: dict[str, Condition]
    downstream: Condition | None
    later: list[dict]
    answers: Answers | None


@dataclass(frozen=True)
class Live:
    """The swaps of chosen heads together in a running model, over the same n queries in every condition.

    gap: the largest |live − closed form| of the edited heads' attention, in the first edited layer, where both are the
    same by definition. noise: by how much two passes that are the same mathematically differ, at most, in attention and
    in the logit difference. code: the key of what computed it (qkstore.store.source); None where that was not recorded.
    """

    run: str
    identity: list[str]
    weights_hash: str
    features: dict[str, list[str]]
    heads: list[str]
    rows: str
    dtype: str
    device: str
    split: str | None
    most: int
    seed: int
    bases: int
    n: int = 0
    hidden: int = 0
    gap: float = 0.0
    noise: dict[str, float | None] | None = None
    unanswered: str | None = None
    conditions: tuple[Outcome, ...] = ()
    created: str | None = None
    code: str | None = None
    components: dict[str, dict[str, list[int]]] | None = None

    @classmethod
    def of(cls, payload: dict) -> Live:
        """From `to_dict`, or from the JSON of it."""
        return cls(**payload | {"conditions": tuple(_outcome(row) for row in payload["conditions"])})

    def to_dict(self) -> dict:
        return asdict(self)

    @property
    def key(self) -> str:
        """A hash of all that decides the numbers, and nothing that was measured."""
        parts = (
            self.identity,
            self.weights_hash,
            self.features,
            self.heads,
            self.rows,
            self.dtype,
            self.device,
            self.most,
            self.seed,
            self.bases,
            self.code,
            self.components,
        )
        return hashlib.sha256(repr((KIND, *parts)).encode()).hexdigest()

    @property
    def title(self) -> str:
        """How one result is told from another."""
        heads = ", ".join(self.heads[:8]) + (f" and {len(self.heads) - 8} more" if len(self.heads) > 8 else "")
        how = (
            f"{ROWS[self.rows]}; {self.dtype} on {self.device}; {self.n:,} queries; "
            f"seed {self.seed}; {self.bases} bases"
        )
        return f"{'heads' if len(self.heads) > 1 else 'head'} {heads}; {how}"


def keys(features: Features) -> dict[str, list[str]]:
    """{name: hashes of its contrasts}: what a result keeps of features."""
    return {name: [c.key for c in contrasts] for name, contrasts in features.items()}


def keep(store: Store, result: Live) -> None:
    """Keep a result in the catalogue. The first of a key stays; a store that may only be read keeps nothing."""
    with suppress(StoreError):  # what took a model minutes is not lost for that
        store.catalog.keep_result(
            result.key,
            KIND,
            result.run,
            "+".join(result.features) or "components",
            result.to_dict() | {"created": None},
            content=short(result.identity),
            code=result.code and result.code[:16],
        )


def kept(store: Store, asked: Live) -> Live | None:
    """Return the kept result with the same key as `asked`, or None. Only `asked.key` is used."""
    return built(Live.of, store.catalog.result(asked.key))


def results(store: Store, run: Run, features: Features | None = None, head: str | None = None) -> list[Live]:
    """The live results of a run as it is now, newest first.

    With `features`, those of exactly these, in any order, and of no components; with `head`, those that edited it. One
    that an older version kept, without all that a condition tells today, is left out.
    """
    every = [
        replace(Live.of(row["payload"]), created=str(row["created"]))
        for row in store.catalog.results(KIND, run.name)
        if _complete(row["payload"])
    ]
    asked = None if features is None else keys(features)
    mine = [r for r in every if tuple(r.identity) == run.identity and (head is None or head in r.heads)]
    return [r for r in mine if asked is None or (asked == r.features and not r.components)]


def table(result: Live, head: str) -> pl.DataFrame:
    """One row for each condition: attention on the target in one edited head and downstream, and the answers.

    The head's attention is given in closed form and live.
    """
    rows = []
    for c in result.conditions:
        live, closed, down, said = c.attention[head], c.closed[head], c.downstream, c.answers
        rows.append(
            {
                "name": c.name,
                "rank": c.ranks[head],
                "before": live.target_before,
                "closed": closed.target_after,
                "live": live.target_after,
                "downstream": down and down.target_after,
                "answers_original": said and said.original_after,
                "answers_target": said and said.target_after,
                "difference_before": said and said.difference_before,
                "difference_after": said and said.difference_after,
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def statement(result: Live, head: str) -> str:
    """What a chart of one head's result shows, and what it can be trusted for, in plain words."""
    noise, first = result.noise, head.split(":")[0] == result.heads[0].split(":")[0]
    told = [
        f"What the target has after each swap, with 95 % intervals; {split_name(result.split)} split; {result.title}.",
        f"Live and closed form differ by {result.gap:.0e} at most in the first edited layer"
        + (
            "."
            if first
            else "; this head comes after it, so its closed form, of this head edited alone, is another question."
        ),
        f"Two passes that ought to be equal differ by up to {noise['attention']:.0e} in attention"
        + ("." if noise["difference"] is None else f" and {noise['difference']:.0e} in the answers' logit difference."),
    ]
    told += [f"Answers are left out: {result.unanswered}."] if result.unanswered else []
    return " ".join(told + ([] if result.code == code_key(*CODE) else [OTHER_CODE]))


def possible(run: Run) -> bool:
    """Whether there is a language model behind a run: a toy head has none."""
    return run.model != "toy"


def command(store: Store, run: Run, names: Sequence[str], layer: int) -> str:
    """The command that makes a live result of one or two features, at every head of a layer."""
    words = ["python", "-m", "ingest", "intervene", "--store", str(store.where), "--run", run.name]
    words += ["--model", _where(run), "--contrast", names[0]]
    words += [w for name in names[1:] for w in ("--and", name)]
    return shlex.join([*words, "--layer", str(layer)])


def _where(run: Run) -> str:
    """What --model is to be: a hub id as it is; of a folder or file the name alone is known, and not its place."""
    return run.model if "/" in run.model or run.model == "demo" else f"path/to/{run.model}"


def _complete(payload: object) -> bool:
    names, made = {f.name for f in fields(Condition)}, built(Live.of, payload)
    return made is not None and all(names <= set(c) for row in payload["conditions"] for c in row["attention"].values())


def _outcome(row: dict) -> Outcome:
    more = {name: {head: _condition(c) for head, c in row[name].items()} for name in ("attention", "closed")}
    said = row["answers"] and Answers(**row["answers"] | {"ci": _tuples(row["answers"]["ci"])})
    return Outcome(**row | more | {"downstream": row["downstream"] and _condition(row["downstream"]), "answers": said})


def _condition(row: dict) -> Condition:
    beyond = row.get("beyond")
    return Condition(**row | {"ci": _tuples(row["ci"]), "beyond": _tuples(beyond) if beyond else None})


def _tuples(ci: dict) -> dict[str, tuple[float, float]]:
    return {name: tuple(values) for name, values in ci.items()}
