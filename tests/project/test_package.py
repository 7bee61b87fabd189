"""The package as people install it: the wheel in an empty environment, used from a folder that is not the clone.

One environment without torch serves most of the tests: a real install, with the pins, from the package index. One with
the ingest extra would download torch again; so there the wheel alone is installed, and torch and all others are those
of the environment that runs the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT
from ports import free_port
from served import answer
from synthetic import write

import qkstore

pytestmark = pytest.mark.slow

CLEAN = {name: value for name, value in os.environ.items() if name not in ("QKSTORE", "PYTHONPATH")}
PIP = [
    "install",
    "--quiet",
    "--disable-pip-version-check",
    "--no-compile",
    "--retries",
    "10",
    *os.environ.get("PIP_EXTRA", "").split(),
]


def run(*command, cwd: Path, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=CLEAN, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-4000:]
    return done


def build(source: Path, into: Path) -> Path:
    """The wheel that `pip install` makes of a folder; its build needs no network, hatchling is there."""
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--wheel-dir", into]
    run(sys.executable, "-m", "pip", "wheel", *options, source, cwd=into.parent)
    (wheel,) = into.glob("qkstore-*.whl")
    return wheel


def made(folder: Path) -> Path:
    """A fresh environment; returns its folder of commands."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    return folder / "bin"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("build") / "wheel")


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory) -> Path:
    """The commands of an environment with the wheel, what it needs and a notebook's kernel; no torch."""
    commands = made(tmp_path_factory.mktemp("installed") / "venv")
    pins = ["-c", ROOT / "setup/constraints.txt"]
    run(commands / "python", "-m", "pip", *PIP, *pins, wheel, "ipykernel", cwd=commands)
    return commands


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory) -> Path:
    """A folder with a store in it: one run, and a saved contrast."""
    folder = tmp_path_factory.mktemp("elsewhere")
    write(folder / "store", n=256)
    where = "k.prompt_id = q.prompt_id"
    positive, negative = "k.order_id = q.queried_order", "k.order_id <> q.queried_order"
    mine = qkstore.Contrast(name="mine", where=where, positive=positive, negative=negative)
    qkstore.open(folder / "store").catalog.save(mine)
    return folder


# -- what is in it -------------------------------------------------------------------------------------------------


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_what_runs_and_nothing_else(wheel):
    names = set(contents(wheel))
    tracked = run("git", "ls-files", cwd=ROOT).stdout.splitlines() if (ROOT / ".git").exists() else sorted(names)
    moved = {"app.py", ".streamlit/config.toml"}
    expected = {name for name in tracked if name.split("/")[0] in ("qkstore", "ingest", "dashboard")}
    expected |= {f"dashboard/site/{name}" for name in tracked if name in moved or name.startswith("pages/")}
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert {"qkstore/py.typed", "dashboard/points/plot.js", "ingest/demo_model/model.safetensors"} <= names


def test_a_source_archive_makes_the_same_wheel(wheel, tmp_path):
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    (archive,) = tmp_path.glob("qkstore-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    again = build(tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path / "wheel")
    assert contents(again) == contents(wheel)


# -- without torch -------------------------------------------------------------------------------------------------


def test_there_is_no_torch(installed, elsewhere):
    listed = json.loads(run(installed / "python", "-m", "pip", "list", "--format", "json", cwd=elsewhere).stdout)
    names = {package["name"].lower() for package in listed}
    assert "qkstore" in names
    assert not {"torch", "transformers"} & names
    run(installed / "python", "-m", "pip", "check", cwd=elsewhere)


def test_a_script_in_another_folder(installed, elsewhere):
    (elsewhere / "script.py").write_text(
        "import qkstore\nfrom qkstore import analysis, heads\n"
        "run = qkstore.open('store').run('synthetic')\n"
        "mine = qkstore.open('store').catalog.contrast('mine')\n"
        "best = max(heads.heads(run, mine, 0), key=lambda h: h.accuracy)\n"
        "print(analysis.covariance(run, mine, best.layer, best.head).subspace.rank, qkstore.__file__)\n"
    )
    rank, file = run(installed / "python", "script.py", cwd=elsewhere).stdout.split()
    assert rank == "3"
    assert Path(file).is_relative_to(installed.parent)


def test_a_notebook_in_another_folder_shows_a_chart(installed, elsewhere):
    import nbformat

    cell = (
        "import qkstore\nstore = qkstore.open('store')\nrun = store.run('synthetic')\n"
        "qkstore.show(run, store.catalog.contrast('mine'), 1, 0, what='swaps')"
    )
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)]), elsewhere / "n.ipynb")
    kernel = elsewhere / "kernels/kernels/installed"
    kernel.mkdir(parents=True)
    command = [str(installed / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "installed", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    options = ["--to", "notebook", "--execute", "--output", "done", "--ExecutePreprocessor.kernel_name=installed"]
    run(
        *["env", f"JUPYTER_PATH={elsewhere / 'kernels'}", sys.executable, "-m", "nbconvert"],
        *[*options, "n.ipynb"],
        cwd=elsewhere,
    )
    (output,) = nbformat.read(elsewhere / "done.ipynb", 4).cells[0].outputs
    assert "vegaEmbed" in output["data"]["text/html"]
    assert '"mine"' in output["data"]["text/html"]


def test_the_command(installed, elsewhere):
    assert run(installed / "qkstore", "--version", cwd=elsewhere).stdout == f"qkstore {qkstore.__version__}\n"
    rows = json.loads(run(installed / "qkstore", "runs", "--json", cwd=elsewhere).stdout)
    assert [row["run"] for row in rows] == ["synthetic"]
    for arguments in (["ingest"], ["ingest", "demo"], ["demo", "--store", "store"]):
        done = run(installed / "qkstore", *arguments, cwd=elsewhere, code=2)
        assert "not installed: pip install 'qkstore[ingest]', or in a clone `make demo`" in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""


def test_serve_answers_and_shows_a_page(installed, elsewhere):
    port = free_port()
    command = [installed / "qkstore", "serve", "--store", "store", "--port", str(port)]
    server = subprocess.Popen(command, cwd=elsewhere, env=CLEAN, stdout=subprocess.DEVNULL)
    try:
        assert answer(f"http://127.0.0.1:{port}/_stcore/health") == "ok"
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).read().decode()
        assert "<title>qkstore</title>" in page
    finally:
        server.kill()
        server.wait()
    folder = installed.parent / sysconfig.get_path("purelib", vars={"base": ""}).strip("/") / "dashboard/site"
    (elsewhere / "page.py").write_text(
        "from streamlit.testing.v1 import AppTest\n"
        f"app = AppTest.from_file({str(folder / 'app.py')!r}, default_timeout=60).run()\n"
        "assert not app.exception and not app.error, (app.exception, app.error)\n"
        "print('synthetic' in str(app.main))\n"
    )
    assert run(installed / "python", "page.py", cwd=elsewhere).stdout.strip() == "True"


# -- with the ingest extra -----------------------------------------------------------------------------------------


def test_the_demo_with_the_ingest_extra(wheel, tmp_path):
    """Three of its four runs are there already, small ones of another kind, so that it makes one and saves time."""
    there = ["demo-boxes-both", "demo-boxes-ent", "demo-boxes-ord"]
    for name in there:
        write(tmp_path / "store", name, n=32)
    commands = made(tmp_path / "venv")
    run(commands / "python", "-m", "pip", *PIP, "--no-deps", wheel, cwd=tmp_path)
    (packages,) = commands.parent.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    code = "import qkstore; print(qkstore.__file__)"
    assert Path(run(commands / "python", "-c", code, cwd=tmp_path).stdout.strip()).is_relative_to(tmp_path)
    done = run(commands / "qkstore", "demo", "--store", "store", cwd=tmp_path)
    assert done.stdout == "1 demo runs made, 3 were there already\n"
    rows = json.loads(run(commands / "qkstore", "runs", "--store", "store", "--json", cwd=tmp_path).stdout)
    assert [row["run"] for row in rows] == [*there, "demo-lists"]
    assert rows[-1]["model"] == "demo"
    assert rows[-1]["n_prompts"] == 2000 + 1000, "whole, as the demo is promised"
