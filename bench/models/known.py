"""Known head types: the built-in contrasts beside the textbook's scores, which are computed apart from them.

    python bench/models/known.py [--store store] [--runs NAME ...] [--write]

The textbook's score of a head is the mean attention of its queries on the keys that the type attends to, from a softmax
of the stored queries and keys; beside it stand what `qkstore heads` gives under the contrast of that name. Without
--runs it ingests what the store lacks of SmolLM2-135M-Instruct on plain English (pages of docs/), on words that are
said twice, and, as a control, of random weights on these (a minute each). Exit code 1 where the attention on positive
keys disagrees with the textbook: a rank correlation over all heads below LEAST, or fewer than COMMON of the five best
heads in common. --write puts the table into docs/real.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import qkstore
from bench.page import write
from qkstore.analysis import heads
from qkstore.contrast.known import BY_NAME
from qkstore.text import head_name

PAGES = ("architecture", "deploy", "encoder", "method", "null", "security")  # those that are mostly sentences
DOCS, REPEATS, CONTROL = "smollm2-docs", "smollm2-repeats", "smollm2-random-repeats"
RUNS = {DOCS: "plain English", REPEATS: "words said twice", CONTROL: "the same, random weights"}
TOP = 5
LEAST, COMMON = 0.9, 4
TOKENS = "SELECT prompt_id, pos, token_id FROM token JOIN prompt USING (prompt_id) WHERE split = 'test' ORDER BY 1, 2"
NAMES = ("induction", "previous-token", "same-token")


# -- the textbook ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prompt:
    """A prompt's query rows (n,) and key rows (m,), their positions, and {name: (n, m) whether a key is meant}."""

    queries: np.ndarray
    keys: np.ndarray
    q_pos: np.ndarray
    k_pos: np.ndarray
    targets: dict[str, np.ndarray]


def prompts(run: qkstore.Run) -> list[Prompt]:
    """The test prompts of a run with a key at every token, with what each head type attends to, from token ids alone.

    A prompt's first key is never meant: where it has the query's token too, what rests there would be counted.
    """
    assert run.n_keys == run.n_tokens, "a softmax takes every key"
    ids = pl.from_arrow(run.table(TOKENS))
    (q_prompt, q_pos), (k_prompt, k_pos) = run.query_places, run.key_places
    found = []
    for (prompt,), tokens in ids.group_by("prompt_id", maintain_order=True):
        token, q, k = (
            tokens["token_id"].to_numpy(),
            np.flatnonzero(q_prompt == prompt),
            np.flatnonzero(k_prompt == prompt),
        )
        i, j = q_pos[q][:, None], k_pos[k][None, :]
        before = token[j - 1]
        targets = {
            "induction": (before == token[i]) & (j > 0) & (j < i),
            "previous-token": (j == i - 1) & (j > 0),
            "same-token": (token[j] == token[i]) & (j > 0) & (j < i),
        }
        found.append(Prompt(q, k, q_pos[q], k_pos[k], targets))
    return found


def attention(run: qkstore.Run, layer: int, prompt: Prompt, q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """(n, m) float64: the softmax of a prompt's logits over the keys that each query sees."""
    here = run.layers[layer]
    logits = q[prompt.queries].astype(np.float64) @ k[prompt.keys].astype(np.float64).T * here.scaling
    if here.softcap:
        logits = here.softcap * np.tanh(logits / here.softcap)
    logits[~here.visible(prompt.q_pos[:, None], prompt.k_pos[None, :])] = -np.inf
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def textbook(run: qkstore.Run) -> dict[tuple[int, int], dict[str, float]]:
    """{(layer, head): {name: mean attention on what is meant, over the queries for which there is such a key}}."""
    there, scores = prompts(run), {}
    for layer in run.layers:
        for head in range(run.n_heads):
            q, k = run.queries(layer, head), run.keys(layer, head)
            on: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
            for prompt in there:
                a = attention(run, layer, prompt, q, k)
                for name in NAMES:
                    meant = prompt.targets[name]
                    on[name].append((a * meant).sum(axis=1)[meant.any(axis=1)])
            scores[layer, head] = {name: float(np.concatenate(on[name]).mean()) for name in NAMES}
    return scores


# -- beside the contrasts ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One head type on one run: (layer, head) by the textbook's score and by measures of the contrast, best first."""

    run: str
    name: str
    scores: dict[tuple[int, int], float]
    measured: dict[str, dict[tuple[int, int], float]]

    def best(self, by: dict[tuple[int, int], float]) -> list[tuple[int, int]]:
        return sorted(by, key=lambda head: (-by[head], head))[:TOP]

    def common(self, measure: str) -> int:
        """How many of the TOP heads are the same."""
        return len(set(self.best(self.scores)) & set(self.best(self.measured[measure])))

    def correlation(self, measure: str) -> float:
        """Spearman's, over all heads."""
        pairs = pl.DataFrame(
            [(self.scores[head], value) for head, value in self.measured[measure].items()], orient="row"
        )
        return float(pairs.select(pl.corr("column_0", "column_1", method="spearman")).item())

    @property
    def agrees(self) -> bool:
        return self.correlation("attention_positive") >= LEAST and self.common("attention_positive") >= COMMON

    def told(self) -> str:
        cells = [RUNS.get(self.run, self.run), self.name]
        cells.append(", ".join(f"{head_name(*head)} {self.scores[head]:.2f}" for head in self.best(self.scores)))
        accuracy = self.measured["accuracy"]
        cells.append(", ".join(f"{head_name(*head)} {accuracy[head]:.2f}" for head in self.best(accuracy)))
        for measure in self.measured:
            cells.append(f"{self.correlation(measure):.2f}; {self.common(measure)} of {TOP}")
        return f"| {' | '.join(cells)} |"


HEAD = [
    "| prompts | type | most attention on its keys (textbook) | most accurate under the contrast | accuracy beside the "
    "textbook: rank correlation over all heads; of the five best the same | selectivity | attention on positive keys |",
    "|---|---|---|---|---|---|---|",
]


def rows(run: qkstore.Run) -> list[Row]:
    """A row a head type."""
    scores, made = textbook(run), []
    for name in NAMES:
        found = heads.heads(run, BY_NAME[name], nulls=0)
        measured = {
            measure: {(s.layer, s.head): getattr(s, measure) or 0.0 for s in found}
            for measure in ("accuracy", "selectivity", "attention_positive")
        }
        made.append(Row(run.name, name, {head: each[name] for head, each in scores.items()}, measured))
    return made


# -- the runs ----------------------------------------------------------------------------------------------------------


def build(store: str, controls: dict[str, tuple[str, int]] | None = None) -> None:
    """Ingest what the store lacks of RUNS, or of controls: {run of random weights: (whose text it reads, seed)}."""
    from bench.encoder import untrained
    from ingest import real
    from ingest.cli.model import prepare

    prepare()
    for run in controls or RUNS:
        if (Path(store) / "runs" / f"{run}.duckdb").exists():
            continue
        if controls:
            text, seed = controls[run]
            _ingested(store, run, untrained(real.load(), seed), text)
        else:
            _ingested(store, run, real.load(control=run == CONTROL), run)


def _ingested(store: str, run: str, loaded, text: str) -> None:
    """A run of every token's keys and a sample of its queries, on plain English or on words that are said twice."""
    from ingest import job
    from ingest.prompts import task
    from ingest.prompts.corpus import EVERY, Sample
    from qkstore.cli.terminal import Progress

    chosen = job.Options(positions="all", queries=(EVERY,), sample=Sample(32, 0), answers=False)
    with tempfile.TemporaryDirectory() as folder, Progress() as progress:
        pages = Path(folder) / "docs.txt"
        pages.write_text("".join((ROOT / "docs" / f"{page}.md").read_text() for page in PAGES))
        made = task.for_tokenizer(task.of(str(pages) if text == DOCS else "repeats", 75, 25, None, 0), loaded.tokenizer)
        job.ingest(
            store,
            run,
            loaded,
            made.prompts,
            chosen,
            task=made.name,
            template=made.template,
            seed=made.seed,
            progress=progress,
        )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", default="store")
    parser.add_argument("--runs", nargs="+", help="runs with a key at every token, in place of SmolLM2's")
    parser.add_argument("--write", action="store_true", help="put the table into docs/real.md")
    o = parser.parse_args(arguments)
    if not o.runs:
        build(o.store)
    store, lines, wrong = qkstore.open(o.store), list(HEAD), 0
    for name in o.runs or RUNS:
        run = store.run(name)
        for row in rows(run):
            lines.append(row.told())
            wrong += name != CONTROL and not row.agrees
            print(lines[-1], flush=True)
        queries = sum(len(prompt.queries) for prompt in prompts(run))
        lines.append(f"| | | {queries:,} test queries, {len(run.layers) * run.n_heads} heads | | | | |")
    print("", *lines, sep="\n")
    if o.write:
        write(ROOT / "docs" / "real.md", "known heads", lines)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
