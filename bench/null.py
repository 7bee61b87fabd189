"""Are the nulls of ΔC nulls? Planted heads with and without a feature, whatever the mean query; a real model's heads.

    python bench/null.py [--heads 1000] [--strong 60] [--write]
    python bench/null.py --model FILE [--store FOLDER] [--layers 12-18] [--write]

A planted head has queries q = mean + structure of the prompt + noise and keys = mean + structure of the prompt + noise,
with one positive key and eight negative ones a query (`several`), or two keys (`pair`: the same place of another
prompt). A feature is a code of three dimensions that the positive key and the query share; it holds 2 % of the energy
of a key and 2 % of that of a query less the mean query. With a `leak`, all positive keys carry one word. The queries of
`uneven` heads, and their keys with them, differ in size (log-normal, .5): there a test may be weak, but not wrong.
Beside what the library tests is what it tested before: ‖ΔC‖ of queries as they are, with the signs dealt among each
query's keys. Planted words are the heads that random weights are: each word has a direction as a query and one as a
key. With a match, the two agree. Ranks are the cross-validated ones of one ΔC at several seeds, now and before.

With --model: how many heads of a model pass, beside the same architecture with random weights, on boxes. The runs stay
in --store to be looked at; without it, they are thrown away. --write puts the tables into docs/null.md.

Exit code 1 unless the share of p ≤ .05 without a feature is between .03 and .07 in each row, and that with one is at
least .9 in each but the uneven ones. Minutes; with fewer --heads, chance alone can put a row outside.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import qkstore
from bench.page import write
from qkstore import analysis, rank
from qkstore.analysis.asked import label_null
from qkstore.contrast import builtin
from qkstore.covariance import Pairs
from qkstore.null import LabelNull, SignNull, Tested
from qkstore.run import Run

D, RANK, FEATURE, PROMPT = 32, 3, 0.02, 0.5
MEANS = (0.0, 0.5, 0.91, 0.95)  # the mean query's share of E‖q‖²
KEYS = {"several": 9, "pair": 2}  # a query's keys, the positive one first
FEW, MANY = 300, 3000  # queries without a feature, and with one
DEALS = 39
LEVEL = 0.05
WORDS, EMBEDDING = 40, 512  # with few dimensions, words match by chance
REAL = ("order", "order-centred", "lexical", "lexical-centred")


def planted(
    rng: np.random.Generator,
    n: int,
    kind: str,
    mean: float,
    feature: float = 0.0,
    leak: float = 0.0,
    uneven: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, Pairs]:
    """q: (n, D), k: (n · keys, D) and pairs of one head.

    mean: the mean query's share of E‖q‖². feature: its share of what varies. leak: energy of what positive keys alone
    have, all the same. uneven: how much queries, and their keys with them, differ in size.
    """
    m, maps = KEYS[kind], [_basis(rng, D) for _ in range(2)]
    code = np.sqrt(feature / RANK) * rng.standard_normal((n, m, RANK))
    size = np.exp(uneven * rng.standard_normal((n, 1)))
    prompt = rng.standard_normal((n, D)) / np.sqrt(D)
    held = np.sqrt(PROMPT) * prompt + np.sqrt(1 - PROMPT - feature) * rng.standard_normal((n, D)) / np.sqrt(D)
    q = size * held + code[:, 0] @ _basis(rng, RANK).T + np.sqrt(mean / (1 - mean)) * _basis(rng, 1)[:, 0]
    noise = np.sqrt(1 - feature) * size[:, None] * rng.standard_normal((n, m, D)) / np.sqrt(D)
    k = noise + (prompt @ maps[0])[:, None] + code @ _basis(rng, RANK).T + 2 * _basis(rng, 1)[:, 0]
    words = np.sqrt(leak / D) * rng.standard_normal((20, D))
    k += words[np.where(np.arange(m) == 0, 0, rng.integers(20, size=(n, m)))] if leak else 0
    return q, k.reshape(-1, D), Pairs(np.arange(n).repeat(m), np.arange(n * m), np.tile([1] + [-1] * (m - 1), n))


def words(rng: np.random.Generator, n: int, match: float, prompt: float) -> tuple[np.ndarray, np.ndarray, LabelNull]:
    """q: (n, D), k: (2n, D) and the null of labels of one head that ties words as random weights do.

    A query has the key of its word and that of another word in its place. match: size of what a word's query and its
    key have in common. prompt: of what a query and both its keys have in common.
    """
    embedding = rng.standard_normal((WORDS, EMBEDDING)) / np.sqrt(EMBEDDING)
    as_query, as_key = (embedding @ rng.standard_normal((EMBEDDING, D)) / np.sqrt(D) for _ in range(2))
    common = match * rng.standard_normal((WORDS, D)) / np.sqrt(D)
    asked = rng.integers(WORDS, size=n)
    word = np.stack([asked, (asked + rng.integers(1, WORDS, n)) % WORDS], axis=1)
    shared = prompt * rng.standard_normal((n, D))
    q = (as_query + common)[asked] + shared + 0.3 * rng.standard_normal((n, D))
    k = (as_key + common)[word] + shared[:, None] + 0.3 * rng.standard_normal((n, 2, D))
    pairs = Pairs(np.arange(n).repeat(2), np.arange(2 * n), np.tile([1, -1], n))
    return q, k.reshape(-1, D), LabelNull(pairs, asked, word.ravel(), word.ravel(), DEALS, int(rng.integers(2**31)))


def _basis(rng: np.random.Generator, r: int) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((D, r)))[0]


# -- what was tested before --------------------------------------------------------------------------------------


class KeysDealt:
    """‖ΔC‖ of queries as they are, and with the signs dealt among each query's keys; the fields are SignNull's."""

    def __init__(self, pairs: Pairs, n: int, seed: int = 0, centred: bool = False):
        rng, order, self.centred = np.random.default_rng(seed), np.argsort(pairs.query, kind="stable"), centred
        self.pairs = pairs.where(order)
        c = self.pairs.coefficient()
        self.dealt = [c, *(c[np.lexsort((rng.random(len(c)), self.pairs.query))] for _ in range(n))]

    def test(self, q: np.ndarray, k: np.ndarray) -> Tested:
        from scipy.sparse import csr_array

        q, k = q.astype(np.float32), k.astype(np.float32)
        q = q - q.mean(axis=0) if self.centred else q
        starts = np.searchsorted(self.pairs.query, np.arange(len(q) + 1))
        W = (csr_array((c.astype(np.float32), self.pairs.key, starts), shape=(len(q), len(k))) for c in self.dealt)
        observed, *null = (float(np.linalg.norm(q.T @ (w @ k))) for w in W)
        return Tested(observed, tuple(null))


def crossed_before(x: np.ndarray, c: np.ndarray, seed: int, energy: float = 0.99) -> int:
    """The cross-validated rank of x and c as they are, with every dimension up to the largest sum."""
    rng, total, confirmed = np.random.default_rng(seed), x.T @ c, 0
    for _ in range(rank.SPLITS):
        half = rng.permutation(len(x))[: len(x) // 2]
        A = x[half].T @ c[half]
        for one, other in ((A, total - A), (total - A, A)):
            U, S, Vt = np.linalg.svd(one)
            confirmed = confirmed + np.sum(U * (other @ Vt.T), axis=0) * S
    held = np.cumsum(confirmed)
    return int(np.argmax(held >= energy * held.max())) + 1 if held.max() > 0 else 0


# -- the tables --------------------------------------------------------------------------------------------------


def shares(n_heads: int, n: int, seed: int, nulls: dict[str, Callable], **head) -> dict[str, float]:
    """{null: the share of heads with p ≤ LEVEL}; nulls: by name, of pairs, deals and a seed."""
    passed = dict.fromkeys(nulls, 0)
    for i in range(n_heads):
        q, k, pairs = planted(np.random.default_rng([seed, i]), n, **head)
        for name, null in nulls.items():
            passed[name] += null(pairs, DEALS, i).test(q, k).p_value <= LEVEL
    return {name: count / n_heads for name, count in passed.items()}


def planted_table(heads: int, strong: int) -> tuple[list[str], list[str]]:
    """The lines of the planted heads, and what does not hold."""
    nulls, failed = {"now": SignNull, "before": KeysDealt}, []
    lines = [
        "| keys a query | mean query | no feature: now | before | 2 % feature: now | before |",
        "|---|---|---|---|---|---|",
    ]
    rows = [(kind, mean, {}) for kind in KEYS for mean in MEANS]
    rows += [(kind, 0.91, {"leak": 0.5}) for kind in KEYS] + [(kind, 0.91, {"uneven": 0.5}) for kind in KEYS]
    for row, (kind, mean, more) in enumerate(rows):
        none = shares(heads, FEW, row, nulls, kind=kind, mean=mean, **more)
        some = shares(strong, MANY, row, nulls, kind=kind, mean=mean, feature=FEATURE, **more)
        title = f"{kind}{''.join(f', {name}' for name in more)}"
        lines.append(
            f"| {title} | {mean:.0%} | {none['now']:.3f} | {none['before']:.3f} | "
            f"{some['now']:.2f} | {some['before']:.2f} |"
        )
        failed += [f"{title} at {mean}: {none['now']:.3f} without a feature"] * (not 0.03 <= none["now"] <= 0.07)
        failed += [f"{title} at {mean}: power {some['now']:.2f}"] * (some["now"] < 0.9 and "uneven" not in more)
    said = f"Shares with p ≤ {LEVEL}: of {heads} heads of {FEW} queries, and of {strong} of {MANY:,}; {DEALS} deals."
    return [*lines, "", said], failed


def words_table(heads: int) -> list[str]:
    """Heads of random weights under both nulls."""
    lines = ["| planted words | signs dealt | labels dealt |", "|---|---|---|"]
    for title, match, prompt in (
        ("no match", 0, 0),
        ("no match, prompts", 0, 0.5),
        ("match", 0.7, 0),
        ("match, prompts", 0.7, 0.5),
    ):
        passed = np.zeros(2)
        for i in range(heads):
            q, k, null = words(np.random.default_rng([i, int(10 * match), int(10 * prompt)]), 400, match, prompt)
            passed += [t.test(q, k).p_value <= LEVEL for t in (SignNull(null.pairs, DEALS, i), null)]
        lines.append(f"| {title} | {passed[0] / heads:.2f} | {passed[1] / heads:.2f} |")
    return [*lines, "", f"Shares with p ≤ {LEVEL} of {heads} heads of 400 queries and {WORDS} words; {DEALS} deals."]


def rank_table(heads: int, seeds: int = 5) -> list[str]:
    """Cross-validated ranks: how far off, and how far apart at several seeds."""
    lines = ["| feature | mean query | error now | seeds differ by | error before | seeds differ by |"]
    lines.append("|---|---|---|---|---|---|")
    for feature in (0.0, 0.1, 0.3):
        for mean in MEANS:
            found = np.zeros((2, heads, seeds))
            for i in range(heads):
                q, k, pairs = planted(np.random.default_rng([int(100 * feature), i]), MANY, "several", mean, feature)
                x, c = rank.units(q, k, pairs)
                for j, estimate in enumerate((rank.cross_validated, crossed_before)):
                    found[j, i] = [estimate(x, c, s) for s in range(seeds)]
            error = np.abs(found - (RANK if feature else 0)).mean(axis=(1, 2))
            apart = np.ptp(found, axis=2).mean(axis=1)
            cells = " | ".join(f"{e:.2f} | {a:.2f}" for e, a in zip(error, apart))
            lines.append(f"| {feature:.0%} | {mean:.0%} | {cells} |")
    said = (
        f"Ranks of {heads} heads of {MANY:,} queries at {seeds} seeds; the true one is {RANK}, or 0 without a feature."
    )
    return [*lines, "", said]


# -- a real model ------------------------------------------------------------------------------------------------


def ingested(store: Path, file: str, layers: tuple[int, ...], n: int) -> list[Run]:
    """The runs of a model and of the same architecture with random weights, on boxes."""
    from bench.encoder import untrained
    from ingest import job, model
    from ingest.prompts import boxes

    names = ("null-boxes", "null-random")
    if not all(job.run_path(store, name).exists() for name in names):
        loaded, prompts = model.load(file), boxes.build(n, "ent", 0, n // 3)
        for name, each in zip(names, (loaded, untrained(loaded))):
            if not job.run_path(store, name).exists():
                job.ingest(store, name, each, prompts, job.Options(layers=layers), task="boxes ent", seed=0)
    return [qkstore.open(store).run(name) for name in names]


def passed(run: Run, name: str) -> dict[str, int]:
    """How many heads pass each null under a built-in contrast."""
    contrast = builtin.feature(run, name)[0]
    rows = analysis.Rows.of(run, contrast, "train")
    before = KeysDealt(rows.local, DEALS, centred=contrast.centring == "queries")
    nulls = {"before": before, "signs": contrast.null(rows.local, DEALS), "labels": label_null(rows, 5 * DEALS + 4)}
    count = dict.fromkeys(nulls, 0)
    for layer in run.layers:
        for head in range(run.n_heads):
            data = rows.read(analysis.Head(run, layer, head))
            for key, null in nulls.items():
                count[key] += null.test(data.q, data.k).p_value <= LEVEL
    return count


def real_table(runs: list[Run]) -> list[str]:
    heads = len(runs[0].layers) * runs[0].n_heads
    lines = [
        f"| heads of {heads} with p ≤ {LEVEL} | before: trained | random | signs: trained | random | "
        "labels: trained | random |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in REAL:
        counts = [passed(run, name) for run in runs]
        cells = " | ".join(f"{c[key]}" for key in ("before", "signs", "labels") for c in counts)
        lines.append(f"| {name} | {cells} |")
    run, n = runs[0], len(analysis.Rows.of(runs[0], builtin.feature(runs[0], "lexical")[0], "train").query)
    layers = f"layers {min(run.layers)} to {max(run.layers)}"
    return [*lines, "", f"{run.model}, {layers}, {n} queries a contrast, train split; weights {run.weights_hash[:12]}."]


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--heads", type=int, default=1000, help="heads without a feature, a row")
    options.add_argument("--strong", type=int, default=60, help="heads with one, a row")
    options.add_argument("--model", help="a model's folder or GGUF file, instead of the planted heads")
    options.add_argument("--store")
    options.add_argument("--layers", default="12-18")
    options.add_argument("--n", type=int, default=300, help="train prompts")
    options.add_argument("--write", action="store_true", help="put the tables into docs/null.md")
    o = options.parse_args(arguments)
    start, failed = time.perf_counter(), []
    if o.model:
        low, high = map(int, o.layers.split("-"))
        with tempfile.TemporaryDirectory() as scratch:
            runs = ingested(Path(o.store or scratch), o.model, tuple(range(low, high + 1)), o.n)
            tables = {"null-real": real_table(runs)}
    else:
        tables = {"null-words": words_table(o.heads), "null-rank": rank_table(max(o.strong // 6, 1))}
        tables["null-planted"], failed = planted_table(o.heads, o.strong)
    for name, lines in tables.items():
        print(*lines, "", sep="\n")
        if o.write:
            write(ROOT / "docs" / "null.md", name, lines)
    print(*failed or ["all as it must be"], f"{time.perf_counter() - start:.0f} s", sep="\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
