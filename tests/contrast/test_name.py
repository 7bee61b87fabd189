"""Names of saved contrasts: none is unreadable, means something else, or can be taken for another."""

from __future__ import annotations

import re

import pytest
from synthetic import synthetic, write

import qkstore
from qkstore.__main__ import main
from qkstore.contrast import Contrast
from qkstore.contrast.name import ALIKE, MOST_AUTHOR, MOST_DESCRIPTION, MOST_NAME, PREFIXES, check, skeleton
from qkstore.errors import ContrastError, GuardError

MINE = Contrast("mine", positive="k.order_id = q.queried_order", negative="k.order_id <> q.queried_order")

REFUSED = {  # name: what the error says of it
    "": "is empty",
    "  ": "is empty",
    "two\nlines": "unprintable: it holds U+000A",
    "zero\u200bwidth": "U+200B",
    "\u202eredro": "U+202E",
    "soft\u00adhyphen": "U+00AD",
    "nul\0": "U+0000",
    "mine\ufe0f": "U+FE0F",
    "mi\u034fne": "U+034F",
    "\u3164": "unprintable: it holds U+3164",
    "order ": "blanks at an end",
    " mine": "blanks at an end",
    "my  own": "two in a row",
    "my\u00a0own": "is usually written 'my own'",
    "ｏｒｄｅｒ": "is usually written 'order'",  # noqa: RUF001 -- that is the attack, as in the next lines
    "ﬁne": "is usually written 'fine'",
    "e\u0301tude": "is usually written 'étude'",
    "оrder": "mixes letters of Cyrillic and Latin in the word 'оrder'",  # noqa: RUF001
    "my-pοint": "mixes letters of Greek and Latin",  # noqa: RUF001
    "order": "taken by a built-in",
    "category:mine": "taken by a built-in",
    "Category:mine": "taken by a built-in",
    "AUTHORS/order": "taken by a built-in",
    "mine:*": "taken by a built-in",
    "ORDER": "can be taken for 'order'",
    "Order": "can be taken for 'order'",
    "0rder": "can be taken for 'order'",
    "order_centred": "can be taken for 'order-centred'",
    "order centred": "can be taken for 'order-centred'",
    "LexicaI": "can be taken for 'lexical'",  # a capital I for an l
    "zl": "can be taken for 'z1'",
    "none": "means something else",
    "None": "means something else",
    "SELECT": "means something else",
    "rest": "means something else",
    "draft": "means something else",
    "a@b": "holds an @",
    "mine@2": "holds an @",
    "--run": "begins like an option",
    "-": "begins like an option",
}
ALLOWED = [
    "mine", "my-order", "order 2", "ordered", "Ordnung", "größer", "étude", "порядок", "順序", "ひらがなとカタカナ",
    "순서", "हिन्दी", "τάξη", "order-по-русски", "z3", "a, b + c", "x'); DROP TABLE contrast; --", "selected",
    "not-none", "x" * MOST_NAME,
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_misleads_is_refused_with_the_reason(name):
    with pytest.raises(ContrastError, match=re.escape(REFUSED[name])) as error:
        check(MINE.replace(name=name))
    assert str(error.value).endswith("; choose another")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", ALLOWED)
def test_a_plain_name_of_any_language_is_not(name):
    check(MINE.replace(name=name), ["another", "порядки"])


@pytest.mark.parametrize(
    ("saved", "name"),
    [
        ("mine", "Mine"),
        ("mine", "MINE"),
        ("caca", "\u0441\u0430\u0441\u0430"),
        ("my-own", "my own"),
        ("größer", "GRÖSSER"),
        ("v1", "vl"),
    ],
)
def test_a_saved_name_has_no_double(saved, name):
    with pytest.raises(ContrastError, match=f"can be taken for {saved!r}"):
        check(MINE.replace(name=name), [saved])
    check(MINE.replace(name=saved), [saved])


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("name", "x" * (MOST_NAME + 1), "the name of a contrast has 101 characters; 100 are possible"),
        ("description", "x" * (MOST_DESCRIPTION + 1), "the description of a contrast has 2,001 characters"),
        ("author", "x" * (MOST_AUTHOR + 1), "the author of a contrast has 201 characters"),
        ("description", "half \ud800", "the description of a contrast holds half of a character"),
        ("author", "\udcff", "the author of a contrast holds half"),
        ("name", "a\ud800", "the name of a contrast holds half"),
        ("where", "'\ud800' = ''", "the where of a contrast holds half"),
        ("author", "ann\u202e", "the author of a contrast holds U\\+202E"),
        ("description", "a\x1b[31mb", "the description of a contrast holds U\\+001B"),
    ],
)
def test_what_no_file_and_no_page_can_hold_is_one_line(field, value, says):
    with pytest.raises(ContrastError, match=says) as error:
        check(MINE.replace(**{field: value}))
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 200


def test_a_description_may_have_lines_and_every_script():
    check(MINE.replace(description="first\nsecond: порядок, 順序 👍", author="Zoë"))


def test_a_store_saves_none_of_them_and_keeps_what_it_has(tmp_path, capsys):
    write(tmp_path, "a", data=synthetic(16))
    catalog = qkstore.open(tmp_path).catalog
    catalog.save(MINE)
    before = catalog.contrasts()
    for changed in (MINE.replace(name="MINE"), MINE.replace(description="\ud800"), MINE.replace(name="ORDER")):
        with pytest.raises(ContrastError):
            catalog.save(changed)
    with pytest.raises((ContrastError, GuardError)):
        catalog.save(Contrast("own", pairs="select '\ud800'"))
    assert catalog.contrasts() == before
    assert catalog.save(MINE).version == 2
    told = ["--positive", "k.pos = 1", "--negative", "k.pos = 2"]
    assert main(["contrasts", "--store", str(tmp_path), "--save", "Mine", *told]) == 2
    assert "can be taken for 'mine'" in capsys.readouterr().err


def test_a_skeleton_is_one_of_looks():
    assert skeleton("ORDER") == skeleton("order") == skeleton("0rder") == skeleton("ｏrder")  # noqa: RUF001
    assert skeleton("my_own") == skeleton("my own ") == skeleton("my-own")
    assert skeleton("order") != skeleton("orders")
    assert all(skeleton(prefix) == prefix for prefix in PREFIXES)
    assert all(len(chr(letter)) == 1 and letter != ord(to) for letter, to in ((k, chr(v)) for k, v in ALIKE.items()))
