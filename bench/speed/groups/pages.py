"""What a page costs the dashboard's server, and how long ten people wait who look at pages for a moment each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.dashboard import SESSIONS, alone, heads_of
from bench.dashboard import SHOWN as BOXES
from bench.speed.row import Row
from bench.speed.scale import Scale
from bench.team import browse
from bench.team.session import Answer, Session, served

MOST_MS, MOST_RATIO = 250.0, 2.0
LOOKS, THINK_S = 4, 2.0
WINDOW_S = {1: 20.0, SESSIONS: 30.0}
MISSED = "pages of one process compute in turns, so that clicks that meet wait for each other"


def measure(scale: Scale) -> Iterator[Row]:
    import stores  # of the tests; bench.dashboard has put them onto the path

    stores.synthetic.publish(scale.folder, "shown", stores.boxes(**BOXES))
    with served(scale.folder) as (port, pid):
        seen = alone(port, pid, "shown", LOOKS)
        waits = {people: _waits(port, people, seconds) for people, seconds in WINDOW_S.items()}
    errors = {e for _, _, answers in seen.values() for a in answers for e in a.errors}
    assert not errors, f"pages show errors: {'; '.join(sorted(errors))}"
    yield of_pages({page or "overview": float(np.median(cpu)) for page, (cpu, _, _) in seen.items()})
    yield of_people(waits)


def of_pages(medians: dict[str, float]) -> Row:
    median, (worst, most) = float(np.median(list(medians.values()))), max(medians.items(), key=lambda item: item[1])
    return Row(
        "pages-cpu",
        f"a page view, {len(medians)} pages",
        "",
        f"{median:.0f} ms of server CPU at the median, {most:.0f} at most ({worst})",
        aim=f"≤ {MOST_MS:.0f} ms",
        met=most <= MOST_MS,
        missed=f"{worst}: its charts are many",
        figures=medians,
    )


def of_people(waits: dict[int, np.ndarray]) -> Row:
    one, ten = (waits[n] for n in (1, SESSIONS))
    ratio, low, high = browse.ratio(one, ten)
    return Row(
        "pages-people",
        f"{SESSIONS} people, {THINK_S:.0f} s between two pages: p95 of a page",
        "one person's",
        f"{1000 * browse.p95(ten):.0f} ms of {len(ten)} pages; one {1000 * browse.p95(one):.0f} ms of {len(one)}",
        ratio,
        low,
        high,
        aim=f"≤ {MOST_RATIO:.0f}×",
        met=ratio <= MOST_RATIO,
        missed=MISSED,
    )


def _waits(port: int, people: int, seconds: float) -> np.ndarray:
    """Seconds that each page took; nobody's first."""
    sessions = [Session(port) for _ in range(people)]
    places = [_places(number) for number in range(people)]
    answers: list[Answer] = browse.window(sessions, places, seconds, THINK_S, 0)
    for session in sessions:
        session.__exit__()
    return np.array([a.seconds for a in answers])


def _places(number: int) -> Iterator[tuple[str, dict[str, object]]]:
    """All pages in turn, to and fro between two heads, from another page for each person."""
    while True:
        yield browse.PAGES[number % len(browse.PAGES)], heads_of("shown")[number % 2]
        number += 1


MEASURES = {"pages": measure}
