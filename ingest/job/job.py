"""An ingest: prompts through a model into a run of the store, batch by batch, resumable."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch

import qkstore
from ingest import batches, rounded, trial
from ingest.answers import Answers, frame
from ingest.job import ranks, record
from ingest.job.pace import Pace
from ingest.job.ranks import Share
from ingest.model import Model
from ingest.model.capture import Capture, Captured
from ingest.model.model import most_tokens
from ingest.prompts import Prompt
from ingest.prompts.clock import Clock
from ingest.prompts.corpus import ANSWER_SLOT, Corpus, Positions, Sample
from ingest.prompts.slot import Slot, placed
from qkstore.errors import ModelError, PromptError, RunError
from qkstore.run.incoming import Incoming, space, spool
from qkstore.run.incoming.behind import Behind
from qkstore.run.incoming.labels import Tables
from qkstore.run.incoming.shard import IncomingShard
from qkstore.run.schema import StoreDtype, check_run_name, check_store_dtype
from qkstore.sql.memory import bytes_of
from qkstore.store.work import Work

Progress = Callable[..., None]  # stage ('tokenise', 'capture', 'publish'), done, total; now= what else is to be said
LOG = logging.getLogger("qkstore")


@dataclass(frozen=True)
class Options:
    """What a user chooses of an ingest, beside its model and prompts."""

    layers: tuple[int, ...] | None = None
    positions: Positions = "labelled"
    queries: tuple[str, ...] = (ANSWER_SLOT,)
    sample: Sample | None = None  # of each prompt's queries without one of these roles; None stores all of them
    batch_size: int = 32
    memory: str = "4GB"
    slots: tuple[Slot, ...] = ("plain",)  # of several the one at which the model answers best, see trial
    answers: bool = True  # what the model answers at each prompt, of a model with its LM head
    write_behind: int = 1  # batches that may wait for the disk while the model goes on
    store_dtype: StoreDtype = "float32"  # of the stored vectors; int16 takes half the space, see docs/storage.md


def ingest(
    store: str | Path,
    run: str,
    model: Model,
    prompts: Sequence[Prompt],
    options: Options = Options(),
    *,
    task: str,
    template: str = "",
    seed: int | None = None,
    progress: Progress | None = None,
    share: Share | None = None,
) -> Path:
    """Capture `prompts` and publish them as a run; returns the run file.

    Interrupted, it goes on at the first batch that was not finished when called again with the same arguments, and
    ends in the same vectors. task, template, seed: for the manifest only. share: this process is one of several ranks
    that make the run: it captures every share.of-th batch, and the run is there when the last of them is ready. Its
    vectors are those of one rank to the bit, since batches are the same.
    Raises PromptError, ModelError, RunError or StoreError; nothing is then published.
    """
    check_new(store, run, share)
    check_store_dtype(options.store_dtype)
    folder, shown = qkstore.store.folder(store), progress or (lambda stage, done, total, now="": None)
    with Work(folder, run, share.number if share else None) as work:
        told = work.beside(ranks.together(shown, folder, run, share) if share else shown)
        return _ingest(store, run, model, prompts, options, task, template, seed, told, share)


def _ingest(
    store: str | Path,
    run: str,
    model: Model,
    prompts: Sequence[Prompt],
    options: Options,
    task: str,
    template: str,
    seed: int | None,
    progress: Progress,
    share: Share | None,
) -> Path:
    capture = Capture(model.net, list(options.layers) if options.layers is not None else None)
    begun, room = spool.begun(spool.folder(qkstore.store.folder(store), run)), bytes_of(options.memory) // 2
    clock = Clock.of(begun)
    tried = trial.resumed(options.slots, begun) or trial.of(
        model, capture, prompts, options.slots, clock, options.batch_size, room, progress, options.answers
    )
    if tried.right:
        LOG.warning("%s", tried.told)
    corpus = Corpus(
        model.tokenizer,
        [placed(prompt, tried.slot) for prompt in prompts],
        options.positions,
        options.queries,
        tried.slot != "plain",
        progress,
        clock,
        capture.layers[0].causal,
        options.sample,
    )
    if corpus.left_out:
        LOG.warning("the tokenizer ends a text with %s; it was left out, for the answer comes there", corpus.left_out)
    pieces, words = corpus.split_words()
    if pieces:
        LOG.warning("%d of %d labelled words are more than one token; the last piece stands for each", pieces, words)
    _check_sizes(model, corpus)
    answers = Answers(model.tokenizer, corpus) if options.answers and model.answers else None
    capture.forward.settle([tokens.ids for tokens in corpus.tokens])
    size, side = batches.token_bytes(model, capture), capture.forward.sides
    made = batches.of(corpus, options.batch_size, room, size, side)
    plan = record.plan(model, capture, corpus, options, tried, answers is not None)
    layers = [layer.layer for layer in capture.layers]
    opened = qkstore.open(store, create=True)
    if share and ranks.is_there(opened, run, plan, share):
        return run_path(store, run)
    mine = ranks.batches_of(made, share)
    with (
        IncomingShard(opened.path, run, plan, layers, share) if share else Incoming(opened.path, run, plan, layers)
    ) as incoming:
        fits = space.check(
            incoming.whole, run, *(batches.run_bytes(corpus, capture, t) for t in (options.store_dtype, "float32"))
        )
        with Behind(partial(_put, incoming), options.write_behind) as put:
            done, pace = incoming.done(), Pace(sum(len(made[number]) for number in mine))
            for i, number in enumerate(mine):
                progress("capture", i, len(mine), now=pace.told() or fits)
                if number not in done:
                    put(number, *_captured(number, capture, corpus, made[number], answers, options.store_dtype))
                pace.add(len(made[number]), 0 if number in done else sum(len(corpus.tokens[p]) for p in made[number]))
            put.wait()
        progress("capture", len(mine), len(mine), now=pace.told())
        manifest = record.manifest(run, model, capture, corpus, options, tried.slot, task, template, seed)
        facts = [layer.facts() for layer in capture.layers]
        measures = {"labelled words": words, "of them more than one token": pieces} | tried.measures()
        told = {"progress": lambda done, total: progress("publish", done, total), "memory": bytes_of(options.memory)}
        if isinstance(incoming, IncomingShard):
            incoming.publish_shard(facts, options.store_dtype, **told)
            if not incoming.complete:
                return run_path(store, run)
            prompts = [ranks.prompts_of(made, Share(i, incoming.share.of)) for i in range(incoming.share.of)]
            incoming.assemble(manifest, facts, partial(_tables, corpus), prompts, measures)
        else:
            incoming.publish(manifest, facts, *_tables(corpus, incoming.answers()), **told, measures=measures)
    return opened.publish(run)


def run_path(store: str | Path, run: str) -> Path:
    return qkstore.store.folder(store) / "runs" / f"{check_run_name(run)}.duckdb"


def check_new(store: str | Path, run: str, share: Share | None = None) -> None:
    """Raises RunError if the run is there, RoleError where none may be added; to be asked before anything slow.

    A rank may find the run that the others have finished: see ranks.is_there.
    """
    qkstore.store.check_may_add(store)
    if share:
        return
    path, bucket = run_path(store, run), qkstore.store.bucket(store)
    if bucket and run in bucket.names():
        raise RunError(f"run {run!r} is in {bucket.url} already; choose another --run")
    if bucket and path.exists():
        raise RunError(
            f"run {run!r} was made here and did not reach {bucket.url}: send it with "
            f"`qkstore push --store {path.parent.parent} --to {store} --run {run}`, or delete {path}"
        )
    if path.exists():
        raise RunError(
            f"run {run!r} is in the store already; choose another --run, or first "
            f"`qkstore remove --store {path.parent.parent} --run {run}`, which says what would be lost"
        )


def _tables(corpus: Corpus, answers: np.ndarray | None) -> Tables:
    """The labels of a run, with what the model answers at each prompt."""
    prompts = corpus.prompt_frame()
    if answers is not None:
        prompts = pl.concat([prompts, frame(answers, len(prompts))], how="horizontal")
    return Tables(prompts, corpus.token_frame(), corpus.row_frame("query"), corpus.row_frame("key"))


def _captured(
    number: int, capture: Capture, corpus: Corpus, chosen: list[int], answers: Answers | None, store_dtype: str
) -> tuple[list[int], list[int], Captured, np.ndarray | None]:
    """A batch's query and key rows, its vectors, and what the model answers."""
    ids = [corpus.tokens[p].ids for p in chosen]
    wanted = [corpus.queries[p] for p in chosen], [corpus.keys[p] for p in chosen]
    try:
        captured = capture(ids, *wanted, ends=[answers.place(p) for p in chosen] if answers else None)
    except torch.OutOfMemoryError:
        size = f"{len(ids)} prompts of up to {max(map(len, ids))} tokens"
        raise ModelError(
            f"batch {number}, {size}, needs more memory than there is; use a smaller --batch-size"
        ) from None
    if store_dtype == "int16":
        captured = replace(captured, logsumexp=rounded.logsumexp(captured, capture.layers, *wanted))
    told = answers.read(chosen, captured.logits) if answers else None
    return corpus.rows("query", chosen), corpus.rows("key", chosen), captured, told


def _put(
    incoming: Incoming, number: int, query_rows: list, key_rows: list, captured: Captured, answers: np.ndarray | None
) -> None:
    q, k, logsumexp = captured.q.float().numpy(), captured.k.float().numpy(), captured.logsumexp.numpy()
    incoming.put(number, query_rows, key_rows, q, k, logsumexp, answers=answers)


def _check_sizes(model: Model, corpus: Corpus) -> None:
    longest = max(range(len(corpus)), key=lambda p: len(corpus.tokens[p]))
    limit = most_tokens(model.net)
    if limit and len(corpus.tokens[longest]) > limit:
        raise PromptError(
            f"prompt {longest} has {len(corpus.tokens[longest])} tokens, {model.name!r} takes at most {limit}"
        )
    rows = model.net.get_input_embeddings().weight.shape[0]
    highest = max(max(t.ids) for t in corpus.tokens)
    if highest >= rows:
        raise ModelError(
            f"the tokenizer of {model.name!r} gives token {highest}, its model knows {rows}: "
            "they do not belong together"
        )
