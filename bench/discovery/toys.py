"""The study of the toy heads: how many components, whether they are the latents' coordinates, and superposition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.discovery.heads import TEST, TRAIN, Contexts, ToyHead
from bench.discovery.scores import coordinates, moved, swapper
from qkstore.components import AttentionContrast, Choices, Gauge, components
from qkstore.interval import wilson

DRAWS = 10  # random subspaces that a swap stands beside
REPAIRS = 99
Fault = Literal["none", "shuffled"]


@dataclass(frozen=True)
class Row:
    """One head, decomposed by TRAIN contexts and judged on TEST others.

    number, low, high: components with their interval; room: min(r1 + r2, d_head). weakest, next: held-out correlations
    of the last component within `room` and of the one after it; chance: what pairings anew give. before, after: mean
    attention on the target of a swap of all components; random: of random subspaces of as many dimensions. clean, own,
    dropped: coordinates (bench.discovery.scores), told: sum of the shares of their variance that the components tell,
    least: the smallest matched |correlation|; None for Gaussian latents, which have no coordinates of their own.
    kurtosis: mean excess kurtosis of the scores, −2 for a sign.
    """

    variant: str
    d_head: int
    r1: int
    r2: int
    room: int
    number: int
    low: int
    high: int
    weakest: float
    next: float
    chance: float
    before: float
    after: float
    random: float
    kurtosis: float
    clean: int | None = None
    own: int | None = None
    dropped: int | None = None
    told: float | None = None
    least: float | None = None

    @property
    def beyond(self) -> int:
        """r1 + r2 − d_head."""
        return self.r1 + self.r2 - self.d_head

    @property
    def name(self) -> str:
        return f"{self.variant} d{self.d_head} ({self.r1}, {self.r2})"


def shuffled(found: Choices, seed: int = 0) -> Choices:
    """The planted fault: every choice is given to another query."""
    order = np.random.default_rng(seed).permutation(len(found))
    return Choices(found.q, found.d[order], found.group, found.attention, found.within, found.few, found.elsewhere)


def study(
    heads: Iterable[ToyHead], n: int = TRAIN, n_test: int = TEST, fault: Fault = "none",
    tell: Callable[[str], None] = lambda line: None,
) -> list[Row]:  # fmt: skip
    """A row of each head; a fault is for tests, whose rows must be worse."""
    rows = []
    for head in heads:
        train, test = head.contexts(n, 0), head.contexts(n_test, 1)
        found = shuffled(train.found) if fault == "shuffled" else train.found
        rows.append(judged(head, found, test))
        tell(rows[-1].name)
    return rows


def judged(head: ToyHead, train: Choices, test: Contexts) -> Row:
    contrast = AttentionContrast(head.task.d_head, REPAIRS).update(train)
    found = components(contrast, train)
    number, held = found.number, np.append(found.number.held, 0.0)
    scores = found.query_scores(test.q)
    swaps = swapper(test.q, test.k, test.logsumexp, head.scaling)
    (_, after), *others = moved(swaps, [found.key_projector(), *anywhere(Gauge.of(contrast.within), len(found))])
    told: dict = {}
    if head.task.variant == "discrete":
        at = coordinates(scores, test.z)
        told = {
            "clean": at.clean,
            "own": at.own,
            "dropped": at.dropped,
            "told": float(at.told.sum()),
            "least": float(at.matched.min()),
        }
    return Row(
        head.task.variant, head.task.d_head, head.task.r1, head.task.r2, head.room, number.value, *number.interval,
        weakest=float(held[head.room - 1]), next=float(held[head.room]), chance=number.chance,
        before=float(swaps.p_before[1].mean()), after=after, random=float(np.mean([t for _, t in others])),
        kurtosis=kurtosis(scores), **told,
    )  # fmt: skip


def anywhere(gauge: Gauge, rank: int, draws: int = DRAWS, seed: int = 0) -> list[np.ndarray]:
    """Projectors on random subspaces of `rank` dimensions, drawn in coordinates where keys have covariance 1."""
    rng, d = np.random.default_rng(seed), gauge.query.shape[1]
    bases = [np.linalg.qr(rng.standard_normal((d, rank)))[0] for _ in range(draws)]
    return [gauge.query @ V @ V.T @ gauge.key.T for V in bases]


def kurtosis(scores: np.ndarray) -> float:
    """Mean excess kurtosis of the columns of scores: (n, c); NaN without columns."""
    z = scores - scores.mean(axis=0)
    return float(np.mean((z**4).mean(axis=0) / (z**2).mean(axis=0) ** 2 - 3)) if scores.shape[1] else float("nan")


def controls(
    heads: Sequence[ToyHead], n: int = TRAIN, n_test: int = TEST, tell: Callable[[str], None] = lambda line: None
) -> list[list[str]]:
    """What must fail: the heads of d_head 8 with shuffled choices, and before training. A row a control, a header."""
    some = [h for h in heads if h.task.d_head == 8]
    rows = {
        "choices of other queries": study(some, n, n_test, "shuffled"),
        "before training": study([h.untrained() for h in some], n, n_test),
    }
    out = [
        [
            "control, d_head 8",
            "n",
            "components",
            "number right",
            "coordinates at 0.98",
            "swap beyond random",
        ]
    ]
    for title, part in rows.items():
        tell(title)
        found, signs = [r.number for r in part], [r for r in part if r.clean is not None]
        beyond = np.mean([r.after - r.random for r in part])
        clean = f"{sum(r.clean or 0 for r in signs)} of {sum(r.r1 + r.r2 for r in signs)}"
        right = f"{sum(r.number == r.room for r in part)} of {len(part)}"
        out.append([title, str(len(part)), f"{min(found)} to {max(found)}", right, clean, f"{beyond:+.3f}"])
    return out


# -- what comes of it --------------------------------------------------------------------------------------------


def groups(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """By variant and d_head, in their order, then all."""
    names = list(dict.fromkeys((r.variant, r.d_head) for r in rows))
    parts = [(f"{v}, d_head {d}", [r for r in rows if (r.variant, r.d_head) == (v, d)]) for v, d in names]
    return [*parts, ("all", list(rows))]


def numbers(rows: Sequence[Row]) -> list[list[str]]:
    """Number of components against min(r1 + r2, d_head): a row a group of heads, with a header."""
    out = [["heads", "n", "number right", "95 %", "weakest of the kept, strongest of the rest", "largest chance"]]
    for title, part in groups(rows):
        right = sum(r.number == r.room for r in part)
        low, high = wilson(right, len(part))
        gap = f"{min(r.weakest for r in part):.2f}, {max(r.next for r in part):.2f}"
        chance = f"{max(r.chance for r in part):.2f}"
        out.append([title, str(len(part)), f"{right} of {len(part)}", f"{low:.3f}–{high:.3f}", gap, chance])
    return out


def misses(rows: Sequence[Row]) -> list[str]:
    """One line for each head whose number is not min(r1 + r2, d_head)."""
    return [
        f"{r.name}: {r.number} [{r.low}, {r.high}], not {r.room}; held out {r.weakest:.2f}, then {r.next:.2f}"
        for r in rows
        if r.number != r.room
    ]


def recovered(rows: Sequence[Row]) -> list[list[str]]:
    """Coordinates of the discrete heads that have room for all: a row a d_head, with a header."""
    out = [["discrete heads", "n", "coordinates", "with a component at 0.98", "least"]]
    for d in sorted({r.d_head for r in rows}):
        part = [r for r in rows if r.d_head == d and r.clean is not None and r.beyond <= 0]
        if part:
            total = sum(r.r1 + r.r2 for r in part)
            clean = f"{sum(r.clean or 0 for r in part)} of {total}"
            least = min(r.least for r in part if r.least is not None)
            out.append([f"d_head {d}, r1 + r2 ≤ {d}", str(len(part)), str(total), clean, f"{least:.3f}"])
    return out


def meter(rows: Sequence[Row]) -> list[dict]:
    """The superposition meter: means over the discrete heads of one d_head and r1 + r2 − d_head."""
    out = []
    for d, beyond in sorted({(r.d_head, r.beyond) for r in rows if r.own is not None}):
        part = [r for r in rows if (r.d_head, r.beyond) == (d, beyond) and r.own is not None]
        own, total = sum(r.own or 0 for r in part), d + beyond
        out.append(
            {
                "d_head": d,
                "beyond": beyond,
                "heads": len(part),
                "blurred": float(np.mean([total - (r.clean or 0) for r in part])),
                "lost": total - own / len(part),
                "dropped": float(np.mean([r.dropped for r in part])),
                "untold": float(np.mean([total - (r.told or 0) for r in part])),
                "kurtosis": float(np.mean([r.kurtosis for r in part])),
            }
        )
    return out


def failures(rows: Sequence[Row]) -> list[str]:
    """What issue and docs promise of the toys and does not hold."""
    right = sum(r.number == r.room for r in rows)
    failed = [f"toys: {right} of {len(rows)} numbers are right, below 95 %"] * (right < 0.95 * len(rows))
    failed += [
        f"{r.name}: the least coordinate is told at {r.least:.3f}, below 0.98"
        for r in rows
        if r.least is not None and r.beyond <= 0 and (r.clean or 0) < r.r1 + r.r2
    ]
    return failed + [f"{r.name}: a swap is no better than random" for r in rows if r.beyond < 0 and r.after <= r.random]
