"""Hours, bytes and money of a plan, from measured constants and assumptions; nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.scale.computing import sweep_s
from bench.scale.model import FOLDS, LLAMA_8B, LLAMA_70B, Model, Plan, choices
from qkstore.text import number

Values = Mapping[str, float]
TERA, GIGA, HOUR = 1e12, 1e9, 3600
READS = 3  # of a sweep: both splits, whose rows lie among each other, and the train split again for the nulls
WRITES = 2  # of each byte: into the spool, and into the run file
MODELS = (LLAMA_70B, LLAMA_8B)


@dataclass(frozen=True)
class Derived:
    """What one plan takes.

    tb: of the run. pass_h: hours of the forward passes on all GPUs, pass_cost: their price. write_core_h: CPU hours of
    spool and publication, write_h: hours of that on all cores. disk_h: hours that one disk writes. sweep_core_h: of
    `heads`, all heads under one contrast. held_gb: of memory, for the rows of one head that are read at once. look_s:
    CPU seconds that reading q and k of one head takes, as a page of it does. cost: of passes, writing, and a month of
    the file.
    """

    plan: Plan
    vectors: float
    tb: float
    pass_h: float
    pass_cost: float
    write_core_h: float
    write_h: float
    disk_h: float
    sweep_core_h: float
    held_gb: float
    look_s: float
    cost: float

    @property
    def rate_gb_s(self) -> float:
        """GB a second at which vectors leave the GPUs, if these are not to wait."""
        return self.tb * 1000 / (self.pass_h * HOUR)


def derive(plan: Plan, c: Values, a: Values) -> Derived:
    """c: measured constants, a: assumptions."""
    m, kept = plan.model, plan.kept
    size = plan.size(c)
    pass_h = passes_h(m, plan.n_tokens, a)
    write_core_h = size / GIGA * (c[f"spool {kept.dtype}"] + c[f"publish {kept.dtype}"]) / HOUR
    pass_cost = pass_h * a["gpus"] * a["price_hour"]
    cost = pass_cost + write_core_h * a["price_core_hour"] + size / TERA * a["price_tb_month"]
    return Derived(
        plan, plan.query_vectors + plan.key_vectors, size / TERA, pass_h, pass_cost, write_core_h,
        write_core_h / a["cores"], WRITES * size / GIGA / a["disk_gb_s"] / HOUR, sweep_core_h(plan, c, a),
        max(plan.query_bytes, plan.key_bytes) / GIGA, look_s(plan, c), cost,
    )  # fmt: skip


def passes_h(m: Model, tokens: float, a: Values) -> float:
    """Hours of forward passes: 2 operations a parameter and token, on all GPUs at their share of the maker's figure."""
    assert m.parameters, f"{m.name} has no number of parameters"
    return 2 * m.parameters * tokens / (a["gpus"] * a["gpu_tflops"] * TERA * a["utilisation"]) / HOUR


def sweep_core_h(plan: Plan, c: Values, a: Values) -> float:
    """CPU hours of `heads`, for a contrast of one query a prompt with a few pairs.

    Rows are read from the first to the last that a split has of them, whatever lies between: so all of a head, READS
    times.
    """
    m, n = plan.model, plan.prompts
    heads = m.layers * m.heads
    if plan.kept.fitted:  # its sums are as many vectors as 2 · FOLDS · d_head a head
        return heads * (c["sweep, a head"] + 8e-6 * FOLDS * m.d_head**2 / c["read float32"]) / HOUR
    read_s = READS * (plan.query_bytes + plan.key_bytes / m.group) / 1e6 / c[f"read {plan.kept.dtype}"]
    return heads * (read_s + sweep_s(c, n, n * a["pairs"], m.d_head)) / HOUR


def look_s(plan: Plan, c: Values) -> float:
    """CPU seconds that reading one head takes."""
    return (plan.query_bytes + plan.key_bytes) / 1e6 / c[f"read {plan.kept.dtype}"]


def cases(c: Values, a: Values, models: Sequence[Model] = MODELS) -> list[Derived]:
    """Every choice of what is kept, of every model."""
    prompts, tokens = int(a["prompts"]), int(a["tokens"])
    kept = choices(tokens, int(a["sample"]), int(a["contrasts"]))
    return [derive(Plan(m, prompts, tokens, k), c, a) for m in models for k in kept]


def table(found: Sequence[Derived]) -> list[list[str]]:
    """A row a plan."""
    header = [
        "model", "what is kept", "vectors", "TB", "GB/s out of the GPUs", "core hours to write", "hours on all cores",
        "hours of one disk", "core hours of `heads`", "GB of a head", "CPU s to read it", "$, one month",
    ]  # fmt: skip
    return [header, *(row(d) for d in found)]


def row(d: Derived) -> list[str]:
    many = f"{short(d.vectors / 1e9)} G" if d.vectors else "none"
    values = (d.tb, d.rate_gb_s, d.write_core_h, d.write_h, d.disk_h, d.sweep_core_h, d.held_gb, d.look_s, d.cost)
    return [d.plan.model.name, d.plan.kept.stored, many, *map(short, values)]


def passes(found: Sequence[Derived], a: Values) -> list[list[str]]:
    """The forward passes of each model, the same whatever is kept."""
    rows = [["model", "parameters", "tokens", "hours of passes", "$"]]
    for d in {d.plan.model: d for d in found}.values():
        many = f"{d.plan.n_tokens / 1e6:,.1f} M"
        rows.append(
            [d.plan.model.name, f"{d.plan.model.parameters / 1e9:g} G", many, short(d.pass_h), short(d.pass_cost)]
        )
    return rows


def short(value: float) -> str:
    """Two or three digits."""
    return (
        f"{value:,.0f}"
        if value >= 100
        else number(value, 1)
        if value >= 10
        else number(value, 2 if value >= 0.1 else 4)
    )
