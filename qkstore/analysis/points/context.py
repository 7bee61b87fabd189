"""The tokens about points in their prompts: what a point says when it is pointed at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qkstore.run import Run


@dataclass(frozen=True)
class Context:
    """Tokens near n points, each token once, in the order of prompts and positions.

    texts: the distinct texts. token: (m,) which of them each token is. follows: (m,) whether a token stands right after
    the one before it in the same prompt. at: (n,) which token a point is.
    """

    texts: tuple[str, ...]
    token: np.ndarray
    follows: np.ndarray
    at: np.ndarray

    def near(self, point: int, reach: int) -> tuple[list[str], int]:
        """The texts up to `reach` tokens before and after a point's own, and which of them is its own."""
        own = int(self.at[point])
        start, end = own, own + 1
        while own - start < reach and self.follows[start]:
            start -= 1
        while end - own <= reach and end < len(self.token) and self.follows[end]:
            end += 1
        return [self.texts[i] for i in self.token[start:end]], own - start


def around(run: Run, prompt: np.ndarray, pos: np.ndarray, reach: int) -> Context:
    """The tokens up to `reach` places before and after each of n points at prompt (n,) and pos (n,)."""
    sql = (
        "WITH point AS (SELECT unnest(?::BIGINT[]) AS prompt_id, unnest(?::BIGINT[]) AS pos) "
        "SELECT DISTINCT t.prompt_id, t.pos, t.text FROM token AS t JOIN point AS p ON t.prompt_id = p.prompt_id "
        "AND t.pos BETWEEN p.pos - ? AND p.pos + ? ORDER BY t.prompt_id, t.pos"
    )
    found = run.table(sql, [prompt.tolist(), pos.tolist(), reach, reach])
    of, where = (found[name].to_numpy().astype(np.int64) for name in ("prompt_id", "pos"))
    encoded = found["text"].combine_chunks().dictionary_encode()
    follows = np.concatenate([[False], (np.diff(of) == 0) & (np.diff(where) == 1)])[: len(of)]
    step = 1 + int(max(where.max(initial=0), pos.max(initial=0)))
    at = np.searchsorted(of * step + where, prompt.astype(np.int64) * step + pos)
    return Context(tuple(encoded.dictionary.to_pylist()), encoded.indices.to_numpy(), follows, at)


def texts(run: Run, prompts: tuple[int, ...]) -> dict[int, list[dict]]:
    """{prompt_id: its tokens in order, each with pos and text} of some prompts, in one reading."""
    sql = (
        "SELECT prompt_id, pos, text FROM token WHERE prompt_id IN (SELECT unnest(?::BIGINT[])) ORDER BY prompt_id, pos"
    )
    found: dict[int, list[dict]] = {number: [] for number in prompts}
    for row in run.table(sql, [list(prompts)]).to_pylist():
        found[row.pop("prompt_id")].append(row)
    return found
