"""Two tables of head scores side by side: two contrasts on one run, or one on two runs, and how far they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from qkstore.analysis.heads.measure import MEASURES, WITH_INTERVAL
from qkstore.analysis.heads.pairing import Asked, Pairing, kept_pairing, unmatched
from qkstore.analysis.heads.parts import kept
from qkstore.analysis.heads.score import HeadScore
from qkstore.analysis.heads.sweep import Progress
from qkstore.errors import ContrastError, RunError, near
from qkstore.interval import Estimate
from qkstore.pool import Pool
from qkstore.run import Run
from qkstore.store import Store
from qkstore.text import number, percent, signed, split_name


@dataclass(frozen=True)
class Comparison:
    """A measure of every head under two contrasts, the first less the second.

    names: what the two are called, of (run, contrast) each. table: a row a head (layer, head, first, second,
    difference, low, high, clear), those clear of 0 first, then by size. low, high: the 95 % interval of the
    difference, and clear: whether it leaves 0 out when widened for all heads together; null of a measure without one.
    """

    by: str
    names: tuple[tuple[str, str], tuple[str, str]]
    table: pl.DataFrame
    paired: Pairing
    chances: tuple[float | None, float | None]
    models: tuple[str, str]
    split: str | None

    @property
    def labels(self) -> tuple[str, str]:
        """What tells the two apart, in few words: the contrast, the run, or both."""
        (run, contrast), (other, second) = self.names
        if run == other:
            return contrast, second
        return (run, other) if contrast == second else (f"{run}: {contrast}", f"{other}: {second}")

    @property
    def largest(self) -> dict | None:
        """The head of the largest difference that is clear of 0 for all heads together; None where none is."""
        return next((row for row in self.table.head(1).iter_rows(named=True) if row["clear"]), None)

    @property
    def sentence(self) -> str:
        """The largest difference that chance does not give, or that there is none."""
        (first, second), title, n = self.labels, MEASURES[self.by][0], len(self.table)
        if self.by not in WITH_INTERVAL:
            return f"{title} has no interval, so that no difference can be called clear of 0."
        if not (there := self.table["difference"].count()):
            return f"No head of {n:,} has a {title.lower()} for both {first} and {second}: there is nothing to compare."
        if (row := self.largest) is None:
            return f"No head of {there:,} differs in {title.lower()} between {first} and {second} by more than chance."
        many = int(self.table["clear"].sum())
        low, high = Estimate(row["difference"], row["low"], row["high"]).together(n)
        sides = " and ".join(
            f"{self.value(value)} for {label}" + (f" (chance {percent(chance)})" if self.by == "accuracy" else "")
            for value, label, chance in zip((row["first"], row["second"]), self.labels, self.chances, strict=True)
        )
        return (
            f"{many:,} of {n:,} heads differ{'s' if many == 1 else ''} by more than chance gives; "
            f"the most L{row['layer']} H{row['head']}: {sides}, a difference of {self.points(row['difference'])} "
            f"[{self.points(low)}, {self.points(high)}]{self.unit}."
        )

    @property
    def statement(self) -> str:
        """What was compared, on which queries, and what the intervals mean."""
        (first, second), p = self.labels, self.paired
        same = (
            f"{p.n:,} of {p.of:,} queries of the {split_name(self.split)} split are the same for both and are paired"
            if p.n
            else "no query is the same for both, so that they count as independent"
        )
        parts = [f"{MEASURES[self.by][0]} of {first} less that of {second}, head by head; {same}."]
        if self.by in WITH_INTERVAL:
            parts.append(
                "The 95 % interval is of one head (Newcombe 1998); a difference is clear of 0 where it is so for all "
                f"{len(self.table):,} heads together (Bonferroni), and the interval in the first line is that wide."
            )
        chance, other = self.chances
        if self.by == "accuracy" and chance is not None and other is not None and abs(chance - other) > 1e-9:
            parts.append(
                f"Chance is {percent(chance)} for {first} and {percent(other)} for {second}: "
                f"{signed(100 * (chance - other), 0)} points of a difference are theirs."
            )
        if self.models[0] != self.models[1]:
            parts.append(
                f"The runs are of two models ({self.models[0]}, {self.models[1]}): "
                "their heads have nothing but layer and number in common."
            )
        return " ".join(parts)

    @property
    def _share(self) -> bool:
        return self.by in ("accuracy", "attention_positive", "attention_negative")

    def value(self, value: float | None) -> str:
        """A value of the measure, fit to be shown."""
        return percent(value) if self._share else number(value, 0 if self.by == "rank" else 2)

    def points(self, difference: float) -> str:
        """A difference of two values, in `unit`."""
        return signed(100 * difference, 0) if self._share else signed(difference, 2)

    @property
    def unit(self) -> str:
        """What differences are counted in: points of a share, or nothing."""
        return " points" if self._share else ""

    def to_dict(self) -> dict:
        sides = [{"run": run, "contrast": contrast} for run, contrast in self.names]
        return {
            "by": self.by,
            "first": sides[0],
            "second": sides[1],
            "n_paired": self.paired.n,
            "split": self.split,
            "sentence": self.sentence,
            "heads": self.table.to_dicts(),
        }


def compare(
    first: Asked, second: Asked, scores: Sequence[HeadScore], others: Sequence[HeadScore], paired: Pairing, by: str
) -> Comparison:
    """Set the scores of the first beside those of the second, by a column of MEASURES.

    Raises RunError where the runs have different heads, ContrastError for another measure and for two that are one.
    """
    _check(first, second, by)
    there = {(s.layer, s.head): s for s in others}
    rows = [_difference(s, there[s.layer, s.head], by, paired, len(scores)) for s in scores]
    table = pl.DataFrame(rows, schema=SCHEMA).sort(
        pl.col("clear").fill_null(False), pl.col("difference").abs(), descending=True, nulls_last=True
    )
    (run, contrast), (other, second_contrast) = first, second
    return Comparison(
        by,
        ((run.name, contrast.name), (other.name, second_contrast.name)),
        table,
        paired,
        (scores[0].chance, others[0].chance),
        (_model(run, other), _model(other, run)),
        scores[0].judged_on,
    )


def _model(run: Run, other: Run) -> str:
    """What a run's model is called, told from another one of the same name by its weights."""
    alike = run.model == other.model and run.weights_hash != other.weights_hash
    return f"{run.model} of weights {run.weights_hash[:8]}" if alike else run.model


SCHEMA = {
    "layer": pl.Int64,
    "head": pl.Int64,
    **dict.fromkeys(("first", "second", "difference", "low", "high"), pl.Float64),
    "clear": pl.Boolean,
}


def _check(first: Asked, second: Asked, by: str) -> None:
    """Raise the errors of `compare`."""
    (run, contrast), (other, _) = first, second
    if by not in MEASURES:
        raise ContrastError(f"no measure {by!r} of heads: {near(by, MEASURES)}")
    if (run.identity, contrast.key) == (other.identity, second[1].key):
        raise ContrastError(f"contrast {contrast.name!r} on run {run.name!r} is compared with itself; name another")
    if reason := unmatched(run, other):
        raise RunError(reason)


def _difference(s: HeadScore, other: HeadScore, by: str, paired: Pairing, n_heads: int) -> dict:
    value, second = getattr(s, by), getattr(other, by)
    row = {"layer": s.layer, "head": s.head, "first": value, "second": second, "difference": None}
    if value is None or second is None:
        return row | {"low": None, "high": None, "clear": None}
    row["difference"] = value - second
    interval, beside = s.interval(by), other.interval(by)
    if interval is None or beside is None:
        return row | {"low": None, "high": None, "clear": None}
    tied = paired.correlations.get((s.layer, s.head), {}).get(by, 0.0)
    less = Estimate(value, *interval).less(Estimate(second, *beside), tied)
    low, high = less.together(n_heads)
    return row | {"low": less.low, "high": less.high, "clear": not low <= 0 <= high}


def compared(
    store: Store,
    first: Asked,
    second: Asked,
    by: str = "accuracy",
    nulls: int = 19,
    pool: Pool | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Score both, see what they have in common, and compare: what the page shows and the command prints."""
    _check(first, second, by)
    scores, others = (
        kept(store, run, contrast, nulls, progress=progress, pool=pool) for run, contrast in (first, second)
    )
    return compare(first, second, scores, others, kept_pairing(store, first, second), by)
