"""Two sides in turns within one process, what each took, and how much memory the process had at most."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.processes import descendants

RESAMPLES = 2000
planted = False  # whether our side does all its work twice: a slowdown that the check has to find


@dataclass(frozen=True)
class Paired:
    """Seconds of each turn of both sides."""

    ours: tuple[float, ...]
    floor: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median of ours over the floor, turn by turn."""
        return float(np.median(self._each))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of that median, by bootstrap over the turns."""
        drawn = np.random.default_rng(0).integers(0, len(self.ours), (RESAMPLES, len(self.ours)))
        low, high = np.quantile(np.median(self._each[drawn], axis=1), [0.025, 0.975])
        return float(low), float(high)

    @property
    def beside(self) -> tuple[float, float, float]:
        """The ratio and the ends of its interval, as a Row has them."""
        return self.ratio, *self.interval

    @property
    def inverse(self) -> Paired:
        """The floor over ours: how many times faster ours is."""
        return Paired(self.floor, self.ours)

    @property
    def medians(self) -> tuple[float, float]:
        """Of ours and of the floor, in seconds."""
        return float(np.median(self.ours)), float(np.median(self.floor))

    @property
    def _each(self) -> np.ndarray:
        return np.array(self.ours) / np.array(self.floor)


def paired(
    ours: Callable[[], object],
    floor: Callable[[], object],
    turns: int,
    clock: Callable[[], float] = time.perf_counter,
    before: Callable[[], object] | None = None,
) -> Paired:
    """Measure both, `turns` times each: A B, B A, A B, …

    before: done ahead of each single piece of work, outside the time. Nothing warms up first.
    """
    taken: dict[Callable[[], object], list[float]] = {ours: [], floor: []}
    for turn in range(turns):
        for work in (ours, floor) if turn % 2 == 0 else (floor, ours):
            times = 2 if planted and work is ours else 1
            taken[work].append(sum(_after(before, work, clock) for _ in range(times)))
    return Paired(tuple(taken[ours]), tuple(taken[floor]))


def _after(before: Callable[[], object] | None, work: Callable[[], object], clock: Callable[[], float]) -> float:
    if before:
        before()
    return seconds(work, clock)


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """What a piece of work takes by a clock."""
    start = clock()
    work()
    return clock() - start


def ours(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """What a piece of our side takes outside `paired`: it is done twice where that is planted."""
    return sum(seconds(work, clock) for _ in range(2 if planted else 1))


def resident() -> float:
    """MB that this process and its children hold now."""
    return sum(_status(pid, "VmRSS") for pid in _family())


def forget(of: int | None = None) -> None:
    """From here on `peak` of a process, by default of this one, counts anew; what is free here is given back first."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    for pid in _family(of):
        try:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        except OSError:  # a child that ended, or a system that does not let one: then the peak is that of all
            continue


def peak(of: int | None = None) -> float:
    """MB that a process and its children held at most since `forget`, each at its own time."""
    return sum(_status(pid, "VmHWM") for pid in _family(of))


def own_peak() -> float:
    """The same of this process alone."""
    return _status(os.getpid(), "VmHWM")


def _family(of: int | None = None) -> list[int]:
    return [of or os.getpid(), *descendants(of)]


def _status(pid: int, name: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1000


def cold(*files: Path) -> None:
    """Drop what the system holds of files in memory; what was not written yet is written first."""
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)
