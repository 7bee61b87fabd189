"""How a contrast's SQL grows with rows, and how many pairs there are: label tables of millions of rows, no vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import numpy as np

from bench.processes import cpu_s
from bench.scale.constants import Constant, figure
from bench.speed import turns
from qkstore.analysis.targets import draw
from qkstore.contrast import Contrast, pairs
from qkstore.errors import QKStoreError
from qkstore.run import Run, schema, sides
from qkstore.sql import worker

TOKENS = 512  # a prompt
MILLIONS = (1, 4, 16)
WORDS = 5_000  # different ones
TOKEN_LABELS, PROMPT_LABELS = {"order_id": "BIGINT"}, {"queried_order": "BIGINT"}
LABELLED = Contrast(
    name="labelled",
    where="k.prompt_id = q.prompt_id and k.role = 'box' and q.role = 'answer_slot'",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)
BEFORE = Contrast(
    name="tokens before",
    where="k.prompt_id = q.prompt_id and q.pos % 64 = 63",
    positive="k.pos = q.pos - 1",
    negative="k.pos < q.pos - 1 and k.pos >= q.pos - 10",
)
ASKED = {
    "1 query a prompt, nine labelled keys": LABELLED,
    "8 queries a prompt, the ten tokens before each": BEFORE,
}
TARGETS = "targets of a swap"
# i: the number of a row; a box every 50 tokens, the slot that asks at the end
POS = f"(i % {TOKENS})"
BOX = f"{POS} % 50 = 10 AND {POS} < 450"
PLACE = f"(i // {TOKENS})::INTEGER AS prompt_id, {POS}::INTEGER AS pos"
LABELS = (
    f"(hash(i) % {WORDS})::INTEGER AS token_id, {POS}::INTEGER AS span, true AS span_last, "
    f"CASE WHEN {POS} = {TOKENS - 1} THEN 'answer_slot' WHEN {BOX} THEN 'box' END AS role, "
    f"CASE WHEN {BOX} THEN {POS} // 50 + 1 END AS order_id"
)
SPLIT = "CASE WHEN {0} % 4 = 3 THEN 'test' ELSE 'train' END AS split, 'base' AS variant, 'p' || {0} AS id"
ASKS = "({0} % 9 + 1) AS queried_order"


@dataclass(frozen=True)
class Asked:
    """What one contrast took on tables of so many rows: CPU seconds of its SQL and checks, and MB beyond before.

    stopped: the line with which the library gave up; the rest is then what was spent until then, and pairs are 0.
    """

    what: str
    rows: int
    pairs: int
    cpu_s: float
    mb: float
    stopped: str = ""


def write(path: Path, n: int) -> None:
    """A run file of n tokens, with a row of q and of k each, and no vectors."""
    con = duckdb.connect(str(path), config={"memory_limit": "1500MB"})
    for statement in (
        *schema.run_tables(1, TOKEN_LABELS, PROMPT_LABELS), *sides.side_tables(TOKEN_LABELS, PROMPT_LABELS)
    ):  # fmt: skip
        con.execute(statement)
    con.execute("INSERT INTO layer VALUES (0, 1.0, NULL, NULL, true)")
    prompt, of = n // TOKENS, f"(i // {TOKENS})"

    def fill(table: str, columns: str, rows: int = n) -> None:
        con.execute(f"INSERT INTO {table} BY NAME SELECT {columns} FROM range({rows}) AS t(i)")

    text = f"'w' || (hash(i) % {WORDS})"
    fill("prompt", f"i::INTEGER AS prompt_id, 'x' AS text, {SPLIT.format('i')}, {ASKS.format('i')}", prompt)
    fill("token", f"{PLACE}, {LABELS}, {text} AS text, 5 * {POS} AS char_start, 5 * {POS} + 5 AS char_end")
    for side, row in (("q", "query_row"), ("k", "key_row")):
        fill(row, f"i::INTEGER AS {row}, {PLACE}")
        fill(side, f"i::INTEGER AS {row}, {PLACE}, {LABELS}, {text} AS token, {SPLIT.format(of)}, {ASKS.format(of)}")
    facts = dict(schema_version=schema.RUN_VERSION, run=path.stem, model="bench", architecture="none", dtype="float32")
    facts |= dict(n_layers=1, n_heads=1, n_kv_heads=1, d_head=1, task="bench", plan="{}", positions="all")
    facts |= dict(n_prompts=prompt, n_tokens=n, n_queries=n, n_keys=n, store_dtype="float32")
    facts |= dict(token_labels=list(TOKEN_LABELS), prompt_labels=list(PROMPT_LABELS))
    con.execute(f"CREATE TABLE run ({schema.columns(schema.MANIFEST)})")
    names, places = ", ".join(facts), ", ".join("?" for _ in facts)
    con.execute(f"INSERT INTO run ({names}, created) VALUES ({places}, now()::TIMESTAMP)", list(facts.values()))
    con.close()


def measure(folder: Path, millions: Sequence[int] = MILLIONS) -> list[Asked]:
    """Each contrast, and a draw of a swap's targets, on tables of as many times 2²⁰ rows."""
    worker.NICE = 0  # a query gives way after half a second: where others compute it would then wait for minutes
    out = []
    for million in millions:
        n = million << 20
        path = folder / f"labels-{million}.duckdb"
        write(path, n)
        run = Run(path)
        pairs(run, LABELLED.replace(where=f"{LABELLED.where} and q.prompt_id < 9"))  # the worker is there
        for what, contrast in ASKED.items():
            out.append(one(what, n, lambda r=run, c=contrast: len(pairs(r, c))))
        out.append(one(TARGETS, n, lambda r=run: len(draw(r, [LABELLED], "test"))))
        run.close()
        path.unlink()
    return out


def one(what: str, rows: int, work: Callable[[], int]) -> Asked:
    turns.forget()
    before, begun = turns.resident(), cpu_s()
    try:
        many, stopped = work(), ""
    except QKStoreError as error:
        many, stopped = 0, str(error)
    return Asked(what, rows, many, cpu_s() - begun, max(turns.peak() - before, 0.0), stopped)


def constants(asked: Sequence[Asked]) -> list[Constant]:
    """CPU µs and bytes of memory a row of the largest tables of each question, and how they grow."""
    out = []
    for what in dict.fromkeys(a.what for a in asked):
        of = [a for a in asked if a.what == what and not a.stopped]
        power = growth([a.rows for a in of], [a.cpu_s for a in of])
        told = f"{figure(of[0].rows / 2**20)} to {figure(of[-1].rows / 2**20)} × 2²⁰ rows; grows with rows^{power:.2f}"
        for name, unit, values in (
            (f"{what}: time", "CPU µs a row", [1e6 * a.cpu_s / a.rows for a in of]),
            (f"{what}: memory", "bytes a row", [1e6 * a.mb / a.rows for a in of]),
        ):
            out.append(Constant(name, values[-1], min(values), max(values), len(values), unit, told))
        for a in [a for a in asked if a.what == what and a.stopped][:1]:
            rows = float(a.rows)
            out.append(Constant(f"{what}: stopped at", rows, rows, rows, 1, "rows", a.stopped))
    return out


def growth(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The power of size that values grow with: the slope of the logarithms."""
    if len(sizes) < 2:
        return float("nan")
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-9)), 1)[0])


def table(asked: Sequence[Asked]) -> list[list[str]]:
    rows = [["question", "rows of q, and of k", "pairs, or targets", "CPU s", "MB more than before"]]
    return rows + [[a.what, f"{a.rows:,}", a.stopped or f"{a.pairs:,}", figure(a.cpu_s), figure(a.mb)] for a in asked]


def to_rows(asked: Sequence[Asked]) -> list[dict]:
    return [asdict(a) for a in asked]
