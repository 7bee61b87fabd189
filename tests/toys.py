"""Small toy runs for the tests, trained on the spot: seconds, and past the point where their ranks are right."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import once

from ingest.toy import Sizes, build
from ingest.toy.payload import Payload
from ingest.toy.recipe import Recipe

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
    for variant in variants:
        payloads = [Payload(variant, 8, r1, r2, seed=seed) for r1, r2 in ranks]
        name = "-".join(["toys", variant, *(f"{r1}x{r2}" for r1, r2 in ranks), *map(str, (*astuple(sizes), seed))])
        once.runs(name, path, lambda folder, payloads=payloads: build(folder, payloads, SHORT, sizes))
    return path
