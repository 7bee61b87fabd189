"""The formulas against runs that exist: bytes of their files, and seconds of a read, a fit and a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.scale.computing import fit_s, sweep_s
from bench.scale.constants import cpu, figure
from bench.scale.model import Kept, Model, Plan
from qkstore.analysis import Head
from qkstore.analysis.head import Rows, build_split, judge_split
from qkstore.analysis.heads import heads
from qkstore.contrast import Contrast
from qkstore.contrast.builtin import RIGHT_BOX
from qkstore.contrast.known import SAME
from qkstore.run import Run
from qkstore.store import Store

NULLS = 19
SWEPT = {"demo-boxes-ent": RIGHT_BOX, "smollm2-docs": SAME}  # contrasts that choose heads by themselves


@dataclass(frozen=True)
class Foretold:
    """What the formulas say of a run beside what is: bytes, or CPU seconds."""

    run: str
    what: str
    told: float
    true: float

    @property
    def off(self) -> float:
        return self.told / self.true - 1


def plan(run: Run) -> Plan:
    """The plan whose run this is."""
    model = Model(run.model, len(run.layers), run.n_heads, run.n_kv_heads, run.d_head)
    n = run.n_prompts
    return Plan(model, n, run.n_tokens / n, Kept("as it is", run.n_queries / n, run.n_keys / n, run.store_dtype))


def sizes(runs: Mapping[str, Store], c: Mapping[str, float], but: str = "") -> list[Foretold]:
    """Bytes of every run's file; but: the one that constants are of."""
    out = []
    for name, store in runs.items():
        if name != but:
            run = store.run(name)
            out.append(
                Foretold(
                    name,
                    "bytes of the file",
                    plan(run).size(c),
                    run.path.stat().st_size + (run.shards.bytes if run.shards else 0),
                )
            )
    return out


def seconds(runs: Mapping[str, Store], c: Mapping[str, float]) -> list[Foretold]:
    """CPU seconds of one head's read and fit, and of all heads' scores."""
    out = []
    for name, contrast in SWEPT.items():
        if name in runs:
            run = runs[name].run(name)
            out += of_run(run, contrast, c)
    return out


def of_run(run: Run, contrast: Contrast, c: Mapping[str, float]) -> list[Foretold]:
    layer, name = max(run.layers), contrast.name
    rows = Rows.of(run, contrast, build_split(run))
    head = Head(run, layer, 0)
    mb = 4e-6 * run.d_head
    read = mb * (run.n_queries + run.n_keys) / c["read float32"]
    data, counts = rows.read(head), rows.stored.counts
    fitted = fit_s(c, counts.n_q, len(rows.stored), run.d_head)
    true_read = min(cpu(lambda: (run.queries(layer, 0), run.keys(layer, 0)), 3))
    true_fit = min(cpu(lambda: data.fit(data.pairs), 3))
    both = [counts, Rows.of(run, contrast, judge_split(run)).stored.counts]
    n, pairs = sum(b.n_q for b in both), sum(b.n_pos + b.n_neg for b in both)
    each = mb * (run.n_queries + run.n_keys * run.n_kv_heads / run.n_heads) / c["read float32"]
    swept = len(run.layers) * run.n_heads * (each + sweep_s(c, n, pairs, run.d_head))
    true_sweep = min(cpu(lambda: heads(run, contrast, NULLS), 1))
    what = f"{name}, {pairs:,} pairs"
    return [
        Foretold(run.name, "CPU s, q and k of a head read", read, true_read),
        Foretold(run.name, f"CPU s, ΔC of a head, {name}", fitted, true_fit),
        Foretold(run.name, f"CPU s, `heads` of {len(run.layers) * run.n_heads} heads, {what}", swept, true_sweep),
    ]


def table(found: list[Foretold]) -> list[list[str]]:
    rows = [["run", "what", "foretold", "measured", "error"]]
    return rows + [[f.run, f.what, shown(f.told), shown(f.true), f"{f.off:+.1%}"] for f in found]


def shown(value: float) -> str:
    return f"{value:,.0f}" if value > 1e5 else figure(value)
