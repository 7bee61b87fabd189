"""Colours and shapes that mean the same in every chart.

Okabe–Ito for categories, one blue ramp for sizes, orange–white–blue about zero; a triangle is a query, a circle a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

BLUE, ORANGE, GREEN, PINK, RED, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"
CATEGORIES = (BLUE, ORANGE, GREEN, PINK, RED, SKY)
BROWN, VIOLET, WINE = "#7A3E00", "#5522DD", "#882255"
CLASSES = (*CATEGORIES, BROWN, VIOLET, WINE)  # no two closer than the six are, to colour-blind people too
CLUSTERS = (
    *CLASSES,
    "#B5485D",
    "#5F8F3E",
    "#A0522D",
    "#33475B",
    "#B8860B",
    "#6B6BD6",
    "#2F6F62",
)
CHOSEN = RED
GREY = "#9AA5B1"
FEATURES = {
    "order": BLUE,
    "order-centred": BLUE,
    "authors/order": BLUE,
    "lexical": ORANGE,
    "lexical-centred": ORANGE,
    "authors/lexical": ORANGE,
    "rest": GREEN,
}
Side = Literal["query", "key"]
SHAPES: dict[Side, str] = {"query": "triangle-up", "key": "circle"}
WIDTH = 640  # of a figure on paper or in a notebook, in pixels


def ramp(dark: bool = False) -> list[str]:
    """From nothing (near the page's background) to much."""
    return ["#16202c", "#1d4d75", "#2f8fcb", "#d6ecfb"] if dark else ["#f1f6fb", "#9cc6e3", "#1f7fb9", "#08366a"]


def signed(dark: bool = False) -> list[str]:
    """From negative (orange) over zero (the page's background) to positive (blue)."""
    return [ORANGE, "#1a212b" if dark else "#ffffff", BLUE]


def quiet(dark: bool = False) -> str:
    """Grey for what is there to compare with."""
    return "#5b6673" if dark else "#c3ccd6"


def ink(dark: bool = False) -> str:
    """The text's colour."""
    return "#eef2f7" if dark else "#1b2330"


def features(names: Sequence[str]) -> list[str]:
    """A colour for each feature: order blue, lexical orange, the rest green; any other takes the next that is free."""
    taken = {FEATURES[n] for n in names if n in FEATURES}
    free = [c for c in CATEGORIES if c not in taken and c != GREEN] * len(names)
    return [FEATURES[n] if n in FEATURES else free.pop(0) for n in names]


def clusters(n: int) -> list[str]:
    """n colours of the 16 there are; from the 17th on they repeat."""
    return [CLUSTERS[i % len(CLUSTERS)] for i in range(n)]
