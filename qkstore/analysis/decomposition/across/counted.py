"""What one head of a run has for components, as one row of the table of all heads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import polars as pl

from qkstore.analysis.decomposition.claim import UNSWAPPED
from qkstore.analysis.decomposition.found import HeadComponents
from qkstore.analysis.decomposition.names import Name
from qkstore.components import STRONG
from qkstore.text import head_name

# {column of `table`: (title, what it is)}
COUNTED = {
    "number": ("Components", f"leading components with a held-out correlation above {STRONG} and above chance"),
    "explained": ("Explained by labels", "variance of components that their names explain, weighed by logit gap"),
    "unnamed": ("Unnamed", "the part of its components' logit gap that components without a name carry"),
    "carried": ("Logit gap carried", "the part of the head's centred logit gap that its components carry"),
    "clear": ("Above chance", "leading components with a held-out correlation above chance, weak ones too"),
}
MOST_NAMED = 4  # heads, of those with the most components
DERIVED = ("confirmed", "carried", "explained", "unnamed", "label")  # properties of a HeadCount


class Named(NamedTuple):
    """The name of a component: the label that explains most of it, how much, and whether that is a name."""

    name: str
    label: str
    explained: float
    named: bool

    @classmethod
    def of(cls, name: Name) -> Named:
        """From the names of a head."""
        best = name.best
        return cls(name.name, best.label if best else "", best.explained if best else 0.0, name.named)


@dataclass(frozen=True)
class HeadCount:
    """How many components a head has, and what they are worth; of a head that has nothing to choose, why.

    number, interval, clear, chance, p_value: see qkstore.components.Number; None where there is a `why`. rho: (number,)
    correlations on the judged split, rho_ci their 95 % intervals. share: (number,) parts of the centred logit gap, by
    which components are ordered. names: (number,) in the same order, or none where nobody asked for them. mean_share:
    part of the whole gap that the mean query makes. n_built, n_judged: queries with a choice.
    """

    layer: int
    head: int
    why: str = ""
    number: int | None = None
    interval: tuple[int, int] | None = None
    clear: int | None = None
    chance: float | None = None
    p_value: float | None = None
    rho: tuple[float, ...] = ()
    rho_ci: tuple[tuple[float, float], ...] = ()
    share: tuple[float, ...] = ()
    names: tuple[Named, ...] = ()
    mean_share: float | None = None
    n_built: int = 0
    n_judged: int = 0

    @classmethod
    def of(cls, found: HeadComponents, names: Sequence[Name]) -> HeadCount:
        """From the components of a head, and their names."""
        number = found.found.number
        return cls(
            layer=found.head.layer,
            head=found.head.head,
            number=number.value,
            interval=number.interval,
            clear=number.clear,
            chance=number.chance,
            p_value=number.p_value,
            rho=tuple(found.rho.tolist()),
            rho_ci=tuple((low, high) for low, high in found.rho_ci.tolist()),
            share=tuple(found.found.share.tolist()),
            names=tuple(map(Named.of, names)),
            mean_share=found.found.mean_share,
            n_built=len(found.train),
            n_judged=len(found.test),
        )

    @property
    def carried(self) -> float | None:
        """The part of the centred logit gap that its components carry together."""
        return None if self.number is None else float(sum(self.share))

    @property
    def confirmed(self) -> int | None:
        """Components whose correlation is above STRONG on the judged split, too."""
        return None if self.number is None else sum(rho > STRONG for rho in self.rho)

    @property
    def was_named(self) -> bool:
        """Whether its components were named, each one or as unnamed."""
        return len(self.names) == len(self.share)

    @property
    def n_unnamed(self) -> int | None:
        """How many components no label explains; None where nobody asked."""
        return sum(not name.named for name in self.names) if self.was_named else None

    @property
    def explained(self) -> float | None:
        """The variance of its components that their names explain, weighed by what each carries; None without any."""
        return self._weighed([name.explained * name.named for name in self.names])

    @property
    def unnamed(self) -> float | None:
        """The part of what its components carry that those without a name do; None without any."""
        return self._weighed([float(not name.named) for name in self.names])

    @property
    def label(self) -> str:
        """The label whose components carry most; '' where none is named."""
        carry: dict[str, float] = {}
        for name, weight in zip(self.names, self._weights if self.was_named else (), strict=True):
            if name.named:
                carry[name.label] = carry.get(name.label, 0.0) + weight
        return max(carry, key=lambda label: carry[label], default="")

    @property
    def _weights(self) -> list[float]:
        """What each component carries; a rotated one may carry less than nothing, which weighs nothing."""
        return [max(share, 0.0) for share in self.share]

    def _weighed(self, values: Sequence[float]) -> float | None:
        total = sum(self._weights) if self.was_named else 0.0
        return sum(v * w for v, w in zip(values, self._weights, strict=True)) / total if total else None

    def to_dict(self) -> dict:
        """The fields by name, and what follows from them."""
        return asdict(self) | {"names": [n._asdict() for n in self.names]} | {d: getattr(self, d) for d in DERIVED}

    @classmethod
    def from_dict(cls, row: dict) -> HeadCount:
        """From to_dict, also after a way through JSON, which makes lists of tuples."""
        fields = {name: value for name, value in row.items() if name not in DERIVED}
        listed = {name: tuple(row[name]) for name in ("rho", "share")} | {"rho_ci": tuple(map(tuple, row["rho_ci"]))}
        names = tuple(Named(**name) for name in row["names"])
        return cls(
            **fields | listed | {"names": names, "interval": tuple(row["interval"]) if row["interval"] else None}
        )


def table(rows: Sequence[HeadCount]) -> pl.DataFrame:
    """One row for each head, most components first; of those of one number, the one that carries more."""
    columns = [
        {
            "layer": r.layer,
            "head": r.head,
            "number": r.number,
            "low": r.interval and r.interval[0],
            "high": r.interval and r.interval[1],
            "clear": r.clear,
            "confirmed": r.confirmed,
            "rho": max(r.rho, default=None),
            "carried": r.carried,
            "explained": r.explained,
            "label": r.label,
            "unnamed": r.unnamed,
            "n_unnamed": r.n_unnamed,
            "n_built": r.n_built,
            "n_judged": r.n_judged,
            "why": r.why,
        }
        for r in rows
    ]
    return pl.DataFrame(columns, infer_schema_length=None).sort(
        ["number", "carried", "layer", "head"], descending=[True, True, False, False], nulls_last=True
    )


def statement(rows: Sequence[HeadCount]) -> str:
    """What the table says, in a sentence or two."""
    has, none = [r for r in rows if r.number], sum(bool(r.why) for r in rows)
    nothing = f"{none:,} {'has' if none == 1 else 'have'} nothing to choose"
    if not has:
        return f"None of {len(rows):,} heads has a component; {nothing}."
    most = max(r.number or 0 for r in has)
    those = [head_name(r.layer, r.head) for r in has if r.number == most]
    whose = ", ".join(those) if len(those) <= MOST_NAMED else f"{len(those):,} heads"
    found, confirmed = (sum(values) for values in zip(*((r.number or 0, r.confirmed or 0) for r in has), strict=True))
    unnamed = f"; {sum(r.n_unnamed or 0 for r in has):,} have no name" if all(r.was_named for r in has) else ""
    return (
        f"{len(has):,} of {len(rows):,} heads have components, {found:,} together, at most {most} ({whose}); "
        f"{confirmed:,} are above {STRONG} on the judged split too{unnamed}. "
        f"Of the other heads {nothing}.{f' {UNSWAPPED}' if unnamed else ''}"
    )


def refusals(rows: Sequence[HeadCount]) -> dict[str, int]:
    """{why a head has nothing to choose: how many heads}; the head's own name is left out."""
    whys = [re.sub(r"^layer \d+ head \d+:? ", "", r.why) for r in rows if r.why]
    return {why: whys.count(why) for why in dict.fromkeys(whys)}
