"""Notes are found by words, on both kinds of catalogue."""

from __future__ import annotations

import pytest


@pytest.fixture
def notes(catalog):
    catalog.notes.add("Finds fruits,\nnot colours", "one", "L1 H0")
    catalog.notes.add("100% sure_ly\\ 'quoted' Ünïcode", "one")
    catalog.notes.add("balanced", "", "contrast order")
    catalog.notes.withdraw(catalog.notes.add("fruits withdrawn", "one").note_id)
    return catalog.notes


@pytest.mark.parametrize(
    ("text", "n"),
    [("", 3), ("FRUITS", 1), ("colours fruits", 1), ("fruits balanced", 0), ("%", 1), ("sure_", 1), ("sureX", 0),
     ("l1 h0", 1), ("run one", 2), ("contrast", 1), ("\\ 'quoted'", 1), ("ünïcode", 1), ("?", 0), ("{} $1 %s", 0)],
)  # fmt: skip
def test_every_word_is_looked_for_as_it_is(notes, text, n):
    found, total = notes.search(text)
    assert (len(found), total) == (n, n)


def test_by_what_they_are_on_and_a_page_at_a_time(notes):
    assert [n.text for n in notes.search(kind="contrast")[0]] == ["balanced"]
    assert [n.head for n in notes.search(kind="head")[0]] == [(1, 0)]
    assert [n.run for n in notes.search(kind="run")[0]] == ["one"]
    assert len(notes.search(run="one", subject="L1 H0")[0]) == 1
    assert notes.counts() == {"run": 1, "head": 1, "contrast": 1}
    first, total = notes.search(most=2)
    assert (len(first), total) == (2, 3)
    assert [n.text for n in notes.search(most=2, after=2)[0]] == ["Finds fruits,\nnot colours"]
    assert notes.search(most=2, after=9) == ([], 0)
