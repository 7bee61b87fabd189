"""Installing and starting: a plain line where something is missing, and nothing done twice.

Interpreters are fake, and there is no network.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import pytest
from conftest import ROOT

TOOLS = (
    "sh",
    "cat",
    "cksum",
    "basename",
    "tail",
    "grep",
    "rm",
    "mkdir",
    "cp",
    "chmod",
    "make",
    "env",
    "cut",
    "dirname",
)

# A stand-in for an interpreter: it knows its version, makes a .venv that holds itself,
# and writes down what pip was asked for.
PYTHON = """#!/bin/sh
case "$1" in
  --version) echo "Python {version}" ;;
  -c) exit {fits} ;;
  -m) case "$2" in
        venv) mkdir -p "$3/bin" || exit 1; cp "$0" "$3/bin/python"; {venv} ;;
        pip) echo "$*" >>calls; echo "{says}"; exit {pip} ;;
        qkstore.cli.port) PYTHONPATH={root} exec {real} "$@" ;;
        *) echo "ran $*" ;;
      esac ;;
esac
"""


class Place:
    """A clone with nothing installed, and a PATH with only what we put there."""

    def __init__(self, folder):
        self.folder, self.bin = folder / "clone", folder / "bin"
        self.bin.mkdir()
        shutil.copytree(ROOT / "setup", self.folder / "setup")
        for path in [*ROOT.glob("requirements*.txt"), ROOT / "Makefile", ROOT / "pyproject.toml"]:
            shutil.copy(path, self.folder)
        for tool in TOOLS:
            if there := shutil.which(tool):
                (self.bin / tool).symlink_to(there)

    def python(self, name, version="3.11.9", fits=True, venv="exit 0", pip=0, says="Successfully installed"):
        path = self.bin / name
        path.write_text(
            PYTHON.format(
                version=version, fits=0 if fits else 1, venv=venv, pip=pip, says=says, real=sys.executable, root=ROOT
            )
        )
        path.chmod(0o755)
        return path

    def run(self, *command, **environment):
        clean = {"PATH": str(self.bin), "HOME": str(self.folder)}
        return subprocess.run(command, cwd=self.folder, env=clean | environment, capture_output=True, text=True)

    def install(self, wanted="requirements.txt", **environment):
        return self.run("sh", "setup/install.sh", wanted, **environment)

    @property
    def calls(self):
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_an_install_is_pinned_and_a_second_one_does_nothing(place):
    place.python("python3.11")
    first = place.install()
    assert first.returncode == 0
    assert "installing requirements.txt into .venv" in first.stdout
    assert len(place.calls) == 1
    assert "-c setup/constraints.txt -r requirements.txt" in place.calls[0]
    second = place.install()
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert len(place.calls) == 1


def test_new_pins_other_requirements_or_a_lost_venv_are_installed(place):
    place.python("python3.11")
    place.install()
    assert place.install("requirements-test.txt").returncode == 0
    assert len(place.calls) == 2
    with open(place.folder / "setup/constraints.txt", "a") as pins:
        pins.write("something==1.0\n")
    assert place.install().returncode == 0
    assert len(place.calls) == 3
    with open(place.folder / "pyproject.toml", "a") as project:
        project.write("# another dependency\n")
    assert place.install().returncode == 0
    assert len(place.calls) == 4
    (place.folder / ".venv/bin/python").unlink()
    assert place.install().returncode == 0
    assert len(place.calls) == 5


def test_an_installed_venv_needs_no_other_python(place):
    python = place.python("python3.11")
    place.install(PYTHON=str(python))
    python.unlink()
    place.python("python3", "3.9.2", fits=False)
    assert place.install().returncode == 0


@pytest.mark.parametrize(
    ("version", "environment", "says"),
    [
        ("3.9.2", {}, "found: Python 3.9.2"),
        (None, {}, "found: no python3"),
        ("3.14.0", {}, "found: Python 3.14.0"),
        ("3.12.1", {"PYTHON": "python3.9"}, "found: no python3.9"),
    ],
)
def test_an_old_python_or_none_is_named_in_one_line(place, version, environment, says):
    if version:
        place.python("python3", version, fits=version == "3.12.1")
    done = place.install(**environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert "qkstore needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert says in done.stderr
    assert "PYTHON=" in done.stderr
    assert not (place.folder / ".venv").exists()
    assert not place.calls


def test_the_newest_python_that_fits_is_taken(place):
    place.python("python3", "3.9.2", fits=False)
    place.python("python3.11", "3.11.9")
    place.python("python3.13", "3.13.1")
    assert place.install().returncode == 0
    assert place.run(".venv/bin/python", "--version").stdout == "Python 3.13.1\n"


def test_the_real_python_is_judged_by_its_version(place):
    """The fakes answer by themselves; this one is asked. It gets as far as pip, which this .venv lacks."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place.folder / ".venv"], check=True)
    done = place.install(PYTHON=sys.executable)
    assert "qkstore needs" not in done.stderr
    assert "made with" not in done.stderr
    assert done.returncode == 2
    assert "No module named pip" in done.stderr
    assert not (place.folder / ".venv/installed-requirements").exists()


def test_a_venv_of_an_old_python_is_named(place):
    place.python("python3.11")
    (place.folder / ".venv/bin").mkdir(parents=True)
    old = place.python("old", "3.8.1", fits=False)
    shutil.move(old, place.folder / ".venv/bin/python")
    done = place.install()
    assert done.returncode == 2
    assert "made with Python 3.8.1" in done.stderr
    assert "delete .venv" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_ensurepip_the_package_is_named_and_no_half_venv_stays(place):
    place.python("python3.11", venv="echo 'ensurepip is not available'; exit 1")
    for _ in range(2):
        done = place.install()
        assert done.returncode == 2
        assert "apt-get install python3-venv" in done.stderr
        assert done.stderr.count("\n") == 1
        assert not (place.folder / ".venv").exists()


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("error: command 'gcc' failed", "no compiler or Python headers were found"),
        ("fatal: Python.h: No such file", "build-essential"),
        ("No matching distribution", "the whole log is .venv/install.log"),
    ],
)
def test_a_failed_install_says_why_and_is_repeated(place, log, says):
    place.python("python3.11", pip=1, says=log)
    done = place.install()
    assert done.returncode == 2
    assert says in done.stderr
    assert log in done.stderr
    place.install()
    assert len(place.calls) == 2, "what failed is not taken for installed"


def test_extra_options_reach_pip(place):
    place.python("python3.11")
    place.install(PIP_EXTRA="--extra-index-url somewhere")
    assert "--extra-index-url somewhere -c setup/constraints.txt" in place.calls[0]


# -- make --------------------------------------------------------------------------------------------------------

needs_make = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


@needs_make
def test_make_demo_installs_ingests_and_serves(place):
    place.python("python3.11")
    done = place.run("make", "demo", "PORT=18765", "STORE=some/place")
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[1:] == [
        "ran -m qkstore demo --store some/place",
        "ran -m qkstore serve --store some/place --port 18765",
    ]


@needs_make
def test_make_demo_stops_at_a_taken_port_before_it_ingests(place):
    place.python("python3.11")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = place.run("make", "demo", f"PORT={taken.getsockname()[1]}")
    assert done.returncode == 2
    assert "cannot be used" in done.stderr
    assert "ran" not in done.stdout


@needs_make
def test_make_test_installs_what_tests_need_and_runs_them(place):
    place.python("python3.11")
    done = place.run("make", "test")
    assert done.returncode == 0
    assert "ran -m pytest tests" in done.stdout
    assert "-r requirements-test.txt" in place.calls[0]


@needs_make
def test_make_stops_where_python_is_old(place):
    place.python("python3", "3.8.10", fits=False)
    done = place.run("make", "demo")
    assert done.returncode == 2
    assert "found: Python 3.8.10" in done.stderr
    assert done.stdout.count("ran") == 0


@needs_make
def test_every_target_that_is_declared_is_there(place):
    text = (ROOT / "Makefile").read_text()
    declared = text.split(".PHONY:")[1].splitlines()[0].split()
    assert set(declared) == {
        line.split(":")[0]
        for line in text.splitlines()
        if line and line[0].isalpha() and ":" in line and "=" not in line.split(":")[0] + line.split(":")[1][:1]
    }


@needs_make
@pytest.mark.parametrize(
    ("target", "runs"),
    [("lint", "ran -m ruff check\nran -m ruff format --check\n"), ("types", "ran -m mypy\n")],
)
def test_make_checks_what_it_says(place, target, runs):
    place.python("python3.11")
    done = place.run("make", target)
    assert done.returncode == 0
    assert done.stdout.endswith(runs)
    assert "-r requirements-test.txt" in place.calls[0]


def test_the_scripts_are_executable_where_they_are_called_so():
    text = (ROOT / ".ci/run").read_text()
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert "make lint types test" in text
    assert "QKSTORE_NO_SKIP=1" in text
