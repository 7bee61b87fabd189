"""What an ingest costs on a busy machine, by how torch's threads wait for work.

    python bench/machine/threads.py [--prompts 400] [--rounds 3] [--write]

As many processes as there are processors compute without end; beside them `python -m ingest model` stores boxes prompts
through a small Llama of random weights, once with torch's own threads, which wait for work in a loop, once as the
command sets them, and once with --threads 1, in turns. Wall and CPU seconds of each ingest, start and all, and prompts
a second. --write puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers as tf

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.page import write
from ingest import demo

BUSY = "import os\nparent, x = os.getppid(), 1\nwhile os.getppid() == parent: x = sum(range(10**6))"  # not for ever
PLAIN = ["-c", "from ingest.__main__ import main; main()"]  # without what `python -m ingest` sets
WAYS = {  # {how: (how python is called, arguments)}
    "as torch has it: they wait in a loop": (PLAIN, []),
    "as the command sets it: they sleep": (["-m", "ingest"], []),
    "--threads 1": (["-m", "ingest"], ["--threads", "1"]),
}


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """The machine, with that many processes that compute."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def model(folder: Path) -> None:
    """A Llama of random weights, 384 wide and 12 layers deep, with the demo's tokenizer."""
    torch.manual_seed(0)
    config = tf.LlamaConfig(
        vocab_size=512, hidden_size=384, intermediate_size=1024, num_hidden_layers=12, num_attention_heads=6
    )
    tf.LlamaModel(config).save_pretrained(folder)
    tf.AutoTokenizer.from_pretrained(demo.MODEL).save_pretrained(folder)


def ingest(store: Path, net: Path, prompts: int, how: str) -> tuple[float, float]:
    """Wall and CPU seconds of one ingest in a process of its own."""
    called, arguments = WAYS[how]
    command = [sys.executable, *called, "model", "--store", store, "--run", "busy", "--model", net]
    command += ["--task", "boxes", "--n", prompts, "--n-test", 1, *arguments]
    unset = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(list(map(str, command)), env=unset, cwd=ROOT, check=True, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    o = parser.parse_args(arguments)
    cores = len(os.sched_getaffinity(0))
    times: dict[str, list[tuple[float, float]]] = {how: [] for how in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        net = Path(folder) / "model"
        model(net)
        for n in range(o.rounds):
            for number, how in enumerate(WAYS):
                with busy(cores):
                    times[how].append(ingest(Path(folder) / f"{n}-{number}", net, o.prompts, how))
    lines = ["| threads | wall seconds | CPU seconds | prompts a second |", "|---|---|---|---|"]
    for how, seen in times.items():
        wall, cpu = (statistics.median(each) for each in zip(*seen, strict=True))
        lines.append(f"| {how} | {wall:.1f} | {cpu:.1f} | {o.prompts / wall:.0f} |")
    lines += ["", f"{cores} CPU cores, as many busy processes; medians of {o.rounds} rounds of {o.prompts} prompts."]
    print(*lines, sep="\n")
    if o.write:
        write(ROOT / "docs" / "performance.md", "threads", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
