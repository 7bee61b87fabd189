"""Arguments that are no text, or numbers that Python does not read: one short line, as for any other mistake."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest
from conftest import ROOT
from synthetic import synthetic, write

from ingest.__main__ import main as ingest
from ingest.intervene import parse
from qkstore.__main__ import main
from qkstore.cli import terminal
from qkstore.cli.port import port
from qkstore.errors import QKStoreError

LONG = "9" * 5000  # Python reads 4,300 digits at most
HALF = "\udcff"  # what a byte that is no UTF-8 becomes


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, "a", data=synthetic(64))
    return str(path)


HEAD = ["--run", "a", "--contrast", "order", "--layer", "0", "--head", "0"]


@pytest.mark.parametrize("text", [LONG, HALF, f"p{HALF}", LONG[:101]], ids=["long", "half", "half behind", "101"])
@pytest.mark.parametrize(
    "command",
    [
        ["attribute", *HEAD, "--prompt"],
        ["rank", *HEAD[:-1]],
        ["heads", "--run", "a", "--contrast", "order", "--top"],
        ["sql", "--run", "a", "--rows", "5", "--limit"],
        ["runs", "--port"],
        ["contrasts", "--run"],
    ],
    ids=lambda command: command[0],
)
def test_an_odd_argument_is_one_short_line(store, capsys, command, text):
    assert main([command[0], "--store", store, *command[1:], text]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "Traceback" not in told
    assert HALF not in told


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (terminal.whole, LONG), (terminal.count, LONG), (terminal.positive, LONG), (terminal.seed, LONG),
        (terminal.prompt, LONG), (terminal.ranges("layers"), LONG), (terminal.ranges("layers"), f"1-{LONG}"),
        (terminal.ranges("layers"), f"{LONG}-1"), (parse, f"{LONG}:1"), (parse, f"1:{LONG}"), (port, LONG),
        (terminal.seconds, LONG), (terminal.whole, "-" + LONG), (terminal.whole, "--1"), (terminal.whole, "1.5"),
    ],
)  # fmt: skip
def test_no_number_is_too_long_to_be_told(read, text):
    with pytest.raises((argparse.ArgumentTypeError, QKStoreError)) as error:
        read(text)
    assert len(str(error.value)) < 200


def test_numbers_as_they_are_meant_are_read():
    assert [terminal.whole(text) for text in ("-3", "0", "12")] == [-3, 0, 12]
    assert terminal.prompt("2026010112000000000123") == "2026010112000000000123", "an id of its own"
    assert terminal.ranges("layers")("0-2,7") == (0, 1, 2, 7)


def test_the_other_command_line_too(tmp_path, capsys):
    assert ingest(["toy", "--store", str(tmp_path), "--r1", LONG, "--r2", "2", "--d-head", "4"]) == 2
    assert ingest(["demo", "--store", f"{tmp_path}/{HALF}"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 2
    assert "is not text in UTF-8" in told


def test_bytes_that_a_shell_hands_over_are_told(store):
    command = [sys.executable, "-m", "qkstore", "contrasts", "--store", store, "--run", b"\xff"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert done.returncode == 2
    assert done.stderr == b"qkstore: argument '\\udcff' is not text in UTF-8\n"
