"""Nine classes on one picture: nobody takes one for another, colour-blind or not, and a class keeps its colour."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import polars as pl
import pytest

from qkstore import charts
from qkstore.charts import palette

# Machado, Oliveira and Fernandes (2009), severity 1, of linear sRGB
SEEN = {
    "normal": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
LEAST = 17  # of CIE 1976 ΔE; what one sees at once is 10 or more


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    t = XYZ @ rgb.clip(0, 1) / np.array([0.95047, 1, 1.08883])
    x, y, z = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest(colours, sight: str) -> float:
    """The least distance of two of the colours, as such eyes see them."""
    seen = [lab(np.array(SEEN[sight]) @ linear(colour)) for colour in colours]
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2))


def contrast(colour: str, ground: str) -> float:
    dark, light = sorted(float((XYZ @ linear(c))[1]) for c in (colour, ground))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("sight", SEEN)
def test_no_two_of_nine_classes_look_alike(sight):
    assert len(palette.CLASSES) == charts.MOST_GROUPS == 9
    assert nearest(palette.CLASSES, sight) > LEAST


def test_two_that_look_alike_are_seen():
    olive = ["#AAAA00", palette.ORANGE]
    assert nearest(olive, "deuteranopia") < LEAST < nearest(olive, "normal")
    assert nearest(palette.CLUSTERS, "deuteranopia") < 10, "sixteen are too many for colours alone"


@pytest.mark.parametrize("ground", ["#ffffff", "#0f151c"])
def test_every_class_stands_out_from_the_page(ground):
    assert min(contrast(colour, ground) for colour in palette.CLASSES) > 1.9


def test_a_class_has_one_colour_in_every_sample():
    def points(groups) -> pl.DataFrame:
        n = len(groups)
        zeros = {axis: [0.0] * n for axis in "xyz"}
        return pl.DataFrame({"side": ["key"] * n, **zeros, "group": groups, "prompt_id": [0] * n, "text": ["t"] * n})

    often = tuple("kjihgfedcba")  # the most frequent first
    _, all_colours, _ = charts.grouped(points(list("abcdefghijk")), groups=often)
    _, few, _ = charts.grouped(points(list("def")), groups=often)
    assert set(all_colours) == {*"cdefghijk", charts.OTHERS}
    assert few == {name: all_colours[name] for name in "def"}
    _, alone, _ = charts.grouped(points(list("def")))
    assert alone != few, "the sample alone tells another order"
