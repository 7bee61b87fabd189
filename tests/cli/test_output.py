"""What holds of every command: its help, one line where it cannot print, one line for an option without a text."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
import stores
from conftest import ROOT

from qkstore import __main__ as command
from qkstore.cli import programs

FULL = Path("/dev/full")  # takes nothing, as a full disk
HEADS = ["heads", "--contrast", "order", "--nulls", "0"]
PRINTS = {
    "a table": HEADS,
    "JSON": [*HEADS, "--json"],
    "sql": ["sql", "select q.query_row from q"],
    "much of sql": ["sql", "select q.query_row, k.key_row, k.pos from q, k"],
    "a sentence": ["covariance", "--contrast", "order", "--layer", "1", "--head", "0", "--out", "{}/c.npz"],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return stores.write(tmp_path_factory.mktemp("store") / "store", n=80)


def ran(arguments: list[str], to: str, environment: dict | None = None) -> subprocess.CompletedProcess:
    with open(to, "w") as out:
        line = [sys.executable, "-m", "qkstore", *arguments]
        env = os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {})
        return subprocess.run(line, stdout=out, stderr=subprocess.PIPE, text=True, env=env, timeout=120, check=False)


def commands() -> dict[str, argparse.ArgumentParser]:
    action = next(a for a in command.parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


@pytest.mark.parametrize("name", ["", *commands()])
def test_no_help_shows_a_doubled_percent_sign(name):
    told = (commands()[name] if name else command.parser()).format_help()
    assert "%%" not in told
    assert "%(" not in told
    if name in ("", "growth", "covariance"):  # the control: they speak of percent
        assert "99 %" in told


def texts() -> list[tuple[str, str, int]]:
    """(command, option, how many texts it takes) of the options that take any text."""
    return [
        (name, action.option_strings[-1], action.nargs if isinstance(action.nargs, int) else 1)
        for name, sub in commands().items()
        if name not in programs.INGEST  # which become another program before their options are read
        for action in sub._actions
        if action.option_strings and action.nargs != 0 and not action.choices
    ]


SAYS_SOMETHING = {"--where", "--description", "--author", "--login"}  # none of it
OF_A_COMMAND = {("serve", "--ray"), ("notes", "--search")}  # no cluster; every note


@pytest.mark.parametrize(("name", "option", "n"), texts())
def test_an_option_without_a_text_is_one_line_that_names_it(store, capsys, name, option, n):
    sub = commands()[name]
    needed = [a.option_strings[-1] for a in sub._actions if a.required and a.option_strings]
    given = [part for one in needed if one != option for part in (one, "1")]
    places = ["select 1"] if name == "sql" else []
    if (option in SAYS_SOMETHING and name != "components") or (name, option) in OF_A_COMMAND:
        assert sub.parse_args([*given, option, ""])
        return
    assert command.main([name, "--store", str(store), *given, *places, option, *[""] * n]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert option in told.err


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", PRINTS.values(), ids=PRINTS.keys())
def test_an_output_that_cannot_be_written_is_one_line(store, tmp_path, arguments, unbuffered):
    arguments = [arguments[0], "--store", str(store), "--run", "boxes", *arguments[1:]]
    arguments = [a.format(tmp_path) for a in arguments]
    ended = ran(arguments, str(FULL), {"PYTHONUNBUFFERED": unbuffered})
    *progress, last = ended.stderr.splitlines()
    assert (ended.returncode, last) == (2, "qkstore: the output cannot be written: No space left on device")
    assert all(line.startswith("heads: ") for line in progress), "of a busy machine"
    assert ran(arguments, str(tmp_path / "out"), {"PYTHONUNBUFFERED": unbuffered}).returncode == 0, "the control"
    assert (tmp_path / "out").read_text()


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", [["--help"], ["heads", "--help"], ["--version"]])
def test_help_that_cannot_be_written_is_one_line(arguments, unbuffered):
    ended = ran(arguments, str(FULL), {"PYTHONUNBUFFERED": unbuffered})
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert ran(arguments, os.devnull).returncode == 0, "the control"


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_file_that_cannot_be_written_is_one_line(store):
    at = ["--store", str(store), "--run", "boxes", "--contrast", "order", "--layer", "1", "--head", "0"]
    ended = ran(["intervene", *at, "--out", "/dev/full/each.csv"], os.devnull)
    assert ended.returncode == 2
    assert ended.stderr.endswith("qkstore: /dev/full/each.csv was not written: Not a directory\n")


def test_a_reader_that_goes_away_ends_a_command_without_a_word(store):
    line = [sys.executable, "-m", "qkstore", "sql", "--store", str(store), "--run", "boxes"]
    process = subprocess.Popen(
        [*line, "select q.query_row, k.key_row, k.pos from q, k"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0
