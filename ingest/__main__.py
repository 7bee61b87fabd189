"""python -m ingest: runs of the demo model, or of any model that routes through transformers' attention interface."""

from __future__ import annotations

import argparse
import os
import sys

from qkstore.errors import ModelError, QKStoreError
from qkstore.store import DEFAULT

DONE, MISTAKE, INTERRUPTED = 0, 2, 130  # and 1, Python's own, for a bug


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise QKStoreError(f"{message} ({self.prog} --help lists the options)")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code. A user's mistake is one line on stderr, a bug a traceback."""
    try:
        options = parser().parse_args(arguments)
        options.run_command(options)
    except QKStoreError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    return DONE


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="python -m ingest", description="Put a model's queries and keys into a store.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="the demo runs, of the small model that comes along")
    demo.add_argument("--train", action="store_true", help="first train the demo model anew, from its seed (minutes)")
    demo.set_defaults(run_command=_demo)
    model = commands.add_parser("model", help="one run, of a model and prompts of your choice")
    model.set_defaults(run_command=_model)
    store = os.environ.get("QKSTORE") or DEFAULT
    for command in (demo, model):
        command.add_argument("--store", default=store, help="directory of the store; default $QKSTORE, then ./store")
    model.add_argument("--run", required=True, help="name of the run to be made")
    model.add_argument("--model", required=True, metavar="PATH_OR_ID", help="a local folder, or a hub id such as Qwen/Qwen3-4B-Instruct-2507")
    model.add_argument("--task", required=True, metavar="boxes|lists|FILE.jsonl")
    model.add_argument("--n", type=_count, default=3000, help="train prompts of boxes or lists (default %(default)s)")
    model.add_argument("--n-test", type=_count, default=1000, help="test prompts of boxes or lists (default %(default)s)")
    model.add_argument("--question", choices=("ent", "ord", "both"), default="ent", help="how a boxes prompt names the box asked for")
    model.add_argument("--seed", type=int, default=0, help="of boxes and lists")
    model.add_argument("--layers", type=_layers, metavar="0-31", help="such as 0-3,7; default all. The pass stops after the last one")
    model.add_argument("--positions", choices=("labelled", "all"), default="labelled", help="which tokens are stored")
    model.add_argument("--queries", type=_names, default=("answer_slot",), metavar="ROLE[,ROLE]", help="roles of the queries (default answer_slot)")
    model.add_argument("--chat", choices=("auto", "never"), default="auto", help="boxes and lists in the model's chat template")
    model.add_argument("--dtype", choices=("float32", "bfloat16", "float64"), default="float32")
    model.add_argument("--device", default="cpu", help="cpu or cuda")
    model.add_argument("--batch-size", type=_count, default=32, help="prompts at once (default %(default)s)")
    model.add_argument("--limit-memory", default="4GB", metavar="8GB", help="for a batch and for writing, beside the model (default %(default)s)")
    return top


def _demo(options: argparse.Namespace) -> None:
    from ingest import demo
    from ingest.bars import Bars

    _quiet()
    with Bars() as progress:
        made = demo.build(options.store, progress, options.train)
    there = len(demo.RUNS) - len(made)
    print(f"{len(made)} demo runs made" + (f", {there} were there already" if there else ""))


def _model(options: argparse.Namespace) -> None:
    from ingest import job, model, task  # after the options are checked: torch takes seconds to import
    from ingest.bars import Bars

    _quiet()
    job.check_new(options.store, options.run)
    job.bytes_of(options.limit_memory)
    prompts = task.of(options.task, options.n, options.n_test, options.question, options.seed)
    loaded = model.load(options.model, options.dtype, options.device)
    chosen = job.Options(
        options.layers, options.positions, options.queries, options.batch_size, options.limit_memory,
        chat=options.chat == "auto" and prompts.built_in and loaded.tokenizer.chat_template is not None,
    )
    with Bars() as progress:
        path = job.ingest(
            options.store, options.run, loaded, prompts.prompts, chosen,
            task=prompts.name, template=prompts.template, seed=prompts.seed, progress=progress,
        )
    print(path)


def _quiet() -> None:
    """Leave stderr to the bars and to the one line of an error."""
    import transformers
    from huggingface_hub.utils import disable_progress_bars

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    disable_progress_bars()


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of prompts")
    return int(text)


def _layers(text: str) -> tuple[int, ...]:
    """'0-2,7' → (0, 1, 2, 7)."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise ModelError(f"layers {text!r}: write numbers and ranges, such as 0-3,7")
        numbers |= set(range(int(first), int(last or first) + 1))
    return tuple(sorted(numbers))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


if __name__ == "__main__":
    sys.exit(main())
