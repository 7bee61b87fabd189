"""The examples of a preview: the next ones, of a label, by a head's logit, and a prompt of thousands of tokens."""

from __future__ import annotations

import re

import pytest
import stores
from test_pages import html

from dashboard import results
from qkstore.contrast import builtin


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("boxes") / "store", n=200)


def told(app, side: str = "positive") -> list[str]:
    return re.findall(rf"{side} [\d,]+ of [\d,]+: [^<]*", html(app))


def press(app, label: str):
    next(b for b in app.button if b.label == label).click()
    return app.run()


def test_next_shows_others_and_the_address_says_which(show, store):
    app = show(store, "contrasts", contrast="order")
    first = told(app)
    assert len(first) == 2
    app = press(app, "Next")
    assert app.query_params["skip"] in ("2", ["2"])
    second = told(app)
    assert [text.split()[1] for text in second] == ["3", "4"]
    assert told(show(store, "contrasts", contrast="order", skip=2)) == second
    for odd in ("x", "-1", "9" * 40, "٣"):
        assert told(show(store, "contrasts", contrast="order", skip=odd)) == first


def test_of_a_label_only_and_each_choice_starts_from_the_first(show, store):
    app = show(store, "contrasts", contrast="order", skip=4)
    app.selectbox(key="url-label").set_value("k.order_id")
    app = app.run()
    assert "skip" not in app.query_params
    everything, some = 0, told(app)[0]
    everything = int(told(show(store, "contrasts", contrast="order"))[0].split()[3].rstrip(":"))
    assert 0 < int(some.split()[3].rstrip(":")) < everything
    app.selectbox(key="url-value").set_value(app.selectbox(key="url-value").options and 2)
    app = app.run()
    assert app.query_params["value"] in ("2", ["2"])
    assert not app.exception


def test_a_label_without_pairs_says_so(show, store):
    app = show(store, "contrasts", contrast="order", label="k.role", value="answer_slot")
    assert not app.exception
    assert told(app) == [] or not app.error


def test_by_logit_where_a_head_is_chosen(show, store):
    assert "url-by" not in [s.key for s in show(store, "contrasts", contrast="order").selectbox]
    app = show(store, "contrasts", contrast="order", layer=1, head=2, by="logit")
    values = [float(text.rsplit(",", 1)[1]) for text in told(app)]
    assert values == sorted(values, reverse=True)
    low = show(store, "contrasts", contrast="order", layer=1, head=2, by="-logit")
    assert float(told(low)[0].rsplit(",", 1)[1]) < values[-1]
    assert not show(store, "contrasts", contrast="order", layer=99, head=2, by="logit").exception
    run = stores_run(store)
    shown = results.examples(run, builtin.ORDER, "train", 2, by=(1, 2, "logit"))
    assert [f"{e.value:.3g}" for e in shown if e.sign == 1] == [text.rsplit(", ", 1)[1] for text in told(app)]


def stores_run(store):
    import qkstore

    return qkstore.open(store).run("boxes")


def test_a_prompt_of_thousands_of_tokens_is_cut_to_the_neighbours_of_the_pair(show, tmp_path, monkeypatch):
    from dashboard.contrasts import preview
    from qkstore.contrast.example import Example, Place

    texts = tuple(f" w{i}" for i in range(5000))
    pair = Example(1, Place(0, 0, 4999, texts, 4999), Place(0, 0, 17, texts, 17), 1, 9)
    drawn = []
    monkeypatch.setattr(preview.st, "html", drawn.append)
    preview._example(pair)
    assert "·w4999" in drawn[-1]
    assert "·w17" in drawn[-1]
    assert "·w2500" not in drawn[-1]
    assert "…" in drawn[-1]
    assert drawn[-1].count("qk-token") < 80
