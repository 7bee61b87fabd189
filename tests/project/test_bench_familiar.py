"""bench/models/familiar.py: what the command finds of planted heads is what the textbook's scores say, in a row."""

from __future__ import annotations

import pytest
import synthetic
from planted import PLANTED, planted

from bench.models import familiar


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("familiar")
    synthetic.write(path, "planted", data=planted(80))
    return path


@pytest.fixture(scope="module")
def one(path):
    return familiar.searched(path, "planted")


def test_the_command_and_the_textbook_name_the_same_heads(path, one):
    for row in familiar.types(path, one):
        head = (0, PLANTED[row.name])
        assert set(row.swaps) == {head}
        assert row.best(row.scores)[0] == head
        assert row.recalled(0.3) == (1, 1)
        assert row.told[2] == "1 of 4"


def test_it_says_what_the_search_took_while_that_is_known(path, one):
    assert one.told[-1].endswith("MiB")
    assert one.told[3:6] == ["3", "3", "0"]
    again = familiar.searched(path, "planted")
    assert again == one
    (path / familiar.TOOK.format("planted")).unlink()
    assert familiar.searched(path, "planted").told[-1] == "kept"


def test_a_head_of_the_textbook_that_is_not_found_is_counted_as_missed(path, one):
    (row, *_) = familiar.types(path, one)
    none = familiar.Type(row.run, row.name, row.scores, {})
    assert none.recalled(0.3) == (0, 1)
    assert none.told[3] == "0"
