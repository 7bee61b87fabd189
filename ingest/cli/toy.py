"""The commands that train toy heads: toy and toy-sweep."""

from __future__ import annotations

import argparse

from ingest.cli.model import Add, with_device
from qkstore.cli.terminal import Progress, count, ranges, seed, whole


def toy(add: Add) -> None:
    sub = add("toy", _toy, "one run, of a head trained here on the paper's toy task")
    sub.add_argument("--run", help="name of the run to be made; default such as toy-discrete-d16-3-5")
    sub.add_argument("--r1", type=whole, required=True, help="dimensions of the first latent")
    sub.add_argument("--r2", type=whole, required=True, help="dimensions of the second latent")
    sub.add_argument(
        "--variant", choices=("discrete", "continuous"), default="discrete", help="latents of signs, or Gaussian"
    )
    _with_training(sub)


def _toy(options: argparse.Namespace) -> None:
    from ingest import job
    from ingest.toy import toy

    tasks, how = _tasks(options, options.variant, [(options.r1, options.r2)])
    name = options.run or toy.run_name(tasks[0], how)
    job.check_new(options.store, name)
    _train(options, tasks, how, [name])
    print(job.run_path(options.store, name))


def sweep(add: Add) -> None:
    sub = add("toy-sweep", _sweep, "a run for each pair of ranks of a grid, their heads trained together")
    sub.add_argument(
        "--grid",
        type=ranges("grid"),
        required=True,
        metavar="2-6",
        help="the ranks that r1 and r2 take, such as 2-6 or 4,6,8",
    )
    sub.add_argument("--variant", choices=("discrete", "continuous", "both"), default="both")
    _with_training(sub)


def _sweep(options: argparse.Namespace) -> None:
    variants = ("discrete", "continuous") if options.variant == "both" else (options.variant,)
    ranks = [(r1, r2) for r1 in options.grid for r2 in options.grid]
    stacks = [_tasks(options, variant, ranks) for variant in variants]
    made = sum(len(_train(options, *stack)) for stack in stacks)
    there = sum(len(tasks) for tasks, _ in stacks) - made
    print(f"{made} toy runs made" + (f", {there} were there already" if there else ""))


def _with_training(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--d-head", type=whole, required=True)
    sub.add_argument(
        "--recipe",
        choices=("fast", "paper"),
        default="fast",
        help="2,000 steps with a falling rate, or the paper's Table 1",
    )
    sub.add_argument(
        "--noise", type=float, default=0.01, help="standard deviation in the embedding (default %(default)s)"
    )
    sub.add_argument("--seed", type=seed, default=0)
    sub.add_argument("--n", type=count, default=8192, help="triplets of each latent (default %(default)s)")
    sub.add_argument(
        "--n-exact", type=count, default=1024, help="triplets that share payload and noise (default %(default)s)"
    )
    sub.add_argument("--n-test", type=count, default=1000, help="contexts (default %(default)s)")
    with_device(sub)


def _tasks(options: argparse.Namespace, variant: str, ranks: list[tuple[int, int]]) -> tuple:
    """The tasks of one stack of toy heads, and how they are trained.

    All that is asked for is checked before anything is begun.
    """
    from ingest.model import model
    from ingest.toy import recipe
    from ingest.toy.payload import Payload

    model.check_device("float32", options.device)
    tasks = [Payload(variant, options.d_head, r1, r2, noise=options.noise, seed=options.seed) for r1, r2 in ranks]
    return tasks, recipe.recipe(options.recipe)


def _train(options: argparse.Namespace, tasks: list, how, names: list[str] | None = None) -> list[str]:
    from ingest.toy import toy

    sizes = toy.Sizes(options.n, options.n_exact, options.n_test)
    with Progress() as progress:
        return toy.build(options.store, tasks, how, sizes, options.device, names, progress)
