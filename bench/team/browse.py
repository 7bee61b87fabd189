"""Ten people browse a team's store, while nothing else happens there and while two runs are pushed into it.

    python bench/team/browse.py [--windows 8] [--seconds 8] [--think 2] [--limit 2]

`qkstore serve` shows a store whose catalogue is Debian's PostgreSQL and whose runs are in a folder. Ten sessions speak
its WebSocket protocol: each asks for a page of a head, waits until the server says that the page is finished, looks at
it for a moment, and asks for the next. In half of the windows two `qkstore push` copy runs of more than 100 MB there,
one after the other without a pause. Prints what a page took, from request to end; exit code 1 where any page showed an
error, or the 95th percentile beside pushes is more than --limit times that without.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench.team.session import Answer, Session, command, served

SESSIONS, PUSHES = 10, 2
PAGES = ("", "heads", "contrasts", "subspaces", "projections", "interventions", "attributions")
CONTRASTS = ("order", "lexical")
SHOWN = dict(n=400, n_layers=4, n_heads=8, n_kv_heads=4)  # the run that is browsed
PUSHED = dict(n=1024, n_layers=32, n_heads=32, n_kv_heads=16)  # 144 MB
DRAWS = 2000


def views(n: int) -> Iterator[tuple[str, dict[str, object]]]:
    """(page, choices), all pages in turn, each time of another head and contrast; from another place for each n."""
    while True:
        layer, head = n // SHOWN["n_heads"] % SHOWN["n_layers"], n % SHOWN["n_heads"]
        yield PAGES[n % len(PAGES)], {"run": "shown", "contrast": CONTRASTS[n % 2], "layer": layer, "head": head}
        n += 1


# -- what runs beside it ---------------------------------------------------------------------------------------------


class Pushing:
    """Pushes of one run, one after the other, from its start to its end; each goes to a store that has not got it."""

    def __init__(self, here: Path, there: Path, run: str, target: Path):
        self._words = command("push", "--store", here, "--to", there, "--run", run)
        self._final = target / "runs" / f"{run}.duckdb"
        self.done, self.failed, self._over = 0, [], threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while not self._over.is_set():
            self._final.unlink(missing_ok=True)
            push = subprocess.Popen(self._words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            while push.poll() is None and not self._over.wait(0.05):
                pass
            if push.poll() is None:
                push.kill()
            said = push.communicate()[1]
            if push.returncode == 0:
                self.done += 1
            elif not self._over.is_set():
                self.failed.append(said.strip().splitlines()[-1] if said else f"exit code {push.returncode}")

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        self._final.unlink(missing_ok=True)


# -- the measurement -------------------------------------------------------------------------------------------------


def window(sessions: list[Session], places: list[Iterator], seconds: float, think: float, seed: int) -> list[Answer]:
    """What all sessions saw in so many seconds, each with pauses of `think` seconds on average."""
    until = time.perf_counter() + seconds

    def browse(number: int) -> list[Answer]:
        seen, rng = [], random.Random(f"{seed} {number}")
        time.sleep(rng.uniform(0, think))
        while time.perf_counter() < until:
            page, choices = next(places[number])
            seen.append(sessions[number].ask(page, **choices))
            time.sleep(min(rng.expovariate(1 / think), 3 * think) if think else 0)
        return seen

    with ThreadPoolExecutor(len(sessions)) as pool:
        return [answer for seen in pool.map(browse, range(len(sessions))) for answer in seen]


def measured(team: Path, here: Path, target: Path, o: argparse.Namespace) -> tuple[dict[str, list[Answer]], list[str]]:
    """{"idle" or "pushing": answers}, and what was said of pushes.

    The windows are idle, pushing, pushing, idle, and so on: what changes with time is in both alike.
    """
    seen: dict[str, list[Answer]] = {"idle": [], "pushing": []}
    pushed, failed = 0, []
    with served(team) as (port, _):
        sessions, places = [Session(port) for _ in range(SESSIONS)], [views(5 * i) for i in range(SESSIONS)]
        window(sessions, places, o.seconds, 0, -1)  # not measured: what a server does once
        for number in range(o.windows):
            pushes = [Pushing(here, team, f"pushed-{i}", target) for i in range(PUSHES)] if number % 4 in (1, 2) else []
            try:
                seen["pushing" if pushes else "idle"] += window(sessions, places, o.seconds, o.think, number)
            finally:
                for push in pushes:
                    push.end()
            pushed, failed = pushed + sum(p.done for p in pushes), failed + [f for p in pushes for f in p.failed]
        for session in sessions:
            session.__exit__()
    if not pushed:
        failed.append("no push was finished in any window")
    return seen, [f"{pushed} pushes finished", *(f"push: {line}" for line in failed)]


def p95(seconds: np.ndarray) -> float:
    return float(np.quantile(seconds, 0.95))


def ratio(idle: np.ndarray, pushing: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """p95 beside pushes ÷ p95 without, and the ends of its 95 % interval by bootstrap over pages."""
    rng = np.random.default_rng(seed)
    drawn = [p95(rng.choice(pushing, len(pushing))) / p95(rng.choice(idle, len(idle))) for _ in range(DRAWS)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return p95(pushing) / p95(idle), float(low), float(high)


def table(seen: dict[str, list[Answer]]) -> list[str]:
    lines = ["| window | pages | p50, ms | p95, ms | slowest, ms | errors |", "|---|---|---|---|---|---|"]
    for name, answers in seen.items():
        ms = 1000 * np.array([answer.seconds for answer in answers])
        errors = sum(len(answer.errors) for answer in answers)
        lines.append(f"| {name} | {len(ms)} | {np.median(ms):.0f} | {p95(ms):.0f} | {ms.max():.0f} | {errors} |")
    return lines


@contextmanager
def store(folder: Path) -> Iterator[tuple[Path, Path, Path]]:
    """(a team's file, a store with the runs to push, the folder of the team's runs) beside a server of its own."""
    import servers
    import stores

    target, here, team = folder / "shared", folder / "here", folder / "team.toml"
    with servers.postgres() as database:
        os.environ |= database.environment
        team.write_text(f'catalogue = "{database.url()}"\nruns = "shared"\n')
        stores.synthetic.publish(target, "shown", stores.boxes(**SHOWN))
        stores.synthetic.publish(here, "pushed-0", stores.boxes(**PUSHED))
        for i in range(1, PUSHES):
            os.link(here / "runs" / "pushed-0.duckdb", here / "runs" / f"pushed-{i}.duckdb")
        subprocess.run(command("init", "--store", team), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        yield team, here, target


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=8, help="half of them with pushes (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=8, help="of a window (default %(default)s)")
    parser.add_argument("--think", type=float, default=2, help="seconds that a page is looked at (default %(default)s)")
    parser.add_argument("--limit", type=float, default=2)
    o = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, store(Path(folder)) as (team, here, target):
        seen, said = measured(team, here, target, o)
    one, low, high = ratio(*(np.array([answer.seconds for answer in seen[name]]) for name in ("idle", "pushing")))
    print(*table(seen), "", sep="\n")
    print(
        f"p95 beside {PUSHES} pushes ÷ p95 without: {one:.2f} (95 % interval {low:.2f} to {high:.2f}); {said[0]}; "
        f"{SESSIONS} sessions, {o.think:g} s a look; {len(os.sched_getaffinity(0))} CPU cores"
    )
    failed = [*said[1:], *sorted({e for answers in seen.values() for answer in answers for e in answer.errors})]
    if one > o.limit:
        failed.append(f"the ratio is above {o.limit:g}")
    print(*failed or ["no error was shown"], sep="\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
