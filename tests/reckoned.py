"""Constants of bench/scale as a computer has measured them, for tests of what is derived; none depends on values."""

from __future__ import annotations

from conftest import ROOT

from bench.scale import asking, assumed, computing, serving
from bench.scale.constants import Constant, values
from bench.scale.model import LLAMA_70B, Kept, Plan, choices
from qkstore.run.schema import STORE_DTYPES

SIZES = {
    "of a payload": 1.0, "beside a vector": 3.4, "a log-sum-exp": 9.0, "a token": 10.0, "a row of q or k": 26.0,
    "a prompt": 120.0, "a head's kept score": 1800.0,
}  # fmt: skip
SPEEDS = {"spool": 0.4, "publish": 9.5}
ASSUMED = {each.name: each.value for each in assumed.ASSUMED}
SHOWN = [asking.Asked(what, rows, 10, 1e-7 * rows, 1e-4 * rows) for rows in (1 << 20, 4 << 20)
         for what in (*asking.ASKED, "targets of a swap")]  # fmt: skip


def constants() -> list[Constant]:
    """One of each name that derivations look up."""
    made = SIZES | {f"{name} {dtype}": value for name, value in SPEEDS.items() for dtype in STORE_DTYPES}
    made |= {f"read {dtype}": 1900.0 for dtype in STORE_DTYPES}
    made |= dict(zip((*computing.FIT, *computing.SWEEP), (1e-4, 1e-10, 1e-9, 0.01, 6e-11, 1.4e-9), strict=True))
    cited = serving.cited((ROOT / serving.PAGE).read_text())
    named = [Constant(name, value, value, value, 1, "units", "made up") for name, value in made.items()]
    return [*named, *cited]


C = values([*constants(), *asking.constants(SHOWN)])


def seventy(kept: Kept | None = None, prompts: int = 100_000) -> Plan:
    return Plan(LLAMA_70B, prompts, 512, kept or choices(512, 16, 4)[0])
