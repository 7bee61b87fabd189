"""The scatter of points alone, in a real browser without Streamlit: what is drawn of which points, and how fast."""

from __future__ import annotations

import numpy as np
import pytest
from test_browser import CHROMIUM, FLAGS, playwright, pytestmark  # noqa: F401
from test_points_browser import DRAWN_ANEW, context, pixels  # noqa: F401 -- a fixture
from test_scatter import points, sent

from dashboard.points import scatter

DRAW = """async ([js, data, size]) => {
  const place = document.body;
  place.replaceChildren();
  const { default: show } = await import(URL.createObjectURL(new Blob([js], { type: "text/javascript" })));
  const setStateValue = (name, value) => (window.told = value);
  const end = show({ parentElement: place, data, setStateValue });
  Object.assign(place.querySelector("canvas").style, { display: "block", width: `${size}px`, height: `${size}px` });
  await DRAWN_ANEW;
  window.show = (data) => show({ parentElement: place, data, setStateValue });
  window.end = end;
}""".replace("DRAWN_ANEW", DRAWN_ANEW)


@pytest.fixture
def bare(context):
    """A page with nothing but the component."""
    page = context.new_page()
    failed = []
    page.on("pageerror", lambda error: failed.append(error))
    yield page
    assert not failed
    page.close()


def draw(page, table, size: int = 300, **more) -> int:
    """Show points on a page without Streamlit, in a square; the number of pixels drawn."""
    page.evaluate(DRAW, [scatter.SCRIPT, sent(table) | {"plot": "3d", "tells": False} | more, size])
    return pixels(page)


@pytest.mark.parametrize("plot", ["2d", "3d"])
@pytest.mark.parametrize("rank", [3, 2, 1, 0])
def test_points_without_depth_are_drawn_too(bare, rank, plot):
    assert draw(bare, points(list("ab") * 20, rank), plot=plot) > 10
    assert draw(bare, points([]), plot=plot) == 0


@pytest.mark.parametrize("plot", ["2d", "3d"])
def test_a_drag_over_thirty_thousand_points_is_fluid(bare, plot):
    """Drawn by the processor alone; 34 to 57 ms a frame were seen on a busy machine, the limit leaves room."""
    draw(bare, points([f"w{i % 9}" for i in range(30_000)]), 700, plot=plot)
    frames = """async () => {
      const canvas = document.querySelector(".space .picture");
      const took = [];
      for (let i = 0; i < 12; i++) {
        const start = performance.now();
        canvas.dispatchEvent(new KeyboardEvent("keydown", { key: i % 2 ? "ArrowLeft" : "ArrowRight" }));
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        took.push(performance.now() - start);
      }
      return took.sort((a, b) => a - b)[6];
    }"""
    took = bare.evaluate(frames)
    print(f"{plot}: {took:.0f} ms a frame")
    assert took < 400


def test_a_query_is_a_triangle_and_a_key_a_circle(bare):
    """The widths of the top and bottom row of one mark tell the two apart.

    A triangle stands on its side, a circle is the same both ways up.
    """
    rows = """canvas => {
      const { data, width, height } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const row = (y) => Array.from({ length: width }, (_, x) => data[4 * (y * width + x)]);
      const counts = Array.from({ length: height }, (_, y) => row(y).filter((v) => v < 200).length);
      return counts.filter((n) => n);
    }"""
    widths = {}
    for side in ("query", "key"):
        draw(bare, points(["a"], rank=0).with_columns(side=np.array([side])), others="a")  # a name would hide it
        widths[side] = bare.locator(".space .picture").evaluate(rows)
    assert widths["key"] == widths["key"][::-1]
    assert len(widths["key"]) > 3
    assert widths["query"][-1] > 2 * widths["query"][0]


def test_a_sharp_screen_gets_a_pixel_for_each_of_its_own(bare):
    draw(bare, points(list("ab") * 20))
    assert bare.locator(".space .picture").evaluate("canvas => [canvas.width, canvas.height]") == [300, 300]
    session = bare.context.new_cdp_session(bare)
    session.send(
        "Emulation.setDeviceMetricsOverride", {"width": 800, "height": 600, "deviceScaleFactor": 2, "mobile": False}
    )
    draw(bare, points(list("ab") * 20))
    assert bare.locator(".space .picture").evaluate("canvas => [canvas.width, canvas.height]") == [600, 600]


def test_a_late_clean_up_of_an_earlier_time_leaves_the_picture(bare):
    """Streamlit may show new data before it has ended the old: only the last of the clean-ups removes the picture."""
    draw(bare, points(list("ab")))
    bare.evaluate("data => { window.last = show(data); end(); }", sent(points(list("abc"))) | {"plot": "3d"})
    assert bare.locator(".space").count() == 1
    assert bare.locator(".space .legend button").count() == 2 + 3
    bare.evaluate("last()")
    assert bare.locator(".space").count() == 0
