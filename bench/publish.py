"""Publishing a run against a raw write of the same bytes: megabytes a CPU second, peak memory, peak disk.

    python bench/publish.py [--layers 2] [--prompts 6200] [--full] [--memory 4000] [--batches 64]

Vectors of the shape of Llama-3.1-8B's heads (32 heads, 8 KV heads, 128 wide) and nine keys a prompt are spooled by the
project's own path, then published; --full: 8 layers, 2.8 GB. The floor writes the same bytes by np.save and syncs them.
Each side runs in a process of its own, so that its peak memory is its own; disk is that of the spool and the file
together, looked at after every commit. What was published is compared with what was drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import qkstore
from qkstore.run.incoming import Incoming

HEADS, KV_HEADS, D, KEYS = 32, 8, 128, 9


def layer(number: int, rows: int, heads: int) -> np.ndarray:
    """(heads, rows, D): drawn anew wherever they are asked for, so that nobody has to keep them."""
    return np.random.default_rng([number, heads]).standard_normal((heads, rows, D), dtype=np.float32)


def frames(n: int) -> dict[str, pl.DataFrame]:
    """The tables of n prompts of KEYS boxes and an answer slot."""
    prompt, place = np.arange(n).repeat(KEYS + 1), np.tile(np.arange(KEYS + 1), n)
    role = np.where(place == KEYS, "answer_slot", "box")
    same = {"token_id": place, "text": role, "char_start": place, "char_end": place + 1, "role": role, "span": place}
    tokens = pl.DataFrame({"prompt_id": prompt, "pos": place} | same | {"span_last": np.full(len(prompt), True)})
    each = {"id": [f"p{i}" for i in range(n)]} | {
        name: [value] * n for name, value in (("text", "x"), ("split", "train"), ("variant", "base"))
    }
    prompts = pl.DataFrame({"prompt_id": np.arange(n)} | each).with_columns(
        counterfactual_id=pl.lit(None), answer=pl.lit(None)
    )
    rows = {
        f"{side}_rows": tokens.filter(pl.col("role") == of).select("prompt_id", "pos").with_row_index(f"{side}_row")
        for side, of in (("query", "answer_slot"), ("key", "box"))
    }
    return {"prompts": prompts, "tokens": tokens, **rows}


def spool(incoming: Incoming, layers: int, n: int, batches: int) -> None:
    """Prompts in a random order, as batches of like length have them; a batch holds all layers."""
    order = np.random.default_rng(0).permutation(n)
    q, k = ([layer(i, rows, heads) for i in range(layers)] for rows, heads in ((n, HEADS), (n * KEYS, KV_HEADS)))
    for number, chosen in enumerate(np.array_split(order, batches)):
        keys = (chosen[:, None] * KEYS + np.arange(KEYS)).ravel()
        some = np.stack([a[:, chosen] for a in q]), np.stack([a[:, keys] for a in k])
        incoming.put(number, chosen, keys, *some, np.zeros((layers, HEADS, len(chosen))))


def used(folder: Path) -> int:
    """Bytes on the disk under a folder, of files that may go away meanwhile."""
    found = 0
    for path in folder.rglob("*"):
        try:
            found += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return found


def publish(store: Path, layers: int, n: int, memory: int) -> dict[str, float]:
    """Publish what was spooled, and compare a head of each layer with what was drawn."""
    manifest = dict(model="bench", architecture="none", n_layers=layers, n_heads=HEADS, n_kv_heads=KV_HEADS, d_head=D)
    manifest |= dict(dtype="float32", task="bench")
    rules = [dict(layer=i, scaling=D**-0.5, softcap=None, window=None, causal=True) for i in range(layers)]
    made, disk = frames(n), [used(store)]

    def watched(done: int, total: int) -> None:
        disk.append(used(store))

    with Incoming(store, "bench", {}) as incoming:
        begun, cpu = time.perf_counter(), time.process_time()
        path = incoming.publish(manifest, rules, **made, progress=watched, memory=memory * 10**6)
        wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    run = qkstore.open(store).run("bench")
    for i in range(layers):
        assert np.array_equal(run.queries(i, i), layer(i, n, HEADS)[i]), "what was published is not what was captured"
        assert np.array_equal(run.keys(i, 4 * i), layer(i, n * KEYS, KV_HEADS)[i])
    size = path.stat().st_size
    return {"wall": wall, "cpu": cpu, "peak": peak, "size": size, "disk": max(disk) / size}


def raw(folder: Path, layers: int, n: int) -> dict[str, float]:
    """The same vectors, sorted already, by np.save into a file for each layer, synced."""
    wall = cpu = 0.0
    for i in range(layers):
        for name, rows, heads in (("q", n, HEADS), ("k", n * KEYS, KV_HEADS)):
            array = layer(i, rows, heads)
            begun, at = time.perf_counter(), time.process_time()
            with open(folder / f"{name}-{i}.npy", "wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file)
            wall, cpu = wall + time.perf_counter() - begun, cpu + time.process_time() - at
    return {"wall": wall, "cpu": cpu}


def side(what: str, folder: str, o: argparse.Namespace) -> dict[str, float]:
    """One side, in a process of its own."""
    words = [sys.executable, __file__, "--side", what, "--folder", folder, "--memory", str(o.memory)]
    words += ["--layers", str(o.layers), "--prompts", str(o.prompts), "--batches", str(o.batches)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout or "{}")


def measure(o: argparse.Namespace) -> tuple[dict[str, float], dict[str, float], float]:
    """(publishing, the raw write, megabytes of vectors)."""
    with tempfile.TemporaryDirectory() as folder:
        floor = side("raw", folder, o)
    with tempfile.TemporaryDirectory() as folder:
        qkstore.open(folder, create=True)
        side("spool", folder, o)
        ours = side("publish", folder, o)
    return ours, floor, o.layers * o.prompts * (HEADS + KEYS * KV_HEADS) * D * 4 / 1e6


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("--layers", 3), ("--prompts", 6200), ("--batches", 64)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--memory", type=int, default=4000, help="megabytes")
    parser.add_argument("--full", action="store_true", help="8 layers, 2.8 GB")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    o = parser.parse_args(arguments)
    o.layers = 8 if o.full else o.layers
    return o


def rows(arguments: list[str] | None = None) -> list[dict]:
    """What `make bench` shows of it: work, peer, measured, ratio, aim."""
    o = parsed(arguments or [])
    ours, floor, size = measure(o)
    speed, raw_speed = size / ours["cpu"], size / floor["cpu"]
    work = f"publish {size:,.0f} MB of vectors, {o.layers} layers of the 8B's heads"
    return [
        {
            "work": work,
            "peer": f"np.save and fsync of the same bytes: {raw_speed:,.0f} MB a CPU s",
            "measured": f"{speed:,.0f} MB a CPU s, {ours['cpu'] / ours['wall']:.1f} cores at work",
            "ratio": raw_speed / speed,
            "aim": "≥ 100 MB a CPU s a core",
            "peak": ours["peak"],
        },
        {
            "work": "its disk while at it",
            "peer": f"the run file, {ours['size'] / 1e6:,.0f} MB",
            "measured": f"{ours['disk']:.2f} times the file",
            "ratio": ours["disk"],
            "aim": "≤ 1.3",
            "peak": ours["peak"],
        },
    ]


def main(arguments: list[str] | None = None) -> int:
    o = parsed(arguments)
    if o.side == "spool":
        with Incoming(o.folder, "bench", {}) as incoming:
            spool(incoming, o.layers, o.prompts, o.batches)
    elif o.side:
        told = (
            publish(o.folder, o.layers, o.prompts, o.memory)
            if o.side == "publish"
            else raw(o.folder, o.layers, o.prompts)
        )
        print(json.dumps(told))
    else:
        for row in rows(arguments):
            print(*(f"{name:9s}{value}" for name, value in row.items()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
