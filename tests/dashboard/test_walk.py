"""A person's walk through the demo, counted in clicks: each question has its answer on the screen within eight.

Which head of demo-boxes-both carries order, and does swapping it move attention? Which prompts drive it? How does it
differ from the prompts that name the entity alone? And the way to send what was found to a colleague.
"""

from __future__ import annotations

import re
import time

import pytest
import stores
from asked import start_s
from test_browser import CHROMIUM, FLAGS, Server, Tab, playwright, pytestmark  # noqa: F401 -- it marks this file too

from bench.processes import cpu_s

MOST_CLICKS, MOST_CPU_S, MOST_S = 8, 10, 60  # of a question; 2 s of CPU are usual
STARTS = 20  # and as long as so many processes take to start, where the machine does other things too


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("walk")
    server = Server(stores.write_demo(folder / "store"), folder / "server.log")
    yield server
    server.end()


class Walk(Tab):
    """A tab that counts clicks, and seconds since the question was asked: of a clock, and of the server's CPU."""

    def ask(self) -> None:
        self.clicks, self.since, self.used = 0, time.monotonic(), cpu_s(self.server.process.pid)

    def click(self, role: str, name: str | re.Pattern, **more) -> None:
        self.page.get_by_role(role, name=name, **more).first.click(delay=100)
        self.clicks += 1
        self.settle()

    def pick(self, label: str, option: str | int, by_typing: bool = False) -> Tab:
        self.clicks += 2  # a person opens the list once
        return super().pick(label, option, by_typing)

    def card(self, name: str) -> str:
        """A figure of the page's headline with the note under it."""
        self.page.get_by_text(name, exact=True).first.wait_for()
        return self.page.locator("[data-testid=stMetric]").filter(has_text=name).first.inner_text()

    def answered(self) -> None:
        assert self.clicks <= MOST_CLICKS
        took = time.monotonic() - self.since
        assert cpu_s(self.server.process.pid) - self.used < MOST_CPU_S
        assert took < MOST_S or took < MOST_S + STARTS * start_s()
        assert self.told == []


@pytest.fixture(scope="module")
def walk(server, tmp_path_factory):
    with playwright.sync_playwright() as engine:
        context = engine.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")),
            executable_path=CHROMIUM,
            args=FLAGS,
            viewport={"width": 1440, "height": 960},
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
        yield Walk(context, server)
        context.close()


def percent(text: str) -> float:
    return float(re.search(r"(\d+(?:\.\d+)?) ?%", text)[1])


def test_which_head_carries_order_and_does_a_swap_move_attention(walk):
    walk.open("")
    walk.ask()
    walk.click("link", re.compile("demo-boxes-both: which heads"))
    if walk.chosen("Contrast") != "order":
        walk.pick("Contrast", "order")
    best = walk.card("Best head")
    assert re.search(r"L1 H\d", best)
    walk.click("link", "Interventions")
    gains = walk.card("Target gains, order")
    assert percent(gains.partition("order")[2]) > 10
    assert "random" in gains
    walk.answered()


def test_which_prompts_drive_it(walk):
    walk.ask()
    walk.page.locator("[data-testid=stSidebar]").get_by_role("link", name="Head", exact=True).click(delay=100)
    walk.clicks += 1
    walk.settle()
    walk.click("radio", "Most moved")
    first = walk.page.locator(".qk-tokens").first
    assert walk.becomes(first.locator(".qk-query").count, 1)
    assert first.locator(".qk-positive, .qk-negative").count() >= 1
    walk.answered()


def test_how_does_it_differ_from_the_prompts_of_one_cue(walk):
    walk.ask()
    walk.page.locator("[data-testid=stSidebar]").get_by_role("link", name="Heads", exact=True).click(delay=100)
    walk.clicks += 1
    walk.settle()
    walk.pick("on run", "demo-boxes-ent")
    assert "no head is clear of 0" in walk.card("Largest difference"), "both runs find the box"
    walk.pick("Colour by", "Selectivity")
    assert re.search(r"L1 H\d \+\d", walk.card("Largest difference")), "order tells boxes apart where it is asked for"
    walk.answered()


def test_what_was_found_is_sent_to_a_colleague(walk, server):
    walk.ask()
    figures = walk.figures()
    walk.page.get_by_text("Share", exact=True).last.click()
    walk.clicks += 1
    walk.settle()
    walk.click("button", "Copy link")
    link = walk.page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{server.url}/heads?")
    walk.answered()
    colleague = Tab(walk.page.context, server)
    colleague.page.goto(link)
    colleague.settle()
    assert colleague.becomes(colleague.figures, figures)
    colleague.page.close()
