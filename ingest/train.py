"""Trains the demo model: a two-layer Qwen3 of 0.25 M parameters that answers the boxes and lists prompts.

    python -m ingest.train OUT_DIR

One thread, one seed, schedules by steps: the same seed gives the same weights, bit for bit, on the same machine
and library versions. Three things make heads of layer 1 bind at the answer slot, where the store looks for them:

- Two layers. With three, a question's word can look the box up and the answer slot copies it from there.
- While training, the question sees little of the list besides its box letters (`sight`). Otherwise the full stop
  after a box, or the next sentence, gathers entity and box in layer 0 and is attended to in the box's place.
- In some texts one head of layer 1 speaks alone (`gates`). Otherwise one pair of heads takes the entity and the other
  the place, and no head shows both cues.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from ingest.curriculum import Curriculum, Text
from ingest.prompts import Prompt, boxes, lists
from ingest.prompts.words import BOXES
from ingest.vocabulary import BOS, words
from ingest.vocabulary import tokenizer as new_tokenizer

STEPS = 1600
BATCH = 64
LR_MATRICES = 4e-3  # Muon, the layers' matrices
LR_OTHERS = 2e-3  # AdamW, embedding and norms
ALL_TOKENS = 0.05  # weight of the loss on every token, beside the loss on the answers
HIDDEN = 0.8  # share of the list's words, box letters aside, that the question cannot see
OPEN = 0.15  # share of the texts in which it sees all
SOLO = 0.25  # share of the texts in which one head of layer 1 speaks alone
EMBEDDING_STD = 0.1  # five times the usual, so that entities start nearly orthogonal and stay so
GAIN = 1.15  # of layer 1's QK-norms at the start: a head that answers by two cues needs room for both logits
SHARPEN = 1.6  # factor of layer 1's logits after training: once answers are right, nothing makes attention sharper

Progress = Callable[[int, int, dict[str, float]], None]


def new_model(seed: int) -> Qwen3ForCausalLM:
    """The untrained model; head_dim 64, for in 32 dimensions a random 5-d swap already moves attention."""
    config = Qwen3Config(
        vocab_size=len(words()),
        hidden_size=96,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=None,
        attn_implementation="sdpa",
    )
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config)
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=EMBEDDING_STD)
    attention = model.model.layers[-1].self_attn
    for norm in (attention.q_norm, attention.k_norm):
        torch.nn.init.constant_(norm.weight, GAIN)
    return model


def train(out_dir: str | Path, seed: int = 0, steps: int = STEPS, progress: Progress | None = None) -> Path:
    """Train from scratch and write a Hugging Face folder (config, safetensors weights, tokenizer) to `out_dir`.

    progress: called every 50 steps with the step, `steps`, and the moving averages of right answers by kind of text.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order; more threads gain nothing at this size
    try:
        with torch.random.fork_rng(devices=[]):
            model = new_model(seed)
            _run(model, Curriculum(seed), random.Random(f"train {seed}"), steps, progress)
            _sharpen(model)
    finally:
        torch.set_num_threads(threads)
    return _save(model, Path(out_dir), {"seed": seed, "steps": steps, "batch": BATCH, "torch": torch.__version__})


def _run(
    model: Qwen3ForCausalLM, curriculum: Curriculum, rng: random.Random, steps: int, progress: Progress | None
) -> None:
    ids = {word: i for i, word in enumerate(words())}
    optimizers = _optimizers(model)
    gate = _Gate(model)
    for step in range(steps):
        texts = [curriculum.draw() for _ in range(BATCH)]
        read, write = encode(texts, ids)
        gate.values = gates(len(texts), model.config, rng) if curriculum.learned else None
        logits = model(input_ids=read, attention_mask=sight(texts, read.shape[1], rng), use_cache=False).logits
        _loss(texts, logits, write).backward()
        for optimizer, rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * _schedule(step, steps)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        _mark(texts, logits.argmax(-1).tolist(), curriculum)
        if progress and (step % 50 == 49 or step == steps - 1):
            progress(step + 1, steps, dict(curriculum.accuracy))
    gate.remove()


def encode(texts: list[Text], ids: dict[str, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids read and to be written, each (batch, longest): word i is written at position i; -100 is padding."""
    longest = max(len(text.words) for text in texts)
    read = torch.zeros(len(texts), longest, dtype=torch.long)
    write = torch.full((len(texts), longest), -100)
    for row, text in enumerate(texts):
        tokens = torch.tensor([ids[word] for word in (BOS, *text.words)])
        read[row, : len(text.words)] = tokens[:-1]
        write[row, : len(text.words)] = tokens[1:]
    return read, write


def sight(texts: list[Text], longest: int, rng: random.Random) -> torch.Tensor:
    """Who sees whom, (batch, 1, longest, longest) bool: causal, less part of the list for the words that ask for it.

    Of pairs, the question sees the box letters, and other words at random: what a box letter has gathered is then the
    one dependable source. Of items, only the answer slot sees any. The list's own words always see each other.
    """
    see = torch.ones(longest, longest, dtype=torch.bool).tril().repeat(len(texts), 1, 1, 1)
    for row, text in enumerate(texts):
        if rng.random() < OPEN:
            continue
        asking = range(text.listed + 1, len(text.words))  # a word's position is its index + 1, for BOS stands at 0
        if text.kind == "list":
            rows = [i for i in asking if i not in text.answers]
            hidden = list(range(1, text.listed + 1))
        else:
            rows = list(asking)
            said = enumerate(text.words[: text.listed], start=1)
            hidden = [i for i, word in said if word not in BOXES and rng.random() < HIDDEN]
        see[row, 0, torch.tensor(rows)[:, None], hidden] = False
    return see


def gates(n: int, config: Qwen3Config, rng: random.Random) -> torch.Tensor:
    """Factors of layer 1's head outputs, (n, 1, n_heads * head_dim): ones, or one head alone at its fourfold."""
    heads = config.num_attention_heads
    factors = torch.ones(n, heads)
    for row in range(n):
        if rng.random() < SOLO:
            factors[row] = 0.0
            factors[row, rng.randrange(heads)] = float(heads)
    return factors.repeat_interleave(config.head_dim, 1)[:, None]


class _Gate:
    """Scales the outputs of the last layer's heads by `values` while that is set."""

    def __init__(self, model: Qwen3ForCausalLM) -> None:
        self.values: torch.Tensor | None = None
        self._hook = model.model.layers[-1].self_attn.o_proj.register_forward_pre_hook(self._scale)

    def _scale(self, _: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor] | None:
        return None if self.values is None else (inputs[0] * self.values,)

    def remove(self) -> None:
        self._hook.remove()


def _optimizers(model: Qwen3ForCausalLM) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the layers' matrices; with AdamW alone the first stage was never left."""
    inner = {name for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name}
    matrices = [p for name, p in model.named_parameters() if name in inner]
    others = [p for name, p in model.named_parameters() if name not in inner]
    muon = torch.optim.Muon(matrices, lr=LR_MATRICES, weight_decay=0.01, momentum=0.95)
    adam = torch.optim.AdamW(others, lr=LR_OTHERS, betas=(0.9, 0.98), weight_decay=0.0)
    return [(muon, LR_MATRICES), (adam, LR_OTHERS)]


def _schedule(step: int, steps: int) -> float:
    """Factor of the learning rates: 50 steps up, then flat, then linearly down over the last 30 %."""
    return min(1.0, (step + 1) / 50) * min(1.0, max(0.02, (steps - step) / (0.3 * steps)))


def _loss(texts: list[Text], logits: torch.Tensor, write: torch.Tensor) -> torch.Tensor:
    losses = cross_entropy(logits.flatten(0, 1), write.flatten(), ignore_index=-100, reduction="none")
    losses = losses.view_as(write)
    answers = torch.zeros_like(write, dtype=torch.bool)
    for row, text in enumerate(texts):
        answers[row, list(text.answers)] = True
    return losses[answers].mean() + ALL_TOKENS * losses[write >= 0].mean()


def _mark(texts: list[Text], said: list[list[int]], curriculum: Curriculum) -> None:
    """Score the batch (answers that cannot be known left out) and move the curriculum on."""
    vocabulary = words()
    for text, row in zip(texts, said, strict=True):
        marks = [vocabulary[row[i]] in right for i, right in text.answers.items() if right]
        if marks:
            curriculum.score(text.kind, sum(marks) / len(marks))
    curriculum.advance()


@torch.no_grad()
def _sharpen(model: Qwen3ForCausalLM) -> None:
    """Raise the answer slot's attention to its box from about 0.7 to 0.9; the answers stay the same."""
    model.model.layers[-1].self_attn.q_norm.weight *= SHARPEN


def _save(model: Qwen3ForCausalLM, out: Path, recipe: dict[str, object]) -> Path:
    model.save_pretrained(out)
    new_tokenizer().save_pretrained(out)
    (out / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")
    return out


def accuracy(model_dir: str | Path, n: int, seed: int) -> dict[str, float]:
    """Share of right answers over n fresh base prompts of each kind: 'ent', 'ord', 'both' and 'list'.

    Half of them are of the train split's words and half of the test split's (the model is trained on all words;
    the splits are for subspaces). The answer is the likeliest next word; of a list any queried item counts.
    """
    model = AutoModelForCausalLM.from_pretrained(model_dir, trust_remote_code=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_dir, trust_remote_code=False)
    half = (n + 1) // 2
    kinds = {question: boxes.build(half, question, seed, n_test=n - half) for question in boxes.QUESTIONS}
    kinds["list"] = lists.build(half, seed, n_test=n - half)
    base = {kind: [p for p in prompts if p.variant == "base"] for kind, prompts in kinds.items()}
    return {kind: share(model, tokenizer, prompts) for kind, prompts in base.items()}


@torch.no_grad()
def share(model: Qwen3ForCausalLM, tokenizer: AutoTokenizer, prompts: list[Prompt]) -> float:
    """Share of the prompts (all of one length) whose likeliest next word is among their `answers`."""
    right = 0
    for start in range(0, len(prompts), 250):
        batch = prompts[start : start + 250]
        read = tokenizer([p.text for p in batch], return_tensors="pt", return_token_type_ids=False)
        said = tokenizer.convert_ids_to_tokens(model(**read, logits_to_keep=1).logits[:, -1].argmax(-1).tolist())
        right += sum(word in answers(prompt) for word, prompt in zip(said, batch, strict=True))
    return right / len(prompts)


def answers(prompt: Prompt) -> set[str]:
    """The words that answer a prompt: its box, or every listed item of the queried category."""
    return {prompt.text[span.start : span.end] for span in prompt.spans if span.labels.get("is_answer")}


if __name__ == "__main__":
    import sys

    if len(sys.argv) != 2:
        sys.exit("usage: python -m ingest.train OUT_DIR")
    train(sys.argv[1], progress=lambda step, steps, by_kind: print(f"{step}/{steps}", by_kind, flush=True))
    print(accuracy(sys.argv[1], 1000, 1))
