"""Every text model of transformers, tiny and random: is what is stored the model's own attention of each prompt alone?

    python bench/sweep.py [--only TYPE ...] [--device cuda] [--json FILE] [--write]

Each type is built small in float64 and read at two ranges of lengths, each prompt alone, and together, padded on the
right and on the left. Softmax over the stored vectors is compared with the attention that the model itself returns for
each prompt alone, by its eager kernel. A type is `equal` (to LIMIT), `refused` in one line, or could not be built; all
else is `WRONG` and gives exit code 1. --write: the table of docs/architectures.md anew.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import transformers as tf
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

import tiny

from ingest.model.attention import kernels_kept
from ingest.model.capture import Capture
from ingest.model.sides import forget
from qkstore.errors import ModelError

LIMIT = 1e-5  # of an attention weight
LEFT_LIMIT = 1e-3  # the same, padded left: linear attention is computed in float32, in chunks that begin elsewhere then
SECONDS = 60  # a type that takes longer could not be built
LENGTHS = {"short": (3, 5, 7), "long": (12, 30, 21)}  # on both sides of the thresholds that bench/tiny.py sets
BEGIN, END = "<!-- sweep: begin -->", "<!-- sweep: end -->"


@dataclass(frozen=True)
class Outcome:
    """What came of a type (`equal`, `refused`, `not built`, `WRONG`), why or what was read, the largest difference."""

    name: str
    outcome: str
    said: str
    gap: float | None = None


class TooLong(BaseException):  # no Exception: the capture tells those in a line of its own
    pass


class NothingToCompare(Exception):
    """The model gives no attention of its own."""


def outcome(name: str, device: str = "cpu") -> Outcome:
    """Of one type; whatever happens is an outcome."""
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    try:
        net = tiny.net(name).to(device)
    except (Exception, TooLong) as error:  # configs and models are programs, and raise what they like
        return Outcome(name, "not built", _line(error))
    finally:
        signal.alarm(0)
    signal.alarm(SECONDS)
    try:
        return compared(name, net)
    except ModelError as error:
        return Outcome(name, "refused", _line(error))
    except (NothingToCompare, TooLong) as error:
        return Outcome(name, "not built", _line(error))
    except Exception as error:
        return Outcome(name, "WRONG", f"{type(error).__name__}: {_line(error)}")
    finally:
        signal.alarm(0)


def compared(name: str, net) -> Outcome:
    """Equal or WRONG; raises ModelError where the model is refused."""
    capture = _capture(net)
    gaps = {}
    for span, lengths in LENGTHS.items():
        prompts = [tiny.ids(n, net) for n in lengths]
        own = [attentions(net, row, capture) for row in prompts]
        for how, batches in _ways(prompts).items():
            for padding, batch in batches:
                gap, key = _gap(capture, prompts, own, batch, padding), f"{span}, {how}"
                gaps[key] = float(np.maximum(gaps.get(key, 0.0), gap))  # lets NaN through
    layer, worst = capture.layers[0], max(gaps, key=gaps.get)
    numbers = ",".join(str(each.layer) for each in capture.layers)
    read = f"layers {numbers}: {layer.n_heads} heads, {layer.n_kv_heads} KV heads, {layer.d_head} wide"
    if not all(gap <= (LEFT_LIMIT if "left" in how else LIMIT) for how, gap in gaps.items()):  # NaN is not
        return Outcome(name, "WRONG", f"{worst}: off by {gaps[worst]:.2g} ({read})", gaps[worst])
    return Outcome(name, "equal", read, gaps[worst])


def _capture(net) -> Capture:
    """Of all layers, or of the first that a refusal names as those that go together."""
    try:
        return Capture(net)
    except ModelError as error:
        named = re.search(r"--layers ([\d,-]+)", str(error))
        if not named:
            raise
        parts = [part.partition("-") for part in named[1].split(",")]
        return Capture(net, [n for first, _, last in parts for n in range(int(first), int(last or first) + 1)])


def attentions(net, row: list[int], capture: Capture) -> dict[int, np.ndarray]:
    """{layer: (heads, n, n)} as the model itself returns it for one prompt, by its eager kernel."""
    forget(net)
    try:
        with kernels_kept(net), torch.inference_mode():
            net.set_attn_implementation("eager")
            given = net(input_ids=torch.tensor([row], device=net.device), output_attentions=True)
    except Exception as error:
        raise NothingToCompare(f"its own eager kernel fails: {_line(error)}") from None
    given = [a[0].double().cpu().numpy() for a in getattr(given, "attentions", None) or () if a is not None]
    if not given:
        raise NothingToCompare("it returns no attention of its own to compare with")
    numbers, total = sorted(capture.every), getattr(net.config.get_text_config(), "num_hidden_layers", None)
    if len(given) == total:  # linear attention, which has no softmax, gives something too
        given = [given[n] for n in numbers]
    if len(given) != len(numbers):
        raise ValueError(f"the model returns {len(given)} attentions, {len(numbers)} layers are read")
    return dict(zip(numbers, given, strict=True))


def _ways(prompts: list[list[int]]) -> dict[str, list[tuple[str, list[int]]]]:
    """{how: [(padding, numbers of prompts)]}."""
    together = list(range(len(prompts)))
    return {
        "alone": [("right", [p]) for p in together],
        "padded right": [("right", together)],
        "padded left": [("left", together)],
    }


def _gap(capture: Capture, prompts, own, chosen: list[int], padding: str) -> float:
    """The largest difference of an attention weight; 0 where such prompts may not share a batch, which is a refusal."""
    rows = [prompts[p] for p in chosen]
    every = [list(range(len(row))) for row in rows]
    try:
        captured = capture(rows, every, every, padding)
    except ModelError as error:
        if len(chosen) > 1 and re.search("share a batch|pad on the right", str(error)):
            return 0.0
        raise
    worst, start = 0.0, 0
    for p, row in zip(chosen, rows, strict=True):
        part = slice(start, start + len(row))
        for i, layer in enumerate(capture.layers):
            mine = weights(layer, captured.q[i, :, part], captured.k[i, :, part], captured.logsumexp[i, :, part])
            theirs = own[p][layer.layer]
            if np.allclose(theirs.sum(-1), 1):  # some models give their weights before a sink takes its share
                mine = mine / mine.sum(-1, keepdims=True)
            worst = float(np.maximum(worst, np.abs(mine - theirs).max()))  # lets NaN through
        start += len(row)
    return worst


def weights(layer, q, k, logsumexp) -> np.ndarray:
    """(heads, n, n): exp(logit − log-sum-exp) where the layer's rule lets a query see a key."""
    at = np.arange(q.shape[1])
    seen = np.asarray(layer.visible(at[:, None], at[None, :]))
    return np.where(seen, np.exp((layer.logits(q[None], k[None])[0] - logsumexp[..., None]).numpy()), 0.0)


def table(seen: list[Outcome]) -> str:
    """The Markdown between the markers."""
    counts = {kind: sum(o.outcome == kind for o in seen) for kind in ("equal", "refused", "not built", "WRONG")}
    lines = [f"transformers {tf.__version__}, {len(seen)} types: " + ", ".join(f"{n} {k}" for k, n in counts.items())]
    lines += ["", "| type | outcome | what was read, or why not |", "|---|---|---|"]
    lines += [f"| {o.name} | {o.outcome} | {o.said.replace('|', '/')} |" for o in seen]
    return "\n".join(lines)


def _too_long(*_) -> None:
    raise TooLong(f"took longer than {SECONDS} s")


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines) if len(lines) < 3 else lines[0]
    return re.sub(r"0x[0-9a-f]+|/[\w./-]*/", "…", said)[:200] or type(error).__name__


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="TYPE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true")
    o = parser.parse_args(arguments)
    tf.logging.set_verbosity_error()
    torch.set_num_threads(1)
    seen = []
    for name in o.only or [*sorted(set(MODEL_MAPPING_NAMES) & set(CONFIG_MAPPING)), *tiny.VARIANTS]:
        seen.append(outcome(name, o.device))
        print(f"{seen[-1].outcome:9s}  {name:28s} {seen[-1].said}", flush=True)
    if o.json:
        o.json.write_text(json.dumps([asdict(each) for each in seen], indent=1))
    if o.write:
        page = ROOT / "docs" / "architectures.md"
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{table(seen)}\n{END}{rest.partition(END)[2]}")
    print(table(seen).splitlines()[0])
    return int(any(each.outcome == "WRONG" for each in seen))


if __name__ == "__main__":
    sys.exit(main())
