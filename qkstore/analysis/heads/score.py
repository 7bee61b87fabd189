"""The score of a head: what it does under a contrast, and how large its ΔC is beside its null."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from qkstore.analysis.choice import Choice
from qkstore.text import p_value


@dataclass(frozen=True)
class HeadScore:
    """One head under one contrast: what it attends to on the judged split, and its ΔC on the built one.

    chance: the accuracy that chance gives on the judged pairs. choice: what it does on the prompts that choose heads.
    delta_centred: ‖ΔC‖ of centred queries, which delta_null and p_value are the null of; None where it is delta_norm.
    deals: how many deals of signs the null has; p_value is 1 ÷ (deals + 1) at the least. pending: whether a null was
    asked for that is not there yet: then delta_null, p_value and deals are None, as where none was asked for.
    """

    layer: int
    head: int
    accuracy: float | None
    accuracy_ci: tuple[float, float] | None
    selectivity: float | None
    attention_positive: float | None
    attention_negative: float | None
    delta_norm: float
    delta_null: float | None
    p_value: float | None
    rank: int
    n_queries: int
    built_on: str | None
    judged_on: str | None
    selectivity_ci: tuple[float, float] | None = None
    chance: float | None = None
    choice: Choice = field(default_factory=Choice)
    delta_centred: float | None = None
    deals: int | None = None
    attention_positive_ci: tuple[float, float] | None = None
    attention_negative_ci: tuple[float, float] | None = None
    pending: bool = False

    @property
    def centred(self) -> float:
        """‖ΔC‖ of centred queries."""
        return self.delta_norm if self.delta_centred is None else self.delta_centred

    @property
    def strength(self) -> float | None:
        """The same over the 95 % quantile of its null."""
        return self.centred / self.delta_null if self.delta_null else None

    def interval(self, by: str) -> tuple[float, float] | None:
        """The 95 % interval of a measure on the judged split; None of one that has none."""
        return getattr(self, f"{by}_ci", None)

    @property
    def p_told(self) -> str:
        """The p-value of ‖ΔC‖ in words; it says so where more deals of signs might make it less."""
        if self.p_value is None or self.deals is None:
            return "its null is not there yet" if self.pending else "no null"
        return p_value(self.p_value, self.deals)

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def of(cls, row: dict) -> HeadScore:
        """From to_dict, also after a way through JSON, which makes lists of tuples."""
        intervals = {name: tuple(row[name]) for name in row if name.endswith("_ci") and row[name] is not None}
        return cls(**row | intervals | {"choice": Choice(**row.get("choice", {}))})
