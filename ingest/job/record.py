"""What an ingest writes down of itself: the plan that decides its vectors, and the manifest of its run."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import qkstore
from ingest import trial
from ingest.model import Model
from ingest.model.capture import Capture, ranges
from ingest.prompts.corpus import Corpus
from ingest.prompts.slot import Slot
from qkstore.store.source import code_key

if TYPE_CHECKING:
    from ingest.job.job import Options

LIBRARIES = ("torch", "transformers", "tokenizers", "duckdb", "numpy")


def plan(model: Model, capture: Capture, corpus: Corpus, options: Options, tried: trial.Trial, answers: bool) -> dict:
    """Everything that decides the stored vectors, for Incoming to compare on resuming; answers: are they read."""
    return {
        "weights": model.weights_hash,
        "prompts": corpus.digest(),
        "layers": ranges(layer.layer for layer in capture.layers),
        "positions": options.positions,
        "queries": list(options.queries),
        "dtype": model.dtype,
        "store_dtype": options.store_dtype,
        "device": model.device,
        "batch_size": options.batch_size,
        "memory": options.memory,
        "code": code_version(),
        "libraries": libraries(),
        "sample": options.sample and options.sample._asdict(),
        "answers": answers,
        **tried.plan(),
        **({"clock": corpus.clock.told()} if corpus.clock.asked else {}),
    }


def manifest(
    run: str,
    model: Model,
    capture: Capture,
    corpus: Corpus,
    options: Options,
    slot: Slot,
    task: str,
    template: str,
    seed: int | None,
) -> dict:
    """The columns of a run's manifest that an ingest knows."""
    layer = capture.layers[0]
    templated = slot != "plain" or any(p.messages for p in corpus.prompts)
    return {
        "run": run,
        "model": model.name,
        "revision": model.revision,
        "weights_hash": model.weights_hash,
        "quantisation": model.quantisation,
        "architecture": model.architecture,
        "n_layers": model.n_layers,
        "n_heads": layer.n_heads,
        "n_kv_heads": layer.n_kv_heads,
        "d_head": layer.d_head,
        "dtype": model.dtype,
        "store_dtype": options.store_dtype,
        "task": task,
        "prompt_template": template or None,
        "chat_template": str(model.tokenizer.chat_template) if templated else None,
        "bos": corpus.bos,
        "positions": options.positions,
        "query_roles": list(options.queries),
        "seed": seed,
        "code_version": code_version(),
        "libraries": libraries(),
    }


def code_version() -> str:
    """The package's version and 12 digits of a hash of ingest's source: equal values, equal capture."""
    return f"{qkstore.__version__} {code_key('ingest')[:12]}"


def libraries() -> str:
    """The versions of what decides vectors."""
    return ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
