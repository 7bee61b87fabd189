"""Commands while another program holds the catalogue."""

from __future__ import annotations

import pytest
from holding import holding
from synthetic import synthetic, write

import qkstore
from qkstore.__main__ import main
from qkstore.contrast import Contrast
from qkstore.store.catalog import embedded


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "READ_S", 0.2)
    monkeypatch.setattr(embedded, "WRITE_S", 0.4)
    write(tmp_path, "a", data=synthetic(64))
    mine = Contrast(
        "mine", "k.prompt_id = q.prompt_id", "k.order_id = q.queried_order", "k.order_id <> q.queried_order"
    )
    qkstore.open(tmp_path).catalog.save(mine)
    return tmp_path


def test_a_command_that_reads_goes_on_and_names_the_holder_in_one_line(store, capsys):
    command = ["rank", "--store", str(store), "--run", "a", "--contrast", "mine", "--layer", "0", "--head", "0"]
    with holding(store / "catalog.duckdb") as process:
        assert main(command) == 0
    out, told = capsys.readouterr()
    assert out
    assert told.startswith("qkstore: catalogue catalog.duckdb is held open by process")
    assert str(process.pid) in told
    assert told.count("\n") == 1
    assert main(command) == 0
    assert capsys.readouterr() == (out, ""), "the control: nobody holds it, and the numbers are the same"


def test_one_that_writes_ends_with_one_line(store, capsys):
    save = ["contrasts", "--store", str(store), "--save", "more", "--positive", "k.pos = 1", "--negative", "k.pos = 2"]
    with holding(store / "catalog.duckdb") as process:
        assert main(save) == 2
    told = capsys.readouterr().err
    assert f"held open by process {process.pid}" in told
    assert told.count("\n") == 1
