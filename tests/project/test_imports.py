"""The import contract: app and pages → qkstore ← ingest, and qkstore stays light.

A test shows that the check can fail.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import stores
from conftest import ROOT
from test_house import FRONT, ORDER, module_of

HEAVY = {"streamlit", "torch", "transformers"}
LATE = {"umap", "scipy", "sklearn", "ray"}  # only inside the function that needs them
FORBIDDEN = {
    "qkstore": HEAVY | {"ingest", "pages", "dashboard", "app"},
    "pages": {"ingest", "torch", "transformers"},
    "dashboard": {"ingest", "torch", "transformers"},
    "ingest": {"pages", "dashboard", "app", "streamlit"},
}


def imports(source: str, top_level_only: bool = False) -> set[str]:
    """The packages that a file imports (its `if TYPE_CHECKING` blocks, which never run, left out)."""
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if top_level_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return names


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def meets(package: str, names: set[str], top_level_only: bool = False) -> dict[str, set[str]]:
    """{file of a package: those names that it imports}, of the files that do."""
    met = {str(p.relative_to(ROOT)): imports(p.read_text(), top_level_only) & names for p in files(package)}
    return {file: found for file, found in met.items() if found}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages_keep_to_their_side(package):
    assert len(files(package)) > 8
    assert meets(package, FORBIDDEN[package]) == {}


def test_slow_packages_are_imported_late():
    assert meets("qkstore", LATE, top_level_only=True) == {}
    assert meets("qkstore", LATE), "the control: in functions they are"


def test_the_check_can_fail():
    assert imports("import torch\n") & HEAVY
    assert imports("def f():\n    from torch import nn\n") & HEAVY
    assert imports("from scipy.sparse import csr_array\n", top_level_only=True) & LATE
    assert not imports("def f():\n    import umap\n", top_level_only=True) & LATE
    assert not imports("if TYPE_CHECKING:\n    import torch\n") & HEAVY


BLOCK = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if any(name == absent or name.startswith(absent + '.') for absent in {absent!r}):
            raise ModuleNotFoundError(f"No module named {{name!r}}")
sys.meta_path.insert(0, Absent())
"""
EVERY_MODULE = [module_of(path) for path in files("qkstore")]
FRONT_ROOM = ["qkstore", *(f"qkstore.{name}" for name in (*ORDER[0], *FRONT))]
ROOMS = {name for name in EVERY_MODULE if ".".join(name.split(".")[:2]) not in FRONT_ROOM}


def run_without(absent: set[str], code: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", BLOCK.format(absent=absent) + code]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment)


def importing(modules: list[str]) -> str:
    return f"import importlib\nfor name in {modules!r}:\n    importlib.import_module(name)"


@pytest.mark.parametrize(
    ("absent", "modules"),
    [(HEAVY | LATE | {"ingest"}, EVERY_MODULE), (HEAVY | LATE | {"duckdb"} | ROOMS, FRONT_ROOM)],
    ids=["qkstore without the heavy, the late and ingest", "the front room without duckdb and every other room"],
)
def test_it_imports_without(absent, modules):
    done = run_without(absent, importing(modules))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("absent", "modules"), [("numpy", EVERY_MODULE), ("duckdb", EVERY_MODULE), ("qkstore.subspace", FRONT_ROOM)]
)
def test_and_what_is_missing_would_be_noticed(absent, modules):
    done = run_without({absent}, importing(modules))
    assert done.returncode != 0
    assert f"No module named '{absent}'" in done.stderr


SHOWN = """
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest
begin = PagesManager.__init__
def warm(manager, *arguments, **options):
    begin(manager, *arguments, **options)
    PagesManager.uses_pages_directory = False
PagesManager.__init__ = warm
for page in {pages}:
    app = AppTest.from_file("app.py", default_timeout=60)
    (app if page == "overview" else app.switch_page(f"pages/{{page}}.py")).run()
    print([title.value for title in app.title], len(app.error), len(app.exception))
"""
PAGES = sorted(path.stem for path in files("pages"))


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> dict[str, str]:
    """What each page prints of itself where there is no torch, no transformers and no ingest."""
    store = stores.write(tmp_path_factory.mktemp("light") / "store")
    done = run_without({"torch", "transformers", "ingest"}, SHOWN.format(pages=PAGES), QKSTORE=str(store))
    return dict(zip(PAGES, done.stdout.splitlines()[-len(PAGES) :], strict=True))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_shown_without_torch_and_ingest(shown, page):
    assert shown[page] == f"['{page.capitalize()}'] 0 0"


def test_a_page_that_misses_what_it_imports_would_be_noticed(tmp_path):
    done = run_without({"altair"}, SHOWN.format(pages=["heads"]), QKSTORE=str(stores.write(tmp_path / "store")))
    assert not done.stdout.endswith(" 0 0\n")


COLLECT = """
import sys
import pytest

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "ray"):
            raise ModuleNotFoundError(f"no {name} here")

sys.meta_path.insert(0, Absent())
sys.exit(pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", "-m", "not slow", *sys.argv[1:]]))
"""


@pytest.mark.parametrize(("more", "code"), [([], 0), (["tests/ingest/test_pace.py"], 2)], ids=["", "the control"])
def test_the_tests_of_the_wheel_need_no_torch(more, code):
    """Those that setup/newest.sh runs, where qkstore is installed alone; another one does, and is told."""
    told = (ROOT / "setup" / "newest.sh").read_text()
    assert 'tests/front tests/cli -m "not slow" --ignore tests/front/test_rank.py' in told
    these = more or ["tests/front", "tests/cli", "--ignore", "tests/front/test_rank.py"]
    done = subprocess.run([sys.executable, "-c", COLLECT, *these], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, done.stdout[-2000:]
