"""python -m ingest: runs of the demo model, or of any model that routes through transformers' attention interface."""

from __future__ import annotations

import argparse
import os
import sys

from qkstore.cli.terminal import count, positive
from qkstore.errors import ModelError, QKStoreError
from qkstore.store import DEFAULT

DONE, MISTAKE, INTERRUPTED = 0, 2, 130  # and 1, Python's own, for a bug
LARGEST = 9999  # of a layer or a rank: a range is written out


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
    paper = commands.add_parser("paper", help="the paper's lists and boxes for one model, a run each")
    paper.set_defaults(run_command=_paper)
    toy = commands.add_parser("toy", help="one run, of a head trained here on the paper's toy task")
    toy.set_defaults(run_command=_toy)
    sweep = commands.add_parser(
        "toy-sweep", help="a run for each pair of ranks of a grid, their heads trained together"
    )
    sweep.set_defaults(run_command=_toy_sweep)
    swap = commands.add_parser("intervene", help="swap keys inside the running model, beside the closed form of a run")
    swap.set_defaults(run_command=_intervene)
    store = os.environ.get("QKSTORE") or DEFAULT
    for command in (demo, model, paper, swap, toy, sweep):
        command.add_argument("--store", default=store, help="directory of the store; default $QKSTORE, then ./store")
    model.add_argument("--run", required=True, help="name of the run to be made")
    model.add_argument(
        "--model",
        required=True,
        metavar="PATH_OR_ID",
        help="a local folder, or a hub id such as Qwen/Qwen3-4B-Instruct-2507",
    )
    model.add_argument("--task", required=True, metavar="boxes|lists|FILE.jsonl")
    model.add_argument("--n", type=_count, default=3000, help="train prompts of boxes or lists (default %(default)s)")
    model.add_argument(
        "--n-test", type=_count, default=1000, help="test prompts of boxes or lists (default %(default)s)"
    )
    model.add_argument(
        "--question", choices=("ent", "ord", "both"), default="ent", help="how a boxes prompt names the box asked for"
    )
    model.add_argument(
        "--reflexive", action="store_true", help="boxes: also prompts whose queried pair has another box, a third more"
    )
    model.add_argument("--seed", type=_seed, default=0, help="of boxes and lists")
    model.add_argument("--positions", choices=("labelled", "all"), default="labelled", help="which tokens are stored")
    model.add_argument(
        "--queries",
        type=_names,
        default=("answer_slot",),
        metavar="ROLE[,ROLE]",
        help="roles of the queries (default answer_slot)",
    )
    paper.add_argument(
        "--model", required=True, metavar="demo|PATH_OR_ID", help="the demo model, a local folder or a hub id"
    )
    paper.add_argument(
        "--prefix", help="begins the runs' names: PREFIX-lists, PREFIX-boxes-ent; default the model's name"
    )
    paper.add_argument(
        "--questions",
        type=_names,
        metavar="ent[,ord,both]",
        help="how boxes prompts name the box asked for (default ent; demo: all)",
    )
    paper.add_argument(
        "--scale", type=_number, default=1.0, help="times the paper's numbers of prompts (default 1, at least 0.05)"
    )
    for command in (model, paper):
        command.add_argument(
            "--layers",
            type=_layers,
            metavar="0-31",
            help="such as 0-3,7; default all. The pass stops after the last one",
        )
        command.add_argument(
            "--chat", choices=("auto", "never"), default="auto", help="boxes and lists in the model's chat template"
        )
        command.add_argument("--dtype", choices=("float32", "bfloat16", "float64"), default="float32")
        command.add_argument("--device", default="cpu", help="cpu or cuda")
        command.add_argument("--batch-size", type=_count, default=32, help="prompts at once (default %(default)s)")
        command.add_argument(
            "--limit-memory",
            default="4GB",
            metavar="8GB",
            help="for a batch and for writing, beside the model (default %(default)s)",
        )
    swap.add_argument("--run", required=True, help="the run whose contrasts and queries are used")
    swap.add_argument("--model", required=True, metavar="demo|PATH_OR_ID", help="the model that the run was made with")
    swap.add_argument("--contrast", required=True, help="a built-in or saved name")
    swap.add_argument(
        "--and", dest="other", metavar="CONTRAST", help="a second contrast; both are also swapped together"
    )
    where = swap.add_mutually_exclusive_group()
    where.add_argument(
        "--heads", metavar="1:0,1:2", help="the heads that are edited together, layer:head; default the best one"
    )
    where.add_argument("--layer", type=count, help="every head of a layer")
    swap.add_argument(
        "--rows",
        choices=("last", "all"),
        default="last",
        help="edit the query's row alone, or every row that sees both keys",
    )
    swap.add_argument("--bases", type=count, default=10, help="random bases a rank (default %(default)s)")
    swap.add_argument("--most", type=positive, default=1000, help="queries at most (default %(default)s)")
    swap.add_argument("--seed", type=count, default=0, help="of queries, targets and random bases")
    swap.add_argument("--dtype", choices=("float32", "bfloat16", "float64"), default="float32")
    swap.add_argument("--device", default="cpu", help="cpu or cuda")
    swap.add_argument("--batch-size", type=positive, default=32, help="prompts at once (default %(default)s)")
    swap.add_argument("--json", action="store_true", help="print the whole result as JSON")
    toy.add_argument("--run", help="name of the run to be made; default such as toy-discrete-d16-3-5")
    toy.add_argument("--r1", type=int, required=True, help="dimensions of the first latent")
    toy.add_argument("--r2", type=int, required=True, help="dimensions of the second latent")
    sweep.add_argument(
        "--grid", required=True, metavar="2-6", help="the ranks that r1 and r2 take, such as 2-6 or 4,6,8"
    )
    toy.add_argument(
        "--variant", choices=("discrete", "continuous"), default="discrete", help="latents of signs, or Gaussian"
    )
    sweep.add_argument("--variant", choices=("discrete", "continuous", "both"), default="both")
    for command in (toy, sweep):
        command.add_argument("--d-head", type=int, required=True)
        command.add_argument(
            "--recipe",
            choices=("fast", "paper"),
            default="fast",
            help="2,000 steps with a falling rate, or the paper's Table 1",
        )
        command.add_argument(
            "--noise", type=float, default=0.01, help="standard deviation in the embedding (default %(default)s)"
        )
        command.add_argument("--seed", type=_seed, default=0)
        command.add_argument("--n", type=_count, default=8192, help="triplets of each latent (default %(default)s)")
        command.add_argument(
            "--n-exact", type=_count, default=1024, help="triplets that share payload and noise (default %(default)s)"
        )
        command.add_argument("--n-test", type=_count, default=1000, help="contexts (default %(default)s)")
        command.add_argument("--device", default="cpu", help="cpu or cuda")
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
    from ingest import job
    from ingest.bars import Bars
    from ingest.model import model
    from ingest.prompts import task  # after the options are checked: torch takes seconds to import

    _quiet()
    job.check_new(options.store, options.run)
    job.bytes_of(options.limit_memory)
    prompts = task.of(options.task, options.n, options.n_test, options.question, options.seed, options.reflexive)
    loaded = model.load(options.model, options.dtype, options.device)
    chosen = job.Options(
        options.layers,
        options.positions,
        options.queries,
        options.batch_size,
        options.limit_memory,
        chat=options.chat == "auto" and prompts.built_in and loaded.tokenizer.chat_template is not None,
    )
    with Bars() as progress:
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
        )
    print(path)


def _paper(options: argparse.Namespace) -> None:
    from ingest import job, paper
    from ingest.bars import Bars

    _quiet()
    job.bytes_of(options.limit_memory)
    programme = paper.parts(options.model, options.prefix, options.questions, options.scale)
    chosen = job.Options(options.layers, batch_size=options.batch_size, memory=options.limit_memory)
    with Bars() as progress:
        made = paper.build(
            options.store,
            options.model,
            programme,
            chosen,
            options.dtype,
            options.device,
            options.chat == "auto",
            progress,
        )
    for part in programme:
        print(f"{job.run_path(options.store, part.run)}{'' if part.run in made else ' (was there)'}")


def _intervene(options: argparse.Namespace) -> None:
    from ingest import intervene

    _quiet()
    intervene.intervene(options)


def _toy(options: argparse.Namespace) -> None:
    from ingest import job
    from ingest.toy import toy

    tasks, how = _tasks(options, options.variant, [(options.r1, options.r2)])
    name = options.run or toy.run_name(tasks[0], how)
    job.check_new(options.store, name)
    _train(options, tasks, how, [name])
    print(job.run_path(options.store, name))


def _toy_sweep(options: argparse.Namespace) -> None:
    ranks = _numbers("grid", options.grid)
    variants = ("discrete", "continuous") if options.variant == "both" else (options.variant,)
    stacks = [_tasks(options, variant, [(r1, r2) for r1 in ranks for r2 in ranks]) for variant in variants]
    made = sum(len(_train(options, *stack)) for stack in stacks)
    there = sum(len(tasks) for tasks, _ in stacks) - made
    print(f"{made} toy runs made" + (f", {there} were there already" if there else ""))


def _tasks(options: argparse.Namespace, variant: str, ranks: list[tuple[int, int]]) -> tuple:
    """The tasks of one stack of toy heads, and how they are trained.

    All that is asked for is checked before anything is begun.
    """
    from ingest.model import model
    from ingest.toy import recipe
    from ingest.toy.payload import Payload

    model.check_device("float32", options.device)
    return [
        Payload(variant, options.d_head, r1, r2, noise=options.noise, seed=options.seed) for r1, r2 in ranks
    ], recipe.recipe(options.recipe)


def _train(options: argparse.Namespace, tasks: list, how, names: list[str] | None = None) -> list[str]:
    from ingest.bars import Bars
    from ingest.toy import toy

    sizes = toy.Sizes(options.n, options.n_exact, options.n_test)
    with Bars() as progress:
        return toy.build(options.store, tasks, how, sizes, options.device, names, progress)


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


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def _seed(text: str) -> int:
    """A whole number that a run file can hold."""
    try:
        value = int(text)
    except ValueError:
        value = 2**63
    if not -(2**63) <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed: give a whole number of at most 64 bits")
    return value


def _layers(text: str) -> tuple[int, ...]:
    return _numbers("layers", text)


def _numbers(what: str, text: str) -> tuple[int, ...]:
    """'0-2,7' → (0, 1, 2, 7)."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise ModelError(f"{what} {text!r}: write numbers and ranges, such as 0-3,7")
        if int(last or first) > LARGEST:
            raise ModelError(f"{what} {text!r}: numbers are {LARGEST:,} at most")
        numbers |= set(range(int(first), int(last or first) + 1))
    return tuple(sorted(numbers))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


if __name__ == "__main__":
    sys.exit(main())
