"""What cannot be measured without the machines and the bills: each an option, with where its default comes from."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple


class Assumption(NamedTuple):
    """An option, its default, its unit, and the source of the default in words."""

    name: str
    value: float
    unit: str
    source: str

    @property
    def option(self) -> str:
        return f"--{self.name.replace('_', '-')}"


ASSUMED = (
    Assumption("prompts", 100_000, "prompts", "the case asked for"),
    Assumption("tokens", 512, "tokens a prompt", "the case asked for"),
    Assumption("sample", 16, "queries a prompt", "a choice: 1 in 32 of the positions"),
    Assumption("contrasts", 4, "contrasts", "a choice: what somebody wants to know when the run is made"),
    Assumption("pairs", 9, "pairs a query", "one positive and eight negative, as in the boxes task"),
    Assumption("gpus", 8, "GPUs", "the case asked for: one machine of a lab"),
    Assumption("gpu_tflops", 989, "TFLOP/s a GPU", "maker's figure of an H100 SXM: dense bf16 products"),
    Assumption("utilisation", 0.4, "of that", "a usual share for a forward pass of long batches; 0.2 to 0.6 are met"),
    Assumption("price_hour", 3.0, "$ a GPU hour", "a round price of a rented H100; lists are between 2 and 10"),
    Assumption("cores", 64, "CPU cores", "a machine with eight GPUs has about twice as many"),
    Assumption("price_core_hour", 0.04, "$ a core hour", "a round price of a rented core with 4 GB"),
    Assumption("price_tb_month", 80.0, "$ a TB-month", "a round price of network SSD; object storage about 23"),
    Assumption("disk_gb_s", 7.0, "GB/s", "maker's figure of one NVMe disk, writing in a row"),
    Assumption("disk_tb", 30.0, "TB", "a large NVMe disk"),
    Assumption("file_tb", 17.6, "TB a file", "the largest file of ext4 with 4 KiB blocks, 16 TiB"),
    Assumption("memory_gb", 1000, "GB", "memory of a machine with eight GPUs"),
    Assumption("net_gbit", 25, "Gbit/s", "a usual network card of a server"),
    Assumption("store_tb", 10, "TB of runs", "the case asked for"),
    Assumption("users", 100, "people", "the case asked for"),
    Assumption("think_s", 10, "s between two pages", "a guess: the benches of the dashboard let 2 s pass"),
    Assumption("server_cores", 8, "cores a dashboard server", "a choice"),
)  # fmt: skip


def options(parser: argparse.ArgumentParser) -> None:
    """An option for each assumption."""
    group = parser.add_argument_group("assumptions, never measured here")
    for each in ASSUMED:
        group.add_argument(each.option, type=float, default=each.value, metavar="N", help=f"{each.unit}: {each.source}")


def given(parsed: argparse.Namespace) -> dict[str, float]:
    """{name: value} as the options have them."""
    return {each.name: getattr(parsed, each.name) for each in ASSUMED}


def table(values: dict[str, float]) -> list[list[str]]:
    """Rows of Markdown: option, value, source."""
    rows = [["option", "value", "where its default comes from"]]
    for each in ASSUMED:
        value = values[each.name]
        source = each.source if value == each.value else f"given instead of {each.value:g}"
        rows.append([f"`{each.option}`", f"{value:,g} {each.unit}", source])
    return rows


def swept(values: dict[str, float], asked: Sequence[str]) -> list[dict[str, float]]:
    """The assumptions with each value of NAME=A,B,… in turn; raises ValueError for a name or a number that is none."""
    out = [values]
    for text in asked:
        name, _, numbers = text.partition("=")
        name = name.replace("-", "_")
        if name not in values or not numbers:
            known = ", ".join(each.name.replace("_", "-") for each in ASSUMED)
            raise ValueError(f"--sweep {text!r}: write NAME=A,B with one of {known}")
        out = [one | {name: float(number)} for one in out for number in numbers.split(",")]
    return out


def positive(values: dict[str, Any]) -> None:
    """Raise ValueError for an assumption that is not above 0."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"--{name.replace('_', '-')} {value:g}: a number above 0 is needed")
