"""A second contrast on the same prompts: a store's answer against a new pass over all of them, as the paper has it.

Written from the paper's text (sections 3 and 5.2): the vectors of one head are read by a hook while the model runs, and
C+ and C− are means of outer products, pair by pair. The pass leaves out the LM head, which it does not need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

import qkstore
from bench.speed import turns
from bench.speed.row import Row, not_run
from bench.speed.scale import Scale
from bench.speed.synthetic import ORDER
from ingest import demo, job, model, real
from ingest.prompts import Prompt, boxes
from ingest.prompts.corpus import Corpus
from qkstore.analysis import covariance
from qkstore.errors import ModelError

LEAST, SAME, BATCH = 100.0, 1e-4, 32
FIRST = ORDER.replace(name="first", positive="k.order_id = 1", negative="k.order_id <> 1")
MISSED = "the model is so small that a pass costs little more than opening its vectors"


class Way:
    """The paper's way: one pass over all prompts a contrast and head."""

    def __init__(self, loaded: model.Model, prompts: Sequence[Prompt], layer: int, head: int):
        self.net, self.prompts, self.layer, self.head = loaded.net, prompts, layer, head
        self.corpus = Corpus(loaded.tokenizer, prompts)

    def __call__(self) -> np.ndarray:
        """(d, d) ΔC of the order contrast."""
        attention, seen = self.net.get_decoder().layers[self.layer].self_attn, []
        hook = attention.register_forward_pre_hook(
            lambda module, args, options: seen.append(self._read(module, args, options)), with_kwargs=True
        )
        try:
            sums, counts = self._sums(seen)
        finally:
            hook.remove()
        return (sums[True] / counts[True] - sums[False] / counts[False]).double().numpy()

    def _sums(self, seen: list) -> tuple[dict, dict]:
        d = self.net.config.head_dim
        sums, counts = {side: torch.zeros(d, d) for side in (True, False)}, {True: 0, False: 0}
        for start in range(0, len(self.prompts), BATCH):
            chosen = range(start, min(start + BATCH, len(self.prompts)))
            self._pass([self.corpus.tokens[p].ids for p in chosen])
            q, k = seen.pop()
            for p, prompt_q, prompt_k in zip(chosen, q, k):
                for place, positive in self._boxes(p):
                    sums[positive] += torch.outer(prompt_q[self.corpus.queries[p][0]], prompt_k[place])
                    counts[positive] += 1
        return sums, counts

    def _pass(self, ids: list[list[int]]) -> None:
        longest = max(map(len, ids))
        real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
        with torch.inference_mode():
            self.net.get_decoder()(input_ids=padded, attention_mask=real, use_cache=False)

    def _read(self, module: torch.nn.Module, args: tuple, options: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """q and k of the head, (batch, length, d) each, after QK-norm and rotary embedding."""
        hidden = args[0] if args else options["hidden_states"]
        shape = (*hidden.shape[:2], -1, module.head_dim)
        q, k = module.q_proj(hidden).view(shape), module.k_proj(hidden).view(shape)
        if hasattr(module, "q_norm"):
            q, k = module.q_norm(q), module.k_norm(k)
        q, k = apply_rotary_pos_emb(q.transpose(1, 2), k.transpose(1, 2), *options["position_embeddings"])
        return q[:, self.head], k[:, self.head // module.num_key_value_groups]

    def _boxes(self, p: int) -> Iterator[tuple[int, bool]]:
        """The position of each stored box of a prompt, and whether it is that of the order asked for."""
        prompt, tokens = self.prompts[p], self.corpus.tokens[p]
        for place in self.corpus.keys[p]:
            span = tokens.span[place]
            if span is not None and prompt.spans[span].role == "box" and tokens.span_last[place]:
                yield place, prompt.spans[span].labels["order_id"] == prompt.labels["queried_order"]


def measure(load: Callable[[], tuple[model.Model, str]], n: int, at: tuple[int, int], scale: Scale) -> Iterator[Row]:
    """The row of a model: n prompts, and the head at (layer, head)."""
    try:
        loaded, name = load()
    except ModelError as error:
        yield not_run("authors-real", "a second contrast on a real model", str(error))
        return
    torch.set_num_threads(1)
    prompts = [p for p in boxes.build(n, "ent", 0, n_test=0) if p.variant == "base"]
    job.ingest(scale.folder, name, loaded, prompts, job.Options(layers=(at[0],)), task="bench")
    run, way = qkstore.open(scale.folder).run(name), Way(loaded, prompts, *at)
    covariance(run, FIRST, *at)  # the first contrast of the run
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        found["ours"] = covariance(run, ORDER, *at).delta

    def theirs() -> None:
        found["theirs"] = way()

    both = turns.paired(ours, theirs, 3 if name == "demo" else 2).inverse
    off = np.linalg.norm(found["ours"] - found["theirs"]) / np.linalg.norm(found["theirs"])
    assert off < SAME, f"ΔC differs by {off:.1e} from that of outer products"
    yield row(name, loaded, prompts, both)


def row(name: str, loaded: model.Model, prompts: Sequence[Prompt], both: turns.Paired) -> Row:
    (theirs, ours) = both.medians
    return Row(
        f"authors-{name}",
        f"a second contrast of one head, {len(prompts):,} prompts of {loaded.name}",
        "the paper's way: a pass over all prompts, an outer product a pair",
        f"{1000 * ours:.0f} ms; theirs {theirs:.1f} s, {1000 * theirs / len(prompts):.1f} ms a prompt",
        *both.beside,
        faster=True,
        aim=f"≥ {LEAST:.0f} times faster",
        met=both.ratio >= LEAST,
        missed=MISSED,
        figures={"ours_s": ours, "theirs_s": theirs},
    )


def of_demo() -> tuple[model.Model, str]:
    return model.load(str(demo.MODEL)), "demo"


def of_real() -> tuple[model.Model, str]:
    return real.load(), "real"


MEASURES = {
    "authors-demo": partial(measure, of_demo, 3000, (1, 0)),
    "authors-real": partial(measure, of_real, 64, (17, 0)),
}
