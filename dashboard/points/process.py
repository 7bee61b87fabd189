"""UMAP at work in processes of its own: one for all sessions that ask for the same, ended when nobody waits for it."""

from __future__ import annotations

import logging
import os
import re
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Hashable
from pathlib import Path

import numpy as np

from qkstore.analysis.points import Points, Sample
from qkstore.projection import Projection

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-u", "-P", "-m", "dashboard.points.child")
PATIENCE_S = 15.0  # a session that has not asked for so long has left
LOOK_S = 0.25
MOST_KEPT = 16  # results, of 1.5 MB each for 30,000 points
AT_ONCE = max(1, (os.cpu_count() or 2) // 2)
STAGES = {  # what UMAP prints: what a person is told
    "Finding Nearest Neighbors": "finding neighbours",
    "Finished Nearest Neighbor Search": "joining neighbours",
    "Construct embedding": "placing the points",
}
EPOCH = re.compile(rb"Epochs completed.*?(\d+)/(\d+)")
NEIGHBOURS, SEED = 15, 0
_turns = threading.Semaphore(AT_ONCE)


class Job:
    """One UMAP: what it is at, who waits for it, and in the end its points, or why there are none."""

    def __init__(self, sample: Sample, command: tuple[str, ...] = COMMAND, patience: float = PATIENCE_S):
        self.sample: Sample | None = sample
        self.command, self.patience = command, patience
        self.said, self.share = "UMAP waits for its turn", 0.0
        self.points: Points | None = None
        self.failed, self.abandoned = "", False
        self.ended = threading.Event()
        self._waiting: dict[str, float] = {}

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def wait(self, who: str) -> None:
        """A session waits; it says so again and again."""
        self._waiting[who] = time.monotonic()

    def leave(self, who: str) -> None:
        """A session does not wait any more."""
        self._waiting.pop(who, None)

    @property
    def wanted(self) -> bool:
        return any(time.monotonic() - asked < self.patience for asked in list(self._waiting.values()))

    def _run(self) -> None:
        try:
            while not _turns.acquire(timeout=LOOK_S):
                if not self.wanted:
                    self.abandoned = True
                    return
            try:
                self._compute(self.sample)
            finally:
                _turns.release()
        except OSError as error:  # no process, no room for its files
            self.failed = error.strerror or "the system gave no process"
        finally:
            self.sample = None  # the vectors of a head, which nobody needs now
            self.ended.set()

    def _compute(self, sample: Sample) -> None:
        with tempfile.TemporaryDirectory(prefix="qkstore-umap-") as name:
            folder = Path(name)
            np.savez(folder / "asked.npz", q=sample.q, k=sample.k, n_neighbors=NEIGHBOURS, seed=SEED)
            self.said = "UMAP is starting"
            said = self._watch(folder)
            if (folder / "found.npz").exists():
                found = np.load(folder / "found.npz")
                self.points = sample.place(Projection(found["query"], found["key"], None))
            elif not self.abandoned:
                error = folder / "error"
                self.failed = error.read_text(encoding="utf-8") if error.exists() else "its process ended early"
                logging.getLogger(__name__).warning("UMAP gave nothing: %s", said[-2000:].decode(errors="replace"))

    def _watch(self, folder: Path) -> bytes:
        """Follow the process until it ends, or end it where nobody waits; what it said last."""
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        process = subprocess.Popen(
            [*self.command, str(folder)],
            env=os.environ | {"PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout, "a pipe"
        said, poll = b"", select.poll()
        poll.register(process.stdout, select.POLLIN | select.POLLHUP)
        try:
            while True:
                if poll.poll(1000 * LOOK_S):
                    if not (more := os.read(process.stdout.fileno(), 65_536)):
                        return said
                    said = (said + more)[-20_000:]
                    self._tell(said)
                if not self.wanted:
                    self.abandoned = True
                    return said
        finally:
            process.kill()
            process.communicate()

    def _tell(self, said: bytes) -> None:
        epochs = EPOCH.findall(said)
        if epochs:
            done, total = map(int, epochs[-1])
            self.said, self.share = f"UMAP: epoch {done:,} of {total:,}", done / max(total, 1)
            return
        stages = [(said.rfind(printed.encode()), told) for printed, told in STAGES.items()]
        last, told = max(stages)
        if last >= 0:
            self.said = f"UMAP: {told}"


class Jobs:
    """The jobs of a server by what they compute; of those that ended the newest MOST_KEPT are kept."""

    def __init__(self, most: int = MOST_KEPT):
        self.most = most
        self._jobs: dict[Hashable, Job] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Job | None:
        return self._jobs.get(key)

    def ask(self, key: Hashable, who: str, make: Callable[[], Job]) -> Job:
        """The job of this key, for which `who` waits; made and started where there is none that is at work or done."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None or job.abandoned:
                job = self._jobs[key] = make()
                job.wait(who)
                job.start()
            job.wait(who)
            ended = [k for k, j in self._jobs.items() if j.ended.is_set() and k != key]
            for old in ended[: max(0, len(ended) - self.most + 1)]:
                del self._jobs[old]
        return job

    def forget(self, key: Hashable) -> None:
        """The next who asks starts anew; one that is at work goes on for those who wait."""
        with self._lock:
            job = self._jobs.get(key)
            if job and job.ended.is_set():
                del self._jobs[key]
