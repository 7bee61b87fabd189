"""Attribution in one head: one prompt's logits, shares of the gap over many prompts, each query's gap (eq. 13–15)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import permutations

import numpy as np
import polars as pl

from qkstore import attribution
from qkstore.analysis.head import Contrasts, Head
from qkstore.attribution import Distribution, distribution
from qkstore.contrast import Contrast, labels
from qkstore.covariance import Counts
from qkstore.errors import RunError
from qkstore.run import Run
from qkstore.score import capped
from qkstore.text import visible

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of the queries, that stand for a distribution


@dataclass(frozen=True)
class PromptAttribution:
    """The logits of one query over its prompt's stored keys, split by feature (eq. 13–15); parts sum to the logit."""

    prompt_id: int
    query: dict
    tokens: list[dict]
    order: list[str]
    ranks: dict[str, int]
    softcap: float | None

    def to_dict(self) -> dict:
        return asdict(self)


def attribute(
    run: Run,
    features: dict[str, Contrasts],
    layer: int,
    head: int,
    prompt_id: int,
    query_row: int | None = None,
    order: list[str] | None = None,
) -> PromptAttribution:
    """Split one prompt's logits into a part for each feature's query subspace, and the rest.

    `order`: the order in which features are projected out, by default from the smallest rank to the largest. With a
    soft-cap these are the logits before the cap, as only they are linear in q. Raises RunError for a prompt without a
    stored query or keys.
    """
    at = Head(run, layer, head)
    row, keys = _prompt_rows(run, prompt_id, query_row)
    keys = keys[at.attended(np.full(len(keys), row), keys)]
    if not len(keys):
        raise RunError(f"prompt {prompt_id} of run {run.name!r} has no stored key that its query sees in layer {layer}")
    spaces = {name: at.subspace(contrasts) for name, contrasts in features.items()}
    query = np.array([row])
    split = attribution.attribute(at.queries(query)[0], at.keys(keys), spaces, at.facts.scaling, order)
    weight = np.exp(capped(split.logit, at.facts.softcap) - at.logsumexp(query))
    text = {t["pos"]: t for t in run.tokens(prompt_id)}
    pos = int(run.query_places[1][row])
    ranks = {name: spaces[name].U.shape[1] for name in split.parts if name in spaces}  # of query space: q is split
    return PromptAttribution(
        prompt_id,
        {"pos": pos, "text": text[pos]["text"], "row": int(row)},
        _tokens(text, run.key_places[1][keys], split, weight, _Told(run, features, prompt_id)),
        list(ranks),
        ranks,
        at.facts.softcap,
    )


class _Told:
    """What the keys of one prompt are: their words, the label that the first feature asks about, and its sign."""

    def __init__(self, run: Run, features: dict[str, Contrasts], prompt_id: int):
        self.prompt = run.prompt(prompt_id)
        self.asked, self.label = labels(run, next(iter(features.values()))[0])
        self.ends: dict[int, tuple[int, int]] = {}
        for t in run.tokens(prompt_id):
            if t["span"] is not None:
                start, end = self.ends.get(t["span"], (t["char_start"], t["char_end"]))
                self.ends[t["span"]] = min(start, t["char_start"]), max(end, t["char_end"])

    def of(self, token: dict) -> dict:
        """word: the span's whole text, of which the token may be a piece. sign: + where its label is what is asked."""
        start, end = self.ends.get(token["span"], (token["char_start"], token["char_end"]))
        value, asked = token.get(self.label), self.prompt.get(self.asked)
        sign = "" if value is None or asked is None else "+" if value == asked else "−"
        return {"word": self.prompt["text"][start:end].strip(), "label": value, "sign": sign}


def _tokens(
    text: dict[int, dict], places: np.ndarray, split: attribution.Attribution, weight: np.ndarray, told: _Told
) -> list[dict]:
    """A dict for each key token: where and what it is, its logit, attention and parts."""
    return [
        {"pos": int(pos), "text": text[pos]["text"], "role": text[pos]["role"]}
        | told.of(text[pos])
        | {
            "logit": float(split.logit[i]),
            "attention": float(weight[i]),
            "parts": {name: float(part[i]) for name, part in split.parts.items()},
        }
        for i, pos in enumerate(places)
    ]


def _prompt_rows(run: Run, prompt_id: int, query_row: int | None) -> tuple[int, np.ndarray]:
    """The query row (the prompt's last by default) and the key rows of a prompt."""
    run.prompt(prompt_id)
    queries = np.flatnonzero(run.query_places[0] == prompt_id)
    if query_row is None and not len(queries):
        raise RunError(f"prompt {prompt_id} of run {run.name!r} has no stored query")
    if query_row is not None and query_row not in queries:
        raise RunError(
            f"query row {query_row} is not of prompt {prompt_id}; its rows are {', '.join(map(str, queries))}"
        )
    return (queries[-1] if query_row is None else query_row), np.flatnonzero(run.key_places[0] == prompt_id)


@dataclass(frozen=True)
class PromptShares:
    """How much of the logit gap between positive and negative keys each feature explains, over many prompts."""

    shares: attribution.Shares
    counts: Counts
    split: str | None


def shares(
    run: Run,
    features: dict[str, Contrasts],
    layer: int,
    head: int,
    over: Contrast,
    seed: int = 0,
    order: list[str] | None = None,
) -> PromptShares:
    """Share of the logit gap of `over`'s pairs that each feature explains, beside random subspaces of the same ranks.

    The pairs are of the judged split, the subspaces are built on the other one.
    """
    at = Head(run, layer, head)
    spaces = {name: at.subspace(contrasts) for name, contrasts in features.items()}
    # a gap is one of means
    means = over.replace(centring="none", weighting="query" if over.weighting == "query" else "pair")
    data = at.read(means, "judge")
    split = attribution.shares(data.covariance.delta, spaces, at.facts.scaling, seed=seed, order=order)
    return PromptShares(split, data.counts, data.split)


def table(tokens: Sequence[dict]) -> pl.DataFrame:
    """A row a key token: its attention, its logit and the parts that sum to it."""
    rows = [
        {name: t[name] for name in ("pos", "text", "role", "attention", "logit")}
        | {"text": visible(t["text"])}
        | t["parts"]
        for t in tokens
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def most_attended(tokens: Sequence[dict]) -> dict:
    return max(tokens, key=lambda t: t["attention"])


def orders(names: Sequence[str]) -> dict[str, list[str]]:
    """{title: names in an order of projection}; nothing to choose for one feature."""
    return {" → ".join(p): list(p) for p in permutations(names)} if len(names) > 1 else {}


def gaps(
    run: Run,
    features: dict[str, Contrasts],
    layer: int,
    head: int,
    over: Contrast,
    order: Sequence[str] | None = None,
    seed: int = 0,
) -> Distribution:
    """The gaps of `over`'s queries on the judged split, in subspaces built on the other.

    Raises ContrastError for an empty side.
    """
    at = Head(run, layer, head)
    spaces = {name: at.subspace(contrasts) for name, contrasts in features.items()}
    data = at.read(over.replace(weighting="query", centring="none"), "judge")
    return distribution(*data.units, spaces, at.facts.scaling, order, seed, data.split)


def distributed(of: Distribution) -> pl.DataFrame:
    """A row for the whole gap and each part: its mean, quantiles over queries, share of the gap with an interval."""
    rows = []
    for name, values in ({"whole gap": of.gap} | of.parts).items():
        low, high = of.ci.get(name) or (None, None)
        quantiles = zip(("low", "q1", "median", "q3", "high"), map(float, np.quantile(values, QUANTILES)))
        told = {"part": name, "mean": float(values.mean()), **dict(quantiles)}
        rows.append(told | {"share": of.share.get(name), "share_low": low, "share_high": high})
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(("share", "share_low", "share_high"), pl.Float64))
