"""The report on toy runs: what the paper says of its toy task beside what the heads of a store show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qkstore.analysis import Intervention
from qkstore.analysis.claim import Claim
from qkstore.errors import RunError
from qkstore.interaction import Interaction
from qkstore.intervention import Condition
from qkstore.store import Store
from qkstore.text import number, signed, spread
from qkstore.toy import components
from qkstore.toy.points import Centroids, centroids
from qkstore.toy.toy import (
    FACTORS,
    HOW,
    PAPERS,
    Recovered,
    Tally,
    Toy,
    closed_form,
    interaction,
    numerical_rank,
    recovered,
    sampled,
    swaps,
    tallies,
    toys,
)

FEW_SIGNS = 6  # 64 codes: each has 250 of the keys in a thousand contexts
N_EXACT = 64  # triplets that share payload and noise
PREFIXES = (16, 4, 1)  # ΔC from a 16th, a quarter and all of the triplets


@dataclass(frozen=True)
class Head:
    """All that the report asks of one toy run.

    sizes: triplets of z1, z2 each. errors: (latents, sizes) ‖ΔC − closed form‖ / ‖closed form‖.
    """

    toy: Toy
    recovered: Recovered
    sizes: list[int]
    errors: np.ndarray
    exact: list[int]
    centroids: list[Centroids]
    interaction: Interaction
    swaps: Intervention
    components: components.Components | None


def examine(toy: Toy) -> Head:
    """Measure one toy run; about a second."""
    run = toy.run
    sizes = [max(1, toy.run.settings["n"] // part) for part in PREFIXES]
    errors = []
    for factor in FACTORS:
        truth = closed_form(run, factor)
        errors.append([np.linalg.norm(delta - truth) / np.linalg.norm(truth) for delta in sampled(run, factor, sizes)])
    exact = [numerical_rank(sampled(run, factor, [N_EXACT], "exact")[0]) for factor in FACTORS]
    return Head(
        toy,
        recovered(run),
        sizes,
        np.array(errors),
        exact,
        [centroids(run, factor) for factor in FACTORS] if toy.discrete else [],
        interaction(run),
        swaps(run, most=run.settings["n_test"]),
        components.found(toy),
    )


def report(store: Store, progress: Callable[[int, int], None] | None = None) -> list[Claim]:
    """Every claim for every family of heads (same latents, d_head, recipe, noise).

    Raises RunError for a store without toy runs.
    """
    every = toys(store)
    if not every:
        raise RunError(f"store {str(store.where)!r} has no toy run; make some with `{HOW}`")
    heads = []
    for i, toy in enumerate(every):
        if progress:
            progress(i, len(every))
        heads.append(examine(toy))
    if progress:
        progress(len(every), len(every))
    families = list(_families(heads))
    claims = (accuracy, moments, exact_ranks, ranks, cube, swapped, mixing, components.of_family)
    return [row for claim in claims for name, members in families for row in claim(name, members)]


def _families(heads: Sequence[Head]) -> Iterator[tuple[str, list[Head]]]:
    """Heads of the same latents, d_head, recipe and noise, with a name such as: discrete, d_head 8.

    The noise is named where there are several.
    """
    noises = {h.toy.noise for h in heads}
    for key in sorted({_family(h.toy) for h in heads}):
        members = [h for h in heads if _family(h.toy) == key]
        d_head, _, recipe, noise = key
        named = [f", {recipe} recipe"] * (recipe != "fast") + [f", noise {noise:g}"] * (len(noises) > 1)
        yield "".join([f"{members[0].toy.variant}, d_head {d_head}", *named]), members


def _family(toy: Toy) -> tuple:
    return toy.d_head, not toy.discrete, toy.recipe, toy.noise


def accuracy(name: str, heads: list[Head]) -> list[Claim]:
    """T1–T3: accuracy, for signs against the bound."""
    said = "99 %" if heads[0].toy.discrete or heads[0].toy.d_head > 8 else "about 85 %"
    measured = spread([h.toy.accuracy for h in heads])
    if heads[0].toy.discrete:
        far = max(heads, key=lambda h: abs(h.toy.accuracy - h.toy.bound))
        gap = signed(far.toy.accuracy - far.toy.bound)
        measured += f"; bound {spread([h.toy.bound for h in heads])}; farthest from it {gap}, at {_cell(far)}"
    measured += f"; {spread([h.toy.steps for h in heads], 0)} steps"
    return [Claim("T1–T3 accuracy", name, said, measured, _count(heads))]


def ranks(name: str, heads: list[Head]) -> list[Claim]:
    """T5: recovered ranks where the head has room for both latents, just room, and none."""
    tally = tallies([h.toy for h in heads], [h.recovered for h in heads])
    rows = []
    for title, paper, part in (
        ("T5 ranks, r1 + r2 < d_head", "exact", tally.below),
        ("T5 ranks, r1 + r2 = d_head", "exact (Fig. 11)", tally.full),
    ):
        if part.latents:
            rows.append(Claim(title, name, paper, _exact(part), f"{part.latents} latents"))
    if tally.beyond.latents:
        sums = tally.beyond.sums
        measured = f"r̂1 + r̂2 is {min(sums)}–{max(sums)}, on average {number(tally.beyond.mean_sum, 1)}; "
        measured += f"{tally.beyond.exact} of {tally.beyond.latents} latents exact"
        rows.append(
            Claim(
                "T5 ranks, r1 + r2 > d_head",
                name,
                "fewer than the true ones",
                measured,
                f"{tally.beyond.latents} latents",
            )
        )
    return rows


def swapped(name: str, heads: list[Head]) -> list[Claim]:
    """T7: one head in full, then how far swapping z1 + z2 is from moving everything, in any head with room.

    The one head is that of the paper's ranks, or that of the most room.
    """
    shown = max(heads, key=lambda h: (h.toy.ranks == PAPERS and h.toy.room > 0, h.toy.room))
    conditions = {c.name: c for c in shown.swaps.conditions}
    before = conditions["z1"]
    text = [
        f"{title} {_moved(conditions[c])}"
        for title, c in (
            ("z1", "z1"),
            ("random", "random of z1's rank"),
            ("z2", "z2"),
            ("random", "random of z2's rank"),
            ("z1+z2", "z1+z2"),
            ("random", "random"),
        )
    ]
    start = f"{number(before.original_before)}/{number(before.target_before)}"
    measured = f"original/target {start} → {'; '.join(text)}"
    n = f"{shown.swaps.n:,} contexts, {conditions['random'].bases} random bases"
    rows = [Claim(f"T7 swaps, {_cell(shown)}", name, "z1+z2 moves all attention, random much less", measured, n)]
    roomy = [h for h in heads if h.toy.room >= 0]
    if len(roomy) > 1:
        far = max(roomy, key=_left)
        measured = f"target after less original before: {number(_left(far))} at most, at {_cell(far)}"
        rows.append(
            Claim(
                "T7 swaps z1+z2, r1 + r2 ≤ d_head",
                name,
                "all attention moves",
                measured,
                f"{_count(roomy)}, {far.swaps.n:,} contexts each",
            )
        )
    return rows


def cube(name: str, heads: list[Head]) -> list[Claim]:
    """T6: queries find the mean key of their own signs.

    Only for latents of so few signs that each code has many keys to average.
    """
    few = [c for h in heads if h.toy.room >= 0 for r, c in zip(h.toy.ranks, h.centroids) if r <= FEW_SIGNS]
    if not few:
        return []
    attended, balanced, nearest, flipped = (
        spread([getattr(c, what) for c in few]) for what in ("attended", "balanced", "nearest", "flipped")
    )
    measured = (
        f"own centroid has the largest q·c for {attended}, for {flipped} with the sign of one u turned; "
        f"it is the nearest for {balanced} in the balanced basis, {nearest} as trained"
    )
    n = f"{len(few)} latents, {few[0].n:,} queries each"
    return [
        Claim(
            f"T6 cube, r ≤ {FEW_SIGNS}, r1 + r2 ≤ d_head",
            name,
            "queries lie on the clusters of their keys",
            measured,
            n,
        )
    ]


def moments(name: str, heads: list[Head]) -> list[Claim]:
    """T4: the sample ΔC against its closed form, from more and more triplets; noise alone falls as n^(−1/2)."""
    alike = [h for h in heads if h.sizes == heads[0].sizes]
    sizes, errors = heads[0].sizes, np.concatenate([h.errors for h in alike])
    measured = f"{', '.join(map(number, errors.mean(axis=0)))} at n = {', '.join(f'{n:,}' for n in sizes)}"
    if len(set(sizes)) > 1:
        slope = np.polyfit(np.log(sizes), np.log(errors).mean(axis=0), 1)[0]
        measured += f"; it falls as n^{number(slope, 2)}"
    return [
        Claim(
            "T4 ΔC against the closed form, relative error",
            name,
            "equal in expectation",
            measured,
            f"{len(errors)} latents",
        )
    ]


def exact_ranks(name: str, heads: list[Head]) -> list[Claim]:
    """T4: with payload and noise shared, ΔC has the latent's rank without any noise floor."""
    right = [a == b for h in heads for a, b in zip(h.exact, h.recovered.true)]
    n = [min(N_EXACT, h.toy.run.settings["n_exact"]) for h in heads]
    return [
        Claim(
            "T4 exact pairing, rank of ΔC",
            name,
            "–",
            f"the true rank for {sum(right)} of {len(right)} latents",
            f"{spread(n, 0)} triplets each",
        )
    ]


def mixing(name: str, heads: list[Head]) -> list[Claim]:
    """T8: the diagonal of G where there is room, what is off it where there is none."""
    rows = []
    for title, paper, part in (
        ("T8 G, r1 + r2 ≤ d_head", "strong diagonal (feature split)", [h for h in heads if h.toy.room >= 0]),
        ("T8 G, r1 + r2 > d_head", "off-diagonal (superposition)", [h for h in heads if h.toy.room < 0]),
    ):
        if part:
            diagonal, block, across = (spread(values) for values in zip(*(h.interaction.shares for h in part)))
            rows.append(
                Claim(
                    title,
                    name,
                    paper,
                    f"of ‖G‖²: diagonal {diagonal}, rest of the blocks {block}, across {across}",
                    _count(part),
                )
            )
    return rows


def _cell(head: Head) -> str:
    return f"({head.toy.r1}, {head.toy.r2})"


def _count(heads: Sequence[Head]) -> str:
    return f"{len(heads)} heads" if len(heads) != 1 else "1 head"


def _exact(tally: Tally) -> str:
    return f"{tally.exact} of {tally.latents} exact" + (f"; not: {', '.join(tally.misses)}" if tally.misses else "")


def _moved(condition: Condition) -> str:
    return f"{number(condition.original_after)}/{number(condition.target_after)}"


def _left(head: Head) -> float:
    """How far a swap of both latents is from handing the original's attention to the target."""
    both = next(c for c in head.swaps.conditions if c.name == "+".join(FACTORS))
    return abs(both.target_after - both.original_before)
