"""What a sweep reads: the pairs of each match on the built split and on the judged one, and which matches are one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from qkstore.analysis.choice import LEAST_QUERIES
from qkstore.analysis.discovery.label import OF_TEXT, Tried
from qkstore.analysis.discovery.match import Match
from qkstore.analysis.head import Rows, build_split, judge_split
from qkstore.analysis.heads.group import Reader
from qkstore.contrast import Contrast, pairs
from qkstore.covariance import Pairs
from qkstore.errors import ContrastError
from qkstore.run import Run
from qkstore.text import split_name

FEW = 20  # values: Student's t of fewer has tails that few effects reach among many tests
MOST_QUERIES = 2000  # of a match on a split


@dataclass(frozen=True)
class Sides:
    """One match with its pairs on the split that ΔC is built on, and on the one that judges.

    also: what other labels come to the same pairs, while matches are put together.
    """

    match: Match
    train: Reader
    test: Reader
    also: list[str] = field(default_factory=list)

    @cached_property
    def prompts(self) -> np.ndarray | None:
        """(n,) prompts of the built queries, which have one sign each in a deal; None where each has one query."""
        return _repeated(self.train.rows)

    @cached_property
    def groups(self) -> list[np.ndarray]:
        """(n,) groups of judged queries that count as one: those that look for one value, and those of one prompt."""
        rows = self.test.rows
        asked = [] if self.closed else [np.unique(rows.told("q", self.match.query), return_inverse=True)[1]]
        prompts = _repeated(rows)
        return asked if prompts is None else [*asked, prompts]

    @cached_property
    def closed(self) -> bool:
        """Whether what queries look for is one of a few values that ΔC was built on, as places and categories are.

        Such values are all that there are: queries are a sample, they are not. Words of a test split are a sample, too,
        and each counts once.
        """
        judged, built = (np.unique(reader.rows.told("q", self.match.query)) for reader in (self.test, self.train))
        return len(judged) < FEW and bool(np.isin(judged, built).all())


def _repeated(rows: Rows) -> np.ndarray | None:
    prompts = rows.run.query_places[0][rows.query]
    return None if len(np.unique(prompts)) == len(prompts) else prompts


def prepared(run: Run, asked: Tried, seed: int = 0) -> tuple[list[Sides], Tried]:
    """The matches that have pairs enough, and what is tried then, with the reason of each that is left out.

    Of matches with the same pairs, those of labels are built on the next prompt's keys, which tells them apart, and
    with them the other relations of these labels; those of a text's own columns, and those of a run without a test
    split, are one.
    """
    built, judged, refused = build_split(run), judge_split(run), list(asked.refused)
    alike: dict[str, list[tuple[Match, Pairs]]] = {}
    for match in asked.matches:
        if (found := _read(run, match, match.contrast(), built, refused)) is not None:
            alike.setdefault(_key(found), []).append((match, found))
    together = {_columns(m) for one in alike.values() if len(one) > 1 for m, _ in one if m.query not in OF_TEXT}
    out: list[Sides] = []
    for one in alike.values():
        if judged != built and _columns(one[0][0]) in together:
            same: dict[str, Sides] = {}
            for match, _ in one:
                for sides in _apart(run, replace(match, apart=True), built, judged, refused, seed):
                    first = same.setdefault(_key(sides.train.rows.stored), sides)
                    if first is not sides:  # a label that says the same of each row: no prompts tell them apart
                        first.also.append(match.words)
            out += [replace(sides, match=replace(sides.match, also=tuple(sides.also))) for sides in same.values()]
            continue
        match, found = replace(one[0][0], also=tuple(m.words for m, _ in one[1:])), one[0][1]
        judging = found if judged == built else _read(run, match, match.judged(judged), judged, refused)
        if judging is not None:
            out.append(_sides(run, match, (found, built), (judging, judged), match.contrast(), seed))
    kept = tuple(sides.match for sides in out)
    return out, Tried(kept, tuple(refused))


def _columns(match: Match) -> tuple[str, str, str]:
    return match.query, match.key, match.role


def _apart(
    run: Run, match: Match, built: str | None, judged: str | None, refused: list[tuple[str, str]], seed: int
) -> Iterable[Sides]:
    contrast = match.contrast(judged)
    found = _read(run, match, contrast, built, refused)
    judging = None if found is None else _read(run, match, match.judged(judged), judged, refused)
    if found is not None and judging is not None:
        yield _sides(run, match, (found, built), (judging, judged), contrast, seed)


def _sides(
    run: Run,
    match: Match,
    train: tuple[Pairs, str | None],
    test: tuple[Pairs, str | None],
    contrast: Contrast,
    seed: int,
) -> Sides:
    first, second = (Reader(Rows.these(run, contrast, split, _sampled(found, seed))) for found, split in (train, test))
    return Sides(match, first, second)


def _read(
    run: Run, match: Match, contrast: Contrast, split: str | None, refused: list[tuple[str, str]]
) -> Pairs | None:
    """The pairs of queries that have keys of both signs; None, with the reason, where there are too few."""
    try:
        found = pairs(run, contrast, split)
    except ContrastError as error:
        refused.append((match.told, _short(str(error))))
        return None
    signs = [np.isin(found.query, found.query[side]) for side in (found.positive, found.negative)]
    both = found.where(signs[0] & signs[1])
    n = len(np.unique(both.query))
    if n < LEAST_QUERIES:
        refused.append(
            (match.told, f"{n} {split_name(split)} queries have keys of both signs: {LEAST_QUERIES} are needed")
        )
        return None
    return both


def _short(error: str) -> str:
    """An error about a contrast without its name, which nobody has given."""
    return error.split("' ", 1)[-1].split(" (")[0]


def _sampled(found: Pairs, seed: int) -> Pairs:
    """Those of MOST_QUERIES queries, drawn at random."""
    queries = np.unique(found.query)
    if len(queries) <= MOST_QUERIES:
        return found
    drawn = np.random.default_rng(seed).permutation(queries)[:MOST_QUERIES]
    return found.where(np.isin(found.query, drawn))


def _key(found: Pairs) -> str:
    """Of the positive pairs, and the negative ones."""
    whole = np.stack([found.query, found.key, found.sign]).astype(np.int64)
    return hashlib.sha256(whole.tobytes()).hexdigest()
