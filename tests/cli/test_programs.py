"""The commands that become another program, the ingest and the dashboard; and what a shell is told of all commands."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from ports import free_port
from served import answer
from synthetic import write

import qkstore
from ingest.__main__ import NEEDS
from qkstore.__main__ import COMMANDS, parser
from qkstore.pool.opened import has_ray

MODULE = [sys.executable, "-P", "-m", "qkstore"]


def call(*arguments, python=(sys.executable, "-P"), module="qkstore", cwd=None, **environment):
    """The command line in a process of its own, from a folder that is not the clone."""
    command = [*python, "-m", module, *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if name != "QKSTORE"}
    there = clean | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(command, cwd=cwd, env=there, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("programs") / "store"
    write(path, n=64)
    return path


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A Python as it comes, with nothing installed beside it."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin/python", "-P"


def test_the_version_is_that_of_the_package(tmp_path):
    done = call("--version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == f"qkstore {qkstore.__version__}\n"


def test_no_command_is_listed_twice_and_each_has_a_help():
    (commands,) = [action for action in parser()._actions if action.metavar == "COMMAND"]
    assert len(commands.choices) == len(COMMANDS) == len(commands._choices_actions)
    assert all(choice.help for choice in commands._choices_actions)


def test_no_two_options_of_a_command_say_the_same():
    """A text that stood before one more option was put between would be told of both."""
    (commands,) = [action for action in parser()._actions if action.metavar == "COMMAND"]
    for name, command in commands.choices.items():
        told = [action.help for action in command._actions if action.help]
        assert len(set(told)) == len(told), name


# -- the ingest ----------------------------------------------------------------------------------------------------


def test_the_ingest_gets_its_arguments_as_they_are(tmp_path):
    done = call("ingest", "model", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == call("model", "--help", module="ingest", cwd=tmp_path).stdout
    done = call("demo", "--help", cwd=tmp_path)
    assert "--train" in done.stdout
    done = call("ingest", "model", "--nope", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == call("model", "--nope", module="ingest", cwd=tmp_path).stderr


def test_a_folder_named_like_the_ingest_is_not_taken_for_it(tmp_path):
    (tmp_path / "ingest").mkdir()
    (tmp_path / "ingest/__init__.py").write_text("")
    (tmp_path / "ingest/__main__.py").write_text("print('another')")
    assert "another" not in call("ingest", "--help", cwd=tmp_path).stdout


@pytest.mark.parametrize("arguments", [["ingest"], ["ingest", "demo"], ["demo"], ["ingest", "model", "--run", "x"]])
def test_without_torch_one_line_says_what_to_install(tmp_path, arguments):
    (tmp_path / "sitecustomize.py").write_text(ABSENT.format(set(NEEDS[:4])))
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = call(*arguments, cwd=tmp_path, PYTHONPATH=paths)
    assert (done.returncode, done.stdout) == (2, "")
    said = "are not installed: pip install 'qkstore[ingest]', or in a clone `make demo`"
    assert done.stderr == f"error: torch, transformers, safetensors, tokenizers {said}\n"


ABSENT = """
import importlib.util, sys
whole = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in {0!r} else whole(name, package)
"""


@pytest.mark.parametrize(
    ("module", "arguments", "says"),
    [
        ("ingest", ["demo"], "qkstore[ingest]"),
        ("ingest", [], "qkstore[ingest]"),
        ("qkstore", ["ingest", "demo"], "qkstore[ingest]"),
        ("qkstore", ["runs"], "pip install qkstore"),
        ("qkstore", ["serve"], "pip install qkstore"),
    ],
)
def test_without_any_package_one_line_says_what_to_install(tmp_path, bare, module, arguments, says):
    done = call(*arguments, python=bare, module=module, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert "make demo" in done.stderr


def test_help_needs_no_package(tmp_path, bare):
    for module in ("ingest", "qkstore"):
        done = call("--help", python=bare, module=module, cwd=tmp_path)
        assert done.returncode == 0
        assert "demo" in done.stdout


# -- the dashboard -------------------------------------------------------------------------------------------------


def test_serve_shows_a_store_from_any_folder(store):
    """Named by a path that is relative to the caller's folder, and listening on this machine alone."""
    number = free_port()
    there = os.environ | {"PYTHONPATH": str(ROOT)}
    cluster = ["--ray", "127.0.0.1:1"] if has_ray() else []  # it is an extra
    command = [*MODULE, "serve", "--store", store.name, "--port", str(number), *cluster]
    server = subprocess.Popen(command, cwd=store.parent, env=there, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline() == f"qkstore is at http://127.0.0.1:{number}  (Ctrl+C ends it)\n"
        url = f"http://127.0.0.1:{number}/_stcore/health"
        assert answer(url) == "ok"
        environment = Path(f"/proc/{server.pid}/environ")
        if environment.exists():
            assert f"QKSTORE={store}\0" in environment.read_text()
            told = "QKSTORE_RAY=127.0.0.1:1\0" in environment.read_text()
            assert told == bool(cluster), "it is asked when there is a sweep"
            assert Path(f"/proc/{server.pid}/cwd").resolve() == ROOT
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", "abc"], "'abc': a port is a number from 1 to 65535"),
        (["--port", "65536"], "'65536': a port is a number from 1 to 65535"),
        (["--allow-host", "*"], "'*': a host is a name such as store.example.org, without a port"),
        (["--allow-host", "a.org:80"], "'a.org:80': a host is a name"),
        (["--store", "nowhere"], "no store at 'nowhere': make one with"),
    ],
)
def test_what_cannot_be_served_is_one_line(tmp_path, arguments, says):
    done = call("serve", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_names_the_next(store):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        done = call("serve", "--store", store, "--port", number)
        assert done.returncode == 2
        assert f"port {number} of 127.0.0.1 cannot be used" in done.stderr
        assert re.search(r"choose another: qkstore serve --port \d+\n", done.stderr)


def port(number):
    command = [sys.executable, "-m", "qkstore.cli.port", str(number)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_one_line_and_a_free_one_none(address):
    with socket.socket() as taken:
        taken.bind((address, 0))
        taken.listen()
        number = taken.getsockname()[1]
        done = port(number)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert f"port {number} of 127.0.0.1 cannot be used" in done.stderr
        assert "make demo PORT=" in done.stderr
    done = port(number)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("number", ["abc", "0", "65536", "-1", "80.5", "²", ""])
def test_what_is_no_port_is_one_line(number):
    done = port(number)
    assert done.returncode == 1
    assert "a port is a number from 1 to 65535" in done.stderr
    assert done.stderr.count("\n") == 1


# -- completion by a shell -----------------------------------------------------------------------------------------


def completions(line: str, tmp_path, program="qkstore", **more) -> set[str]:
    """What a shell would offer for a line."""
    out = tmp_path / "completions"
    out.unlink(missing_ok=True)
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    call(module=program, cwd=tmp_path, _ARGCOMPLETE_STDOUT_FILENAME=str(out), **asked, **more)
    return {word.strip() for word in out.read_text().split("\n")} - {""}


def test_commands_and_options_are_completed(tmp_path):
    assert {"demo", "ingest", "serve", "heads", "report", "sql"} <= completions("qkstore ", tmp_path)
    assert completions("qkstore he", tmp_path) == {"heads"}
    assert {"--run", "--contrast", "--nulls"} <= completions("qkstore heads --", tmp_path)
    assert completions("qkstore intervene --side ", tmp_path) == {"keys", "queries"}


def test_runs_and_contrasts_of_a_store_are_completed(tmp_path, store):
    assert completions(f"qkstore heads --store {store} --run s", tmp_path) == {"synthetic"}
    assert "synthetic" in completions("qkstore heads --run ", tmp_path, QKSTORE=str(store))
    line = f"qkstore heads --store {store} --run synthetic --contrast "
    assert {"order", "lexical"} <= completions(line, tmp_path)
    assert {"order", "lexical"} <= completions(f"{line}order ", tmp_path), "several"
    assert completions("qkstore heads --store nowhere --run a --contrast ", tmp_path) == set()


def test_the_ingest_s_own_words_are_completed(tmp_path):
    assert {"demo", "model", "paper", "toy-sweep"} <= completions("qkstore ingest ", tmp_path)
    assert completions("qkstore ingest mo", tmp_path) == {"model"}
    assert {"--task", "--device"} <= completions("qkstore ingest model --", tmp_path)
    assert "--train" in completions("qkstore demo --", tmp_path)


def test_a_completion_imports_nothing_slow():
    code = (
        "import sys; from qkstore.__main__ import parser; parser(); from ingest.__main__ import parser; parser();"
        "sys.exit(bool({'numpy', 'duckdb', 'polars', 'streamlit', 'torch', 'tqdm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_the_line_that_the_readme_gives_a_shell_is_one_that_it_takes():
    (line,) = re.findall(r'^(eval "\$\(register-python-argcomplete qkstore\)")', (ROOT / "README.md").read_text(), re.M)
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", f"{line}; complete -p qkstore"],
        env=os.environ | {"PATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "argcomplete" in done.stdout
    assert "PYTHON_ARGCOMPLETE_OK" in (ROOT / "qkstore/__main__.py").read_text()[:1024]
