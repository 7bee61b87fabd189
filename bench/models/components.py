"""Components of a real model's heads: SmolLM2-135M-Instruct on boxes that end in a statement.

python bench/models/components.py [--store store]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from ingest import job, real
from ingest.cli.model import prepare
from ingest.prompts import Prompt
from qkstore.cli.terminal import Progress

RUN = "smollm2-components"
N, N_TEST = 1500, 500  # base prompts of train words and of held-out words: what components are found and judged on
PAIRED = 600  # train prompts of the paper's other variants, which its contrasts are made of


def prompts() -> list[Prompt]:
    """Base prompts of both splits, and of the others as many as the paper's contrasts need."""
    kept, left = [], {"counterfactual": PAIRED, "fixed": PAIRED}
    for prompt in real.prompts(N, N_TEST).prompts:
        if prompt.variant == "base":
            kept.append(prompt)
        elif prompt.split == "train" and left[prompt.variant]:
            left[prompt.variant] -= 1
            kept.append(prompt)
    return kept


def build(store: str, progress: job.Progress | None = None) -> Path:
    """Ingest the run where the store lacks it: every layer, at the slot of docs/real.md."""
    path = job.run_path(store, RUN)
    if path.exists():
        return path
    task, options = real.prompts(1, 1), job.Options(slots=(real.SLOT,))
    told = {"task": task.name, "template": task.template, "seed": real.SEED, "progress": progress}
    return job.ingest(store, RUN, real.load(), prompts(), options, **told)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", default="store")
    o = parser.parse_args(arguments)
    prepare()
    with Progress() as progress:
        build(o.store, progress)
    return 0


if __name__ == "__main__":
    sys.exit(main())
