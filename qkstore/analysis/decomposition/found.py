"""The components of one head of a run: found on the train split, judged on the test split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.analysis.decomposition.sight import LeftOut, Sight, count, default_where
from qkstore.analysis.head import Head, build_split, judge_split
from qkstore.components import AttentionContrast, Choices, Components, correlations
from qkstore.components import components as fitted
from qkstore.errors import ContrastError
from qkstore.run import Run

REPAIRS = 99


@dataclass(frozen=True)
class HeadComponents:
    """The components of a head, with the choices that they were found and judged on.

    found: of the built split. rho: (r,) correlations of the two sides' scores on the judged split, rho_ci: (r, 2) their
    95 % intervals. built, judged: the queries and their keys; train, test: what the head chose there. left_out: pairs
    that no choice was made of, on the built split. where: which queries, as an SQL condition.
    """

    head: Head
    found: Components
    rho: np.ndarray
    rho_ci: np.ndarray
    built: Sight
    judged: Sight
    train: Choices
    test: Choices
    left_out: LeftOut
    where: str | None
    seed: int

    def __len__(self) -> int:
        return len(self.found)

    def __repr__(self) -> str:
        at = f"{self.head.run.name!r}, layer={self.head.layer}, head={self.head.head}"
        return f"HeadComponents({at}, {len(self)} components, rho={np.round(self.rho, 3).tolist()} on the judged split)"


def components(
    run: Run,
    layer: int,
    head: int,
    where: str | None = None,
    n: int | None = None,
    repairs: int = REPAIRS,
    seed: int = 0,
) -> HeadComponents:
    """Find what one head tells keys apart by, without labels: its canonical components, rotated by ICA.

    where: an SQL condition on q for the queries; by default those of whole questions (sight.default_where). n: how many
    components to keep; by default as many as there are. repairs: times that queries are paired anew for the null.
    Raises RunError for a layer or head that is not there, ContrastError where the head has nothing to choose.
    """
    at, (built, judged) = Head(run, layer, head), sights(run, where)
    try:
        return of_head(at, built, judged, where, n, repairs, seed)
    except ContrastError as error:
        named = f"layer {layer} head {head}"
        raise ContrastError(str(error) if named in str(error) else f"{named}: {error}") from None


def sights(run: Run, where: str | None = None) -> tuple[Sight, Sight]:
    """The queries that components are found on, and those that they are judged on; one and the same without a split.

    Prompts whose text stands in both are for finding alone (Sight.apart). Where the default condition fits no query of
    the built split, as in toy runs, whose whole questions are all of the test split, prompts of even numbers are for
    finding and those of odd ones for judging.
    """
    split, there = (build_split(run), judge_split(run)), where or default_where(run)
    if where is None and split[0] != split[1] and not count(run, split[0], there):
        built, judged = (Sight.of(run, split[1], f"({there}) AND q.prompt_id % 2 = {half}") for half in (0, 1))
        return built, judged.apart(built)
    built = Sight.of(run, split[0], where)
    return built, built if split[0] == split[1] else Sight.of(run, split[1], where).apart(built)


def of_head(
    head: Head,
    built: Sight,
    judged: Sight,
    where: str | None = None,
    n: int | None = None,
    repairs: int = REPAIRS,
    seed: int = 0,
    k: np.ndarray | None = None,
) -> HeadComponents:
    """The same as `components` on queries that several heads have in common.

    k: the head's keys, all rows, where they were read for another head of its KV head.
    """
    run = head.run
    train = built.read(head, k)
    test = train if judged is built else judged.read(head, k)
    found = fitted(AttentionContrast(run.d_head, repairs, seed).update(train), train, n, seed)
    rho, interval = correlations(found, AttentionContrast(run.d_head, 0).update(test))
    left = built.left_out(head.facts)
    return HeadComponents(head, found, rho, interval, built, judged, train, test, left, where, seed)
