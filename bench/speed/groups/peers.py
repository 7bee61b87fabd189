"""nnsight's and TransformerLens' caches of the same vectors, each in an environment that the bench makes for them."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.speed import turns
from bench.speed.row import Row, not_run
from bench.speed.scale import Scale
from bench.speed.synthetic import ROOT

PEERS = ("transformer-lens", "nnsight")
WANTED, PLACE = Path(__file__).parents[1] / "requirements-peers.txt", ROOT / "build" / "bench-peers"
INSTALL_S = 200.0


class NotHere(Exception):
    """The environment cannot be made; the message says why."""


def python(place: Path = PLACE) -> Path:
    """The Python of the peers' environment, made once: over this one's packages, so that torch is the same.

    Raises NotHere where the packages cannot be had.
    """
    made, stamp = place / "bin" / "python", place / "installed"
    wanted = WANTED.read_text() + sys.version
    if stamp.exists() and stamp.read_text() == wanted:
        return made
    venv.create(place, clear=True, with_pip=True)
    beside = Path(sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)}))
    (beside / "beside.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    pins = ROOT / "setup" / "constraints.txt"
    command = [made, "-m", "pip", "install", "--quiet", "--no-input", "-r", WANTED, "-c", pins]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        raise NotHere(f"the packages were not installed within {INSTALL_S:.0f} s") from None
    if done.returncode:
        raise NotHere([line for line in done.stderr.splitlines() if line.startswith("ERROR")][-1:] or "pip failed")
    stamp.write_text(wanted)
    return made


def measure(peer: str, scale: Scale) -> Iterator[Row]:
    work = f"q and k of all heads beside {peer}"
    try:
        interpreter = python()
    except NotHere as why:
        yield not_run(f"peers-{peer}", work, str(why))
        return
    out = scale.folder / f"{peer}.json"
    options = ["--full"] * scale.full + ["--plant"] * turns.planted
    subprocess.run([interpreter, "-m", "bench.speed.cache", peer, out, *options], check=True, cwd=ROOT)
    yield Row.of(json.loads(out.read_text()))


MEASURES = {f"peers-{peer}": partial(measure, peer) for peer in PEERS}
