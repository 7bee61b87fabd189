"""A contrast: a rule in SQL over queries `q` and keys `k` that selects positive and negative pairs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from qkstore.contrast import space as spaces
from qkstore.contrast.sentence import count_text, sentence
from qkstore.covariance import ContrastiveCovariance, Pairs
from qkstore.errors import ContrastError, GuardError, near
from qkstore.null import SignNull
from qkstore.run import Run
from qkstore.run.sides import MADE
from qkstore.sql import guard

Weighting = Literal["pair", "query", "sum"]
Centring = Literal["none", "queries"]
WEIGHTINGS: dict[Weighting, str] = {
    "pair": "each pair counts the same: C± is the mean over the side's pairs (the paper's expectation)",
    "query": "each query counts the same: C± is the mean over queries of the mean over their keys",
    "sum": "each query's keys are summed, not averaged, as in the authors' category scripts",
}
CENTRINGS: dict[Centring, str] = {
    "none": "queries as they are (eq. 5, 6)",
    "queries": "the mean query is subtracted first, which removes what every query shares",
}
CONDITIONS = ("where", "positive", "negative", "pairs")
ALWAYS = ("role", "split", "variant")  # labels that every run has


@dataclass(frozen=True)
class Contrast:
    """Which pairs of a query and a key are positive and which are negative, in SQL.

    where, positive, negative: conditions over the columns of `q` and `k`. A pair satisfies `where` (by default, every
    pair does) and one of the other two. Query and key may come from different prompts.
    pairs: instead of the three, one SELECT of query_row, key_row, sign (+1 or −1) and, if wanted, weight.
    weighting, centring: see WEIGHTINGS and CENTRINGS. name, description, author, version do not change any number.
    space: a subspace of its own for one head of one run, as text (qkstore.contrast.space.Space.text), such as that of
    a group of components. There it stands for the singular vectors of ΔC; ΔC itself is that of the pairs.
    Raises ContrastError for an unknown weighting or centring, for a missing side, for conditions beside `pairs`, and
    for a space that is none.
    """

    name: str = "inline"
    where: str | None = None
    positive: str | None = None
    negative: str | None = None
    pairs: str | None = None
    weighting: Weighting = "pair"
    centring: Centring = "none"
    description: str = ""
    author: str = ""
    version: int | None = None
    space: str | None = None

    def __post_init__(self) -> None:
        if self.weighting not in WEIGHTINGS:
            raise ContrastError(f"weighting {self.weighting!r}: {near(self.weighting, WEIGHTINGS)}")
        if self.centring not in CENTRINGS:
            raise ContrastError(f"centring {self.centring!r}: {near(self.centring, CENTRINGS)}")
        if self.pairs and (self.where or self.positive or self.negative):
            raise ContrastError(f"contrast {self.name!r} has predicates and a whole SELECT; give one or the other")
        if not self.pairs:
            for side in ("positive", "negative"):
                if not (getattr(self, side) or "").strip():
                    raise ContrastError(f"contrast {self.name!r} has no {side} predicate, such as k.label = q.label")
        if self.space is not None:
            spaces.read(self.space)

    def replace(self, **changes: Any) -> Contrast:
        """Return the contrast with some fields changed."""
        return dataclasses.replace(self, **changes)

    def changed(self, **fields: Any) -> Contrast:
        """Return the contrast with other conditions or another SELECT; a space, which belongs to them, is left out."""
        same = all((getattr(self, name) or "") == (fields.get(name, getattr(self, name)) or "") for name in CONDITIONS)
        return self.replace(**fields, **({} if same else {"space": None}))

    @property
    def own(self) -> spaces.Space | None:
        """The subspace that it carries; None where ΔC gives it."""
        return None if self.space is None else spaces.read(self.space)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return dataclasses.asdict(self)

    @property
    def key(self) -> str:
        """A hash of the fields that decide numbers. Contrasts with equal keys give equal results."""
        parts = [self.where, self.positive, self.negative, self.pairs, self.weighting, self.centring]
        parts += [] if self.space is None else [self.space]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def fitter(self, d_head: int) -> ContrastiveCovariance:
        """Return an empty ContrastiveCovariance with this contrast's centring and weighting."""
        return ContrastiveCovariance(d_head, centred=self.centring == "queries", summed=self.weighting == "sum")

    def null(self, pairs: Pairs, n: int, seed: int = 0) -> SignNull:
        """Return the null of ΔC over n deals of signs to the queries of pairs, with this contrast's weighting.

        Queries are centred in it whatever the contrast's centring, so both centrings have one p-value.
        """
        return SignNull(pairs, n, seed, summed=self.weighting == "sum")

    def sentence(self, counts: tuple[int, int, int, int] | None = None) -> str:
        """Return the contrast as an English sentence, with (n_q, n_k, n_+, n_-) at its end where `counts` is given."""
        if self.pairs:
            text = "Pairs, signs and weights as selected by SQL of its own."
        else:
            where, positive, negative = self._conditions().values()
            text = sentence(where, positive, negative)
        text += f" With a subspace of its own: {self.own.told}." if self.own else ""
        return text if counts is None else f"{text} {count_text(counts)}"

    def sql(self, columns: dict[str, list[str]], split: str | None = None) -> str:
        """Return the guarded SELECT of query_row, key_row and sign over a run.

        columns: {table: its columns} of the run, as `Run.columns` gives them. split: keep the queries of this split
        only. A SELECT of one's own gives a weight, too, which is NULL throughout where it names none. Raises GuardError
        for SQL that is not allowed and for columns that are not there.
        """
        if self.pairs:
            inner = guard.select(self.pairs, columns, stable=True)
            kept = f" WHERE query_row IN (SELECT query_row FROM q WHERE {_split(split)})" if split else ""
            # The second SELECT has no row: it gives a column of NULLs to a contrast without weights.
            weighted = (
                f"SELECT * FROM ({inner}) AS inner_pair UNION ALL BY NAME SELECT NULL::DOUBLE AS weight WHERE false"
            )
            # Named anew: a column that was written QUERY_ROW or Sign would keep its capitals.
            named = (
                "pair.query_row AS query_row, pair.key_row AS key_row, pair.sign AS sign, pair.weight::DOUBLE AS weight"
            )
            return f"SELECT {named} FROM ({weighted}) AS pair{kept}"
        where, positive, negative = (_guarded(side, text, columns) for side, text in self._conditions().items())
        kept = f" AND {_split(split)}" if split else ""
        return " UNION ALL ".join(
            (f"SELECT q.query_row, k.key_row, {sign}::TINYINT AS sign FROM q, k WHERE ({where}) AND ({side}){kept}")
            for sign, side in ((1, positive), (-1, negative))
        )

    def _conditions(self) -> dict[str, str]:
        """{where, positive and negative: text} of a contrast without a SELECT of its own."""
        assert self.positive, "a contrast without `pairs` has both sides"
        assert self.negative, "a contrast without `pairs` has both sides"
        return {"where": self.where or "true", "positive": self.positive, "negative": self.negative}


def _guarded(side: str, text: str, columns: dict[str, list[str]]) -> str:
    """A condition as it may be run. Raises GuardError, which names the side that it is of."""
    try:
        return guard.predicate(text, columns)
    except GuardError as error:
        raise GuardError(f"{side}: {error}") from None


def _split(split: str) -> str:
    """The condition that a query is of a split."""
    return "q.split = '" + split.replace("'", "''") + "'"


def label_choices(run: Run) -> tuple[list[str], list[str]]:
    """Return the label columns that queries, and those that keys, can be coloured by; the likeliest come first."""
    prompt, token = list(run.prompt_labels), list(run.token_labels)
    made = [name for name in run.manifest.made if MADE[name] == "BOOLEAN"]  # of few values
    return [*prompt, *ALWAYS, *token, *made], [*token, *ALWAYS, *prompt, *made]


def labels(run: Run, contrast: Contrast) -> tuple[str, str]:
    """Return the query's label and the key's label that hold the contrast's feature.

    They are taken from a positive condition such as `k.order_id = q.queried_order`; else they are the first key label x
    with a query label queried_x; else the first choices of `label_choices`.
    """
    q_choices, k_choices = label_choices(run)
    used = guard.columns_used(contrast.positive) if contrast.positive else set()
    q = [c for side, c in used if side == "q" and c in (*run.prompt_labels, *run.token_labels)]
    k = [c for side, c in used if side == "k" and c in run.token_labels]
    if len(q) == len(k) == 1:
        return q[0], k[0]
    for label in run.token_labels:
        if f"queried_{label}" in run.prompt_labels:
            return f"queried_{label}", label
    return q_choices[0], k_choices[0]
