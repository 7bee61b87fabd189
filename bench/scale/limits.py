"""Where it breaks: at how many prompts each limit of the code, of memory and of disks is met."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.scale.asking import ASKED, TARGETS
from bench.scale.model import Plan
from qkstore.contrast import pairs
from qkstore.contrast.selection import MOST_PAIRS
from qkstore.run.incoming.publication import MOST_THREADS
from qkstore.run.incoming.space import MORE
from qkstore.run.shape import MOST_HEADS, MOST_ROWS

Values = Mapping[str, float]
DAY = 86_400
SQL_S = inspect.signature(pairs).parameters["limit_s"].default
NEVER = float("inf")
LABELLED, BEFORE = ASKED  # questions whose SQL is measured


@dataclass(frozen=True)
class Limit:
    """what: of what there is too much. where: whose limit it is. prompts: at which it is met. way: what helps."""

    what: str
    where: str
    prompts: float
    way: str


def limits(plan: Plan, c: Values, a: Values) -> list[Limit]:
    """Every limit of a plan, the first met first; each is met at its own number of the plan's prompts."""
    m, kept, n, t = plan.model, plan.kept, plan.prompts, plan.tokens
    a_prompt = plan.size(c) / n
    head = max(plan.query_bytes, plan.key_bytes) / n
    group = (m.group * plan.query_bytes + plan.key_bytes) / n
    rows = max(kept.queries * (1 + 2 * kept.sums), kept.keys, 1e-9)
    earlier = kept.queries * (t - 1) / 2  # pairs of a prompt, where each query has every key before it
    publish = (c[f"publish {kept.dtype}"] + c[f"spool {kept.dtype}"]) / 1e9 * a_prompt
    stopped = {what: c.get(f"{what}: stopped at", NEVER) for what in (*ASKED, TARGETS)}
    rows_a_prompt = max(kept.queries, kept.keys, 1)
    sql = 1e-6 * c[f"{LABELLED}: time"] * max(kept.queries, kept.keys)
    found = [
        Limit("a contrast of each query and every token before it: its pairs", f"MOST_PAIRS, {MOST_PAIRS / 1e6:.0f} M",
              MOST_PAIRS / earlier if kept.keys >= t else NEVER, "pairs by shard, sums merged"),
        Limit("a contrast of one query a prompt and a few keys: its pairs", f"MOST_PAIRS, {MOST_PAIRS / 1e6:.0f} M",
              MOST_PAIRS / a["pairs"], "the same"),
        Limit("that contrast's SQL", f"{SQL_S:.0f} s of a process",
              min(SQL_S / sql if sql else NEVER, stopped[LABELLED] / rows_a_prompt), "labels by shard"),
        Limit("SQL of eight queries a prompt and the ten tokens before each", f"{SQL_S:.0f} s of a process",
              stopped[BEFORE] / rows_a_prompt if kept.keys >= t else NEVER, "labels by shard"),
        Limit("a draw of a swap's targets", "DuckDB's 256 MiB for a folder",
              stopped[TARGETS] / rows_a_prompt, "QKSTORE_MEMORY; draw by shard"),
        Limit("rows of one head, read from the first to the last", f"{a['memory_gb']:,g} GB of memory",
              a["memory_gb"] * 1e9 / head if head else NEVER, "read only the rows that are asked for"),
        Limit("a sweep of a contrast of every query: a KV group", f"{a['memory_gb']:,g} GB of memory",
              a["memory_gb"] * 1e9 / group if group else NEVER, "sums by shard"),
        Limit("targets of a swap: tables in memory", f"{a['memory_gb']:,g} GB of memory",
              a["memory_gb"] * 1e9 / (c[f"{TARGETS}: memory"] * max(kept.keys, 1)), "draw by shard"),
        Limit("the run as one file", f"{a['file_tb']:g} TB a file", a["file_tb"] * 1e12 / a_prompt, "shards"),
        Limit("the run and its spool on one disk", f"{a['disk_tb']:g} TB a disk",
              a["disk_tb"] * 1e12 / (1 + MORE) / a_prompt, "shards on several disks, int16, fewer queries"),
        Limit("publication within a day by one process", f"{MOST_THREADS} threads",
              MOST_THREADS * DAY / publish, "a rank a shard"),
        Limit("row numbers", f"{MOST_ROWS:,} rows", MOST_ROWS / rows, "a second run"),
        Limit("heads", f"MOST_HEADS, {MOST_HEADS:,}",
              NEVER if m.layers * m.heads <= MOST_HEADS else 0, "none is needed"),
    ]  # fmt: skip
    return sorted(found, key=lambda limit: limit.prompts)


def table(plans: Sequence[Plan], c: Values, a: Values) -> list[list[str]]:
    """A row a limit, in the order of the first plan; a column a plan: prompts at which it is met, ✗ where it is."""
    first, *others = [{limit.what: limit for limit in limits(plan, c, a)} for plan in plans]
    header = ["what", "limit", *(p.kept.stored for p in plans), "what would help"]
    rows = []
    for what, limit in first.items():
        each = [limit, *(other[what] for other in others)]
        rows.append(
            [what, limit.where, *(told(one.prompts, plan.prompts) for one, plan in zip(each, plans)), limit.way]
        )
    return [header, *rows]


def told(at: float, prompts: int) -> str:
    if at == NEVER:
        return "never"
    many = f"{at:,.0f}" if at < 1e6 else f"{at / 1e6:,.1f} M" if at < 1e9 else f"{at / 1e9:,.1f} G"
    return f"{many} ✗" if at < prompts else many


def first_met(plan: Plan, c: Values, a: Values) -> Limit:
    return limits(plan, c, a)[0]
