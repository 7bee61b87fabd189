"""How time grows with prompts, heads, the size of a head, pairs and runs: the exponent of a power of the size."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import altair as alt
import numpy as np
import polars as pl
import vl_convert

import qkstore
from bench.processes import cpu_s
from bench.speed import turns
from bench.speed.row import Row
from bench.speed.scale import Scale
from bench.speed.synthetic import ORDER, PLANTED, RANK, ROOT, Shape, made
from qkstore.analysis import covariance
from qkstore.analysis.heads import heads

MOST = 1.1
PROMPTS, HEADS, SIZES, RUNS = (1500, 4500, 15_000), (4, 12, 40), (64, 128), (30, 100, 300)
TURNS = 5
PICTURE = "growth.svg"
MISSED = "see the plot: which size the time grows with faster than in proportion"


def least(work: Callable[[], object], turns_of: int = TURNS) -> float:
    """Seconds of processor time: the least of several turns, after one that warms up."""
    work()
    return min(turns.seconds(work, cpu_s) for _ in range(turns_of))


def of_map(shape: Shape, scale: Scale) -> float:
    """A map of all heads with a null, whose planted head must come first with the planted rank."""
    run = made(scale.folder, shape).run()

    def work() -> None:
        scores = heads(run, ORDER, 19)
        best = max(scores, key=lambda s: s.strength or 0)
        assert (best.head, best.rank) == (PLANTED, RANK), f"head {best.head} of rank {best.rank} comes first"

    return least(work, 2)


def of_delta(shape: Shape, scale: Scale) -> float:
    run = made(scale.folder, shape).run()
    return least(lambda: covariance(run, ORDER, 0, PLANTED))


def of_runs(n: int, scale: Scale) -> float:
    """The list of a store of n runs, as the command prints it, from a store that was opened anew."""
    store, one = scale.folder / f"runs-{n}", made(scale.folder, Shape(200, d_head=16)).file
    (store / "runs").mkdir(parents=True, exist_ok=True)
    for number in range(n):
        if not (link := store / "runs" / f"run-{number}.duckdb").exists():
            shutil.copy(one, link)  # a link would be the same file to whoever has looked at it

    def work() -> None:
        found = qkstore.open(store).runs()
        assert len(found) == n, f"{len(found)} runs of {n}"

    return least(work, 1)


SERIES: dict[str, tuple[str, Sequence[int], Callable[[int, Scale], float]]] = {
    "prompts-delta": ("prompts ×10, one ΔC", PROMPTS, lambda n, scale: of_delta(Shape(n), scale)),
    "prompts-map": ("prompts ×10, map of 4 heads", PROMPTS, lambda n, scale: of_map(Shape(n), scale)),
    "heads": (
        "heads ×10, map",
        HEADS,
        lambda n, scale: of_map(Shape(1500, heads=n, kv_heads=n // 2, d_head=64), scale),
    ),
    "d": ("d ×2, map of 4 heads", SIZES, lambda n, scale: of_map(Shape(4500, d_head=n), scale)),
    "runs": ("runs ×10, list of the store", RUNS, of_runs),
}


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """a of seconds ∝ size^a, by least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def measure(name: str, scale: Scale) -> Iterator[Row]:
    title, sizes, work = SERIES[name]
    seconds = [work(size, scale) for size in sizes]
    a = exponent(sizes, seconds)
    yield Row(
        f"growth-{name}",
        f"growth: {title}",
        f"itself at {sizes[0]:,}",
        ", ".join(f"{size:,}: {s:.2f} s" for size, s in zip(sizes, seconds)) + f"; ∝ size^{a:.2f}",
        seconds[-1] / seconds[0] / (sizes[-1] / sizes[0]),
        aim=f"size^{MOST} or less",
        met=a <= MOST,
        missed=MISSED,
        figures={"exponent": a} | {f"s_{size}": s for size, s in zip(sizes, seconds)},
    )


def points(rows: Sequence[Row]) -> pl.DataFrame:
    """size and time, each over the smallest, of the rows that have figures."""
    out = []
    for row in rows:
        at = {int(k[2:]): v for k, v in row.figures.items() if k.startswith("s_")}
        first = min(at, default=0)
        title = f"{row.work.removeprefix('growth: ')} (size^{row.figures.get('exponent', 0):.2f})"
        out += [{"work": title, "size": size / first, "time": s / at[first]} for size, s in at.items()]
    return pl.DataFrame(out, schema={"work": pl.String, "size": pl.Float64, "time": pl.Float64})


def plot(rows: Sequence[Row]) -> str:
    """An SVG of the growth rows: time over size, both logarithmic, beside what grows in proportion."""
    log = alt.Scale(type="log", domain=[1, 10])
    x = alt.X("size:Q", scale=log, title="size, times the smallest")
    y = alt.Y("time:Q", scale=alt.Scale(type="log"), title="CPU time, times that of the smallest")
    line = alt.Chart(points(rows)).mark_line(point=True).encode(x, y, alt.Color("work:N", title=None))
    straight = alt.Chart(pl.DataFrame({"size": [1.0, 10.0], "time": [1.0, 10.0]}))
    dashed = straight.mark_line(strokeDash=[4, 4], color="#888").encode(x, y)
    chart = (dashed + line).properties(width=380, height=300)
    return vl_convert.vegalite_to_svg(chart.to_json(), show_warnings=False)


def draw(rows: Sequence[Row]) -> None:
    """Put the plot beside docs/performance.md."""
    (ROOT / "docs" / PICTURE).write_text(plot(rows))


MEASURES = {f"growth-{name}": partial(measure, name) for name in SERIES}
