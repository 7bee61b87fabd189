"""The Heads page in a real browser: cells by mouse and keyboard, rows, comparisons, and maps of many heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import stores
from conftest import CHROMIUM
from test_browser import FLAGS, Server, Tab, playwright

import qkstore
from qkstore.analysis import heads
from qkstore.analysis.choice import Choice
from qkstore.analysis.heads import HeadScore
from qkstore.interval import wilson

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}; name one in $CHROMIUM"),
    pytest.mark.slow,
]
GRIDS = {"mid": (32, 32), "large": (80, 64)}
CELLS = "[class*='st-key-map-'] svg g.mark-rect.role-mark"


def scored(layers: int, n_heads: int, seed: int) -> list[HeadScore]:
    """Scores of a large model as `heads` gives them, drawn at random: nothing of the page depends on the vectors."""
    rng, n, out = np.random.default_rng(seed), 400, []
    for layer in range(layers):
        for head in range(n_heads):
            right = int(n * (0.9 if (layer + head) % 37 == 0 else rng.normal(0.25, 0.02)))
            share, ratio = right / n, float(rng.lognormal(0, 0.3))
            choice = Choice(share, 0.25, 1e-9 if share > 0.8 else 0.4, ratio, 0.5, 0.6, n, "train", "order")
            out.append(
                HeadScore(
                    layer,
                    head,
                    share,
                    wilson(right, n),
                    ratio if head % 9 else None,
                    0.3,
                    0.1,
                    1.0,
                    0.8,
                    0.05,
                    3,
                    n,
                    "train",
                    "test",
                    (ratio / 2, ratio * 2) if head % 9 else None,
                    0.25,
                    choice,
                    1.0,
                    19,
                )
            )
    return out


def with_grids(path: Path) -> Path:
    """The store of test_browser.py with a model of 1,024 heads and one of 5,120, whose scores it keeps already."""
    stores.write(path)
    for seed, (name, (layers, n_heads)) in enumerate(GRIDS.items()):
        data = stores.boxes(n=8, n_layers=layers, n_heads=n_heads, n_kv_heads=8, seed=seed)
        stores.write(path, name, data=data)
    store = qkstore.open(path)
    for seed, (name, grid) in enumerate(GRIDS.items()):
        run = store.run(name)
        for contrast in ("order", "lexical"):
            (asked,) = store.feature(run, contrast)
            heads.keep(store, run, asked, scored(*grid, seed), heads.key(run, asked))
    return path


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    server = Server(with_grids(folder / "store"), folder / "server.log")
    with playwright.sync_playwright() as engine:
        context = engine.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")),
            executable_path=str(CHROMIUM),
            args=FLAGS,
            viewport={"width": 1440, "height": 960},
        )
        yield Tab(context, server)
        context.close()
    server.end()
