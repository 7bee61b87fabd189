"""Small toy runs for the tests, trained on the spot: seconds, and past the point where their ranks are right."""

from __future__ import annotations

import shutil
from dataclasses import astuple
from pathlib import Path

import once

import qkstore
from ingest.toy import Sizes, build, toy
from ingest.toy.payload import Payload
from ingest.toy.recipe import Recipe, Trained
from ingest.toy.stack import NAMES

SHORT = Recipe("short", 3e-2, 400, cosine=True)
RANKS = ((2, 3), (3, 2), (6, 6))  # room for both latents, and superposition
SIZES = Sizes(n=512, n_exact=64, n_test=200)


def write(
    path: Path,
    variants: tuple[str, ...] = ("discrete", "continuous"),
    ranks=RANKS,
    sizes: Sizes = SIZES,
    seed: int = 0,
) -> Path:
    """A store directory with a run of each variant and pair of ranks, trained once and copied; returns it."""
    (path / "runs").mkdir(parents=True, exist_ok=True)
    for variant in variants:
        of = trained(variant, seed)
        if sizes != SIZES:
            name = "-".join(["toys", variant, *map(str, (*astuple(sizes), seed))])
            of = once.made(name, lambda folder, heads=of, variant=variant: publish(folder, heads, variant, sizes, seed))
        for payload in (Payload(variant, 8, r1, r2, seed=seed) for r1, r2 in ranks):
            file = f"runs/{toy.run_name(payload, SHORT)}.duckdb"
            shutil.copyfile(of / file, path / file)
    return path


def payloads(variant: str, seed: int) -> list[Payload]:
    return [Payload(variant, 8, r1, r2, seed=seed) for r1, r2 in RANKS]


def trained(variant: str, seed: int) -> Path:
    """The store of all heads of a variant, one stack, with runs of SIZES."""
    return once.made(f"toys-{variant}-{seed}", lambda folder: build(folder, payloads(variant, seed), SHORT, SIZES))


def publish(store: Path, heads: Path, variant: str, sizes: Sizes, seed: int) -> None:
    """The same heads, which need no training, with runs of other sizes."""
    for payload in payloads(variant, seed):
        run = qkstore.open(heads).run(name := toy.run_name(payload, SHORT))
        head = Trained(payload, {each: run.weights[each] for each in NAMES}, run.measures)
        toy._publish(store, name, head, SHORT, sizes, "cpu")
        qkstore.open(store).publish(name)
