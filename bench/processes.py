"""A process with all that it has started: who of them lives, and the CPU that they have used together.

Read from /proc, and not by psutil, which looks at every process of the machine to find one's children: as a clock it
would cost a millisecond a look, of the few that some works take. Whoever has ended meanwhile counts as nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
OWN, WAITED_FOR = slice(11, 13), slice(13, 15)  # ticks of CPU, among the fields behind a process's name


def descendants(pid: int | None = None) -> Iterator[int]:
    """The living descendants of a process, by default of this one; none where it has ended."""
    threads = Path(f"/proc/{pid or os.getpid()}/task")
    for child in map(int, " ".join(_text(threads / one / "children") for one in _names(threads)).split()):
        yield child
        yield from descendants(child)


def command(pid: int) -> list[str]:
    """The words that a process was started with; none where it has ended."""
    return _text(Path(f"/proc/{pid}/cmdline")).split("\0")


def alive(pid: int) -> bool:
    """Whether a process has not ended; one that has is still there until somebody has waited for it."""
    return _stat(pid)[:1] not in ([], ["Z"])


def cpu_s(pid: int | None = None) -> float:
    """Seconds of CPU that a process, by default this one, and all that come from it have used.

    Those that have ended count where one that lives has waited for them. Others than this one count in hundredths.
    """
    first = pid or os.getpid()
    return sum(_used(one) for one in (first, *descendants(first)))


def _used(pid: int) -> float:
    fields = _stat(pid)
    waited_for = sum(map(int, fields[WAITED_FOR])) / TICK
    return waited_for + (time.process_time() if pid == os.getpid() else sum(map(int, fields[OWN])) / TICK)


def _stat(pid: int) -> list[str]:
    """The fields behind a process's name, its state first; none where it has ended."""
    return _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()


def _names(folder: Path) -> list[str]:
    with suppress(OSError):
        return os.listdir(folder)
    return []


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace")
    return ""
