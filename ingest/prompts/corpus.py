"""A corpus: tokenised prompts, which of their tokens are stored as queries and keys, and the tables that say so."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from typing import Literal, NamedTuple, get_args

import numpy as np
import polars as pl

from ingest.prompts.clock import Clock
from ingest.prompts.prompts import Prompt, check, name_of
from ingest.prompts.spans import Tokens, tokenised
from qkstore.errors import PromptError, near

ANSWER_SLOT = "answer_slot"
EVERY = "all"  # in place of a role, or beside roles: a query at every token
Positions = Literal["labelled", "all"]
POSITIONS: tuple[Positions, ...] = get_args(Positions)
Side = Literal["query", "key"]
POLARS = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}


class Sample(NamedTuple):
    """How many queries of a prompt are drawn, and the seed."""

    n: int
    seed: int

    def of(self, prompt: int, row: list[int], kept: set[int]) -> list[int]:
        """The positions of a prompt's row that are kept, and n at most of the others, ascending."""
        others = [i for i in row if i not in kept]
        rng = np.random.default_rng([self.seed % 2**64, prompt])  # a prompt's own, whatever the other prompts are
        return sorted([*kept, *rng.choice(others, min(self.n, len(others)), replace=False).tolist()])


class Corpus:
    """Prompts as a model's tokenizer sees them.

    `queries[p]` and `keys[p]` are the stored positions of prompt p, ascending. Stored rows are numbered through the
    prompts in their order, so a row's number does not depend on how prompts are batched. causal: of the model, see
    spans.tokenised.
    positions: 'labelled' stores a key at every token with a role and a query at every token whose role is among
    `query_roles`; 'all' stores both at every token. Where 'answer_slot' is asked for and a prompt labels none, its
    last token is the slot. query_roles: EVERY among them is a query at every token, whatever the keys are.
    sample: of each prompt's queries that have none of the roles named, so many at most; None for all of them.
    """

    def __init__(
        self,
        tokenizer,
        prompts: Sequence[Prompt],
        positions: Positions = "labelled",
        query_roles: Sequence[str] = (ANSWER_SLOT,),
        chat: bool = False,
        progress: Callable[..., None] | None = None,
        clock: Clock | None = None,
        causal: bool = False,
        sample: Sample | None = None,
    ):
        if positions not in POSITIONS:
            raise PromptError(f"no positions {positions!r}; {near(positions, POSITIONS)}")
        self.types, self.prompts = check(prompts), prompts
        self.clock = clock or Clock()
        self.tokens: list[Tokens] = []
        with self.clock.shown():
            names = [name_of(prompt, i) for i, prompt in enumerate(prompts)]
            for tokens in tokenised(tokenizer, prompts, names, chat, causal):
                self.tokens.append(tokens)
                if progress:
                    progress("tokenise", len(self.tokens), len(prompts))
        named = tuple(role for role in query_roles if role != EVERY)
        self.roles = [
            _roles(t, p, name_of(p, i), positions, named)
            for i, (t, p) in enumerate(zip(self.tokens, prompts, strict=True))
        ]
        if named or EVERY not in query_roles:
            _check_roles(self.roles, named)
        every_key, every_query = positions == "all", positions == "all" or EVERY in query_roles
        self.queries = [[i for i, r in enumerate(roles) if every_query or r in named] for roles in self.roles]
        self.keys = [[i for i, r in enumerate(roles) if every_key or r is not None] for roles in self.roles]
        if not any(self.keys):
            raise PromptError("no token has a role, so no key would be stored; give spans a role, or --positions all")
        if sample:
            kept = [{i for i, r in enumerate(roles) if r in named} for roles in self.roles]
            self.queries = [sample.of(p, row, kept[p]) for p, row in enumerate(self.queries)]
        self.query_start, self.key_start = _starts(self.queries), _starts(self.keys)

    def __len__(self) -> int:
        return len(self.prompts)

    def split_words(self) -> tuple[int, int]:
        """How many different labelled words are more than one token, whose last piece stands for them; of how many."""
        whole: dict[str, bool] = {}
        for prompt, tokens in zip(self.prompts, self.tokens, strict=True):
            pieces = Counter(span for span in tokens.span if span is not None)
            for number, span in enumerate(prompt.spans):
                word = prompt.text[span.start : span.end] if prompt.messages is None else str(span.labels)
                whole[word] = whole.get(word, True) and pieces[number] == 1
        return sum(not one for one in whole.values()), len(whole)

    @property
    def left_out(self) -> str:
        """What the tokenizer appends to texts and a decoder is not given, '' for nothing."""
        return ", ".join(sorted({t.left_out for t in self.tokens} - {""}))

    @property
    def bos(self) -> str:
        """Who gave the first special token: 'template', 'tokenizer' or 'none'."""
        return ", ".join(sorted({t.bos for t in self.tokens}))

    def digest(self) -> str:
        """sha256 of everything in the prompts, their tokens and the stored positions."""
        digest = hashlib.sha256()
        for prompt, tokens, queries, keys in zip(self.prompts, self.tokens, self.queries, self.keys, strict=True):
            digest.update(repr((prompt, tokens.ids, queries, keys)).encode())
        return digest.hexdigest()

    # -- the tables of a run -------------------------------------------------------------------------------------

    def prompt_frame(self) -> pl.DataFrame:
        columns = {
            "prompt_id": pl.Series(range(len(self)), dtype=pl.Int32),
            "id": pl.Series([p.id or None for p in self.prompts], dtype=pl.String),
            "text": pl.Series([t.text for t in self.tokens], dtype=pl.String),
            "split": pl.Series([p.split for p in self.prompts], dtype=pl.String),
            "variant": pl.Series([p.variant for p in self.prompts], dtype=pl.String),
            "counterfactual_id": pl.Series(self._partners(), dtype=pl.Int32),
            "answer": pl.Series([p.answer for p in self.prompts], dtype=pl.String),
        }
        return pl.DataFrame(columns | _labels(self.types.prompt, [p.labels for p in self.prompts]))

    def _partners(self) -> list[int | None]:
        """Each prompt's partner: the first counterfactual made of it, or the prompt that it is a counterfactual of."""
        number = {p.id: i for i, p in enumerate(self.prompts) if p.id}
        partner: list[int | None] = [number.get(p.counterfactual_of) for p in self.prompts]
        for i, original in list(enumerate(partner)):
            if original is not None and partner[original] is None:
                partner[original] = i
        return partner

    def token_frame(self) -> pl.DataFrame:
        lengths = [len(tokens) for tokens in self.tokens]
        role, span, last = (
            list(chain.from_iterable(rows))
            for rows in (self.roles, (t.span for t in self.tokens), (t.span_last for t in self.tokens))
        )
        flat = chain.from_iterable(chain.from_iterable(t.offsets for t in self.tokens))
        starts, ends = np.fromiter(flat, np.int32).reshape(-1, 2).T
        columns = {
            "prompt_id": pl.Series(np.repeat(np.arange(len(self)), lengths), dtype=pl.Int32),
            "pos": pl.Series(list(chain.from_iterable(map(range, lengths))), dtype=pl.Int32),
            "token_id": pl.Series(list(chain.from_iterable(t.ids for t in self.tokens)), dtype=pl.Int32),
            "text": pl.Series(list(chain.from_iterable(t.words for t in self.tokens)), dtype=pl.String),
            "char_start": pl.Series(starts, dtype=pl.Int32),
            "char_end": pl.Series(ends, dtype=pl.Int32),
            "role": pl.Series(role, dtype=pl.String),
            "span": pl.Series(span, dtype=pl.Int32),
            "span_last": pl.Series(
                [of or (s is None and r is not None) for of, s, r in zip(last, span, role, strict=True)],
                dtype=pl.Boolean,
            ),
        }
        labels = [
            {} if s is None else prompt.spans[s].labels
            for prompt, tokens in zip(self.prompts, self.tokens, strict=True)
            for s in tokens.span
        ]
        return pl.DataFrame(columns | _labels(self.types.token, labels))

    def row_frame(self, side: Side) -> pl.DataFrame:
        """The `query` or `key` rows: row number, prompt_id, pos."""
        positions = self.queries if side == "query" else self.keys
        each = [(p, i) for p, row in enumerate(positions) for i in row]
        return pl.DataFrame(
            {
                f"{side}_row": pl.Series(range(len(each)), dtype=pl.Int32),
                "prompt_id": pl.Series([p for p, _ in each], dtype=pl.Int32),
                "pos": pl.Series([i for _, i in each], dtype=pl.Int32),
            }
        )

    def rows(self, side: Side, prompts: Sequence[int]) -> list[int]:
        """Row numbers of the stored positions of some prompts, in the order of these prompts."""
        start, positions = (self.query_start, self.queries) if side == "query" else (self.key_start, self.keys)
        return [start[p] + i for p in prompts for i in range(len(positions[p]))]


def _roles(
    tokens: Tokens, prompt: Prompt, where: str, positions: Positions, query_roles: Sequence[str]
) -> list[str | None]:
    """Each token's role: its span's, or the answer slot at the end of a prompt that labels none."""
    roles = [None if s is None else prompt.spans[s].role for s in tokens.span]
    if ANSWER_SLOT in query_roles and ANSWER_SLOT not in roles:
        if roles[tokens.last] is None:
            roles[tokens.last] = ANSWER_SLOT
        elif positions == "labelled":
            raise PromptError(
                f"{where}: its last token has the role {roles[tokens.last]!r} and none is the {ANSWER_SLOT!r}; "
                "give a span that role, or name the queries' roles with --queries"
            )
    return roles


def _check_roles(roles: list[list[str | None]], query_roles: Sequence[str]) -> None:
    there = {r for row in roles for r in row if r is not None}
    for role in query_roles:
        if role not in there and role != ANSWER_SLOT:
            raise PromptError(f"no token has the role {role!r}; {near(role, there)}")
    if not query_roles:
        raise PromptError(f"no role is named for the queries; {near('', there)}")


def _starts(positions: list[list[int]]) -> list[int]:
    return list(accumulate((len(row) for row in positions), initial=0))[:-1]


def _labels(types: dict[str, type], rows: list[dict]) -> dict[str, pl.Series]:
    return {
        name: pl.Series([row.get(name) for row in rows], dtype=POLARS[kind], strict=False)
        for name, kind in types.items()
    }
