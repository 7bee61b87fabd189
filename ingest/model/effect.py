"""The effect of edits: attention of the edited heads and of later ones, and the answers, of every prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ingest.model.edit import Case, Head, Pass
from qkstore.analysis.live import SHARES, Replies
from qkstore.analysis.targets import Targets
from qkstore.intervention import Swap
from qkstore.run import Run


class Effect:
    """What one set of edits did to n prompts, filled batch by batch.

    edited: (n, heads, 2) attention of the edited heads on original and target. downstream: (n, 2), its mean over the
    later heads, 0 where there are none. later: (later heads, 2), sums over prompts. replies: the answers, see put.
    """

    def __init__(self, n: int, heads: list[Head], later: list[Head]):
        self.heads, self.places = heads, later
        self.edited, self.downstream = np.zeros((n, len(heads), 2)), np.zeros((n, 2))
        self.later = np.zeros((len(later), 2))
        self.replies = Replies(np.zeros(n), np.zeros(n, bool), np.zeros(n, bool))

    def put(self, chosen: Sequence[int], shown: Pass, ids: np.ndarray | None) -> None:
        """Take in what a pass showed of the prompts numbered `chosen`.

        ids: (all prompts, 2) tokens of original and target, to read the answers; None where they are not known, and the
        replies then stay zeros.
        """
        attention = {layer: values.cpu().numpy() for layer, values in shown.attention.items()}
        self.edited[chosen] = np.stack([attention[layer][:, head] for layer, head in self.heads], axis=1)
        if self.places:
            later = np.stack([attention[layer][:, head] for layer, head in self.places], axis=1)  # (batch, places, 2)
            self.downstream[chosen] = later.mean(axis=1)
            self.later += later.sum(axis=0)
        if ids is not None:
            pair = torch.from_numpy(ids[chosen]).to(shown.logits.device)
            original, aimed = shown.logits.gather(1, pair).double().cpu().numpy().T
            top = shown.logits.argmax(dim=1).cpu().numpy()
            self.replies.difference[chosen] = aimed - original
            self.replies.original[chosen], self.replies.target[chosen] = top == ids[chosen, 0], top == ids[chosen, 1]


@dataclass(frozen=True)
class Moved:
    """What a condition did, a Swap for each of its bases: in the running model, in closed form, and in later heads."""

    live: dict[Head, list[Swap]]
    closed: dict[Head, list[Swap]]
    downstream: list[Swap] | None


def swap(before: np.ndarray, after: np.ndarray) -> Swap:
    """The Swap of (n, 2) attention on original and target, before and after."""
    return Swap(*before.T, *after.T)


def gap(one: Swap, other: Swap) -> float:
    """The largest difference between two Swaps of the same prompts, over prompts and shares."""
    return max(float(np.abs(getattr(one, name) - getattr(other, name)).max()) for name in SHARES)


def later(places: list[Head], before: Effect, after: list[Effect]) -> list[dict]:
    """{layer, head, and its mean attention before and after} of every later head, over prompts (and bases)."""
    n, moved = len(before.edited), np.mean([a.later for a in after], axis=0)
    return [
        {"layer": layer, "head": head} | dict(zip(SHARES, map(float, (*before.later[i] / n, *moved[i] / n))))
        for i, (layer, head) in enumerate(places)
    ]


def unanswered(run: Run, tokenizer, targets: Targets, cases: list[Case], ids: np.ndarray) -> str | None:
    """Why the answers cannot be read, or None.

    The original key's token must be the one with which the prompt's answer begins.
    """
    prompts = run.table("SELECT prompt_id, text, answer FROM prompt ORDER BY prompt_id").to_pylist()
    for number, case, (original, aimed) in zip(run.query_places[0][targets.query], cases, ids, strict=True):
        prompt = prompts[number]
        if prompt["answer"] is None:
            return f"prompt {number} has no answer"
        if case.query != len(case.ids) - 1:
            return f"the query of prompt {number} is not its last token, after which the answer stands"
        token = next_token(tokenizer, prompt["text"], prompt["answer"], case.ids)
        if token != original:
            said = "cannot be told from its text" if token is None else f"is {tokenizer.decode([token])!r}"
            return (
                f"the first token of prompt {number}'s answer {said}, "
                f"its original key is {tokenizer.decode([int(original)])!r}"
            )
        if aimed == original:
            return f"original and target of prompt {number} are the same token"
    return None


def next_token(tokenizer, text: str, answer: str, ids: list[int]) -> int | None:
    """The token after the prompt's when its answer is written behind it, spaces around the answer left out.

    The whole is tokenised, never the answer alone.
    """
    answer = answer.strip()
    for gap in ("",) if text[-1:].isspace() else (" ", ""):
        for special in (True, False):  # a chat's text holds its special tokens already
            whole = tokenizer(text + gap + answer, add_special_tokens=special, verbose=False)["input_ids"]
            if whole[: len(ids)] == ids and len(whole) > len(ids):
                return whole[len(ids)]
    return None
