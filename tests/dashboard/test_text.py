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
