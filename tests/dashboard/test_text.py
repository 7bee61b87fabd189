"""Text that others wrote: shown as it is, never read as Markdown or HTML."""

from __future__ import annotations

import pytest

from dashboard import text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a*b*", r"a\*b\*"),
        ("[x](y)", r"\[x\]\(y\)"),
        (":red[x]", r"\:red\[x\]"),
        ("<b>", r"\<b\>"),
        ("\u202e", r"U\+202E"),
        ("plain", "plain"),
        ("http://x.org", "http\\:\u2060//x\\.org"),
        ("WWW.x.org", "WWW\u2060\\.x\\.org"),
        ("mine@2.", r"mine@2\."),
        ("a@x.org", "a@\u2060x\\.org"),
    ],
)
def test_plain_text_is_markdown_of_itself(raw, shown):
    assert text.plain(raw) == shown


def test_tokens_clamp_their_shade_and_mark_their_kind():
    body = text.tokens(["a", '"<'], {0: 7.0}, {1: "query"})
    assert "--qk-share:100%" in body
    assert "qk-query" in body
    assert "&quot;&lt;" in body


def test_a_long_prompt_is_cut_to_the_neighbours_of_its_marked_tokens():
    texts = [f"t{i}" for i in range(5000)]
    assert text.stretches(5000, (10, 4000), 40) == [(0, 21), (3990, 4011)]
    assert text.stretches(5000, (10, 15), 40) == [(0, 26)]
    assert text.stretches(40, (10,), 40) == [(0, 40)], "a short one is whole"
    assert text.stretches(5000, (), 40) == [(0, 21)]
    body = text.tokens(texts, marks={10: "query", 4000: "positive"}, most=40)
    assert body.count("qk-token ") == 2
    assert all(f">{t}<" in body for t in ("t10", "t4000", "… 3,969 …", "… 989 …"))
    assert ">t3000<" not in body
