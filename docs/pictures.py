"""The pictures of the README, taken of the dashboard on the demo store: three pages, and a walk through some.

    .venv/bin/python docs/pictures.py STORE

STORE: a store with the demo runs (`qkstore demo`). Needs what the tests need, with Chromium. Writes docs/*.png, at most
300 kB each, and docs/walk.gif, at most 2 MB.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "dashboard")]

from test_browser import CHROMIUM, FLAGS, Server, Tab, playwright

SIZE = {"width": 1280, "height": 800}
VIEW = "run=demo-boxes-both&contrast=order&layer=1&head=2"
PAGES = {"heads": f"heads?{VIEW}", "head": f"head?{VIEW}", "interventions": f"interventions?{VIEW}"}
MOST_PNG, MOST_GIF = 300_000, 2_000_000
FRAME_MS, COLOURS, WIDTH = 2200, 96, 960


def shot(tab: Tab) -> Image.Image:
    return Image.open(io.BytesIO(tab.page.screenshot())).convert("RGB")


def kept(image: Image.Image, path: Path) -> None:
    """A page as a PNG of few colours, which such pages have."""
    image.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size <= MOST_PNG, f"{path.name} is {path.stat().st_size:,} bytes"


def walk(tab: Tab) -> list[Image.Image]:
    """From the overview to a head that carries order, what its swap does, its strongest pairs, and back to compare."""
    frames = []

    def look() -> None:
        tab.settle()
        frames.append(shot(tab))

    def link(name: str) -> None:
        tab.page.locator("[data-testid=stSidebar]").get_by_role("link", name=name, exact=True).click()
        look()

    tab.open("")
    look()
    tab.page.get_by_role("link", name="demo-boxes-both: which heads").click()
    look()
    tab.page.locator("path[aria-label*='Head: 2; Layer: 1']").first.click()
    look()
    link("Interventions")
    link("Head")
    tab.page.get_by_role("radio", name="Most moved").click()
    tab.page.get_by_text("Strongest pairs").scroll_into_view_if_needed()
    look()
    link("Projections")
    link("Contrasts")
    return frames


def animated(frames: list[Image.Image], path: Path) -> None:
    height = round(WIDTH * SIZE["height"] / SIZE["width"])
    small = [
        f.resize((WIDTH, height), Image.Resampling.LANCZOS).quantize(COLOURS, dither=Image.Dither.NONE) for f in frames
    ]
    small[0].save(path, save_all=True, append_images=small[1:], duration=FRAME_MS, loop=0, optimize=True)
    assert path.stat().st_size <= MOST_GIF, f"{path.name} is {path.stat().st_size:,} bytes"


def main(store: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, playwright.sync_playwright() as engine:
        own = Path(folder)
        shutil.copytree(store, own / "store")
        server = Server(own / "store", own / "log")
        context = engine.chromium.launch_persistent_context(
            str(own / "profile"), executable_path=CHROMIUM, args=FLAGS, viewport=SIZE
        )
        try:
            tab = Tab(context, server)
            tab.page.set_default_timeout(120_000)
            for name, address in PAGES.items():
                tab.open(address)
                kept(shot(tab), ROOT / "docs" / f"{name}.png")
            animated(walk(tab), ROOT / "docs" / "walk.gif")
        finally:
            context.close()
            server.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
