"""A row of the table: what was done, against what, what it took, and whether that is the aim."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

NOT_RUN = "not run"


@dataclass(frozen=True)
class Row:
    """One measurement.

    name: what --only and the baseline call it. work: what was done; against: the floor or the peer of the same run.
    measured: the figures in words. ratio: ours over the floor, or where `faster`, the peer over ours; low, high: its
    95 % interval over the turns; None where there is nothing to compare with. aim: in words; met: whether it is
    reached, None without an aim. peak_mb: the most resident memory of the work's process, with its children. missed:
    why the aim is missed and what was tried; error: why there is no figure. figures: what else JSON should hold.
    """

    name: str
    work: str
    against: str = ""
    measured: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    faster: bool = False
    aim: str = ""
    met: bool | None = None
    peak_mb: float | None = None
    missed: str = ""
    error: str = ""
    figures: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.met is not False and self.missed:
            object.__setattr__(self, "missed", "")  # a reason for what is not so

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def of(cls, values: dict) -> Row:
        return cls(**values)

    def replace(self, **changes: object) -> Row:
        return replace(self, **changes)  # type: ignore[arg-type]


def failed(name: str, why: str) -> Row:
    """The row of a measurement that gave none."""
    return Row(name, name, error=why)


def not_run(name: str, work: str, why: str) -> Row:
    """The row of a peer that is not on this machine; that is no error."""
    return Row(name, work, measured=f"{NOT_RUN}: {why}")
