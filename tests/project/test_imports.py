"""The import contract: app and pages → qkstore ← ingest, and qkstore stays light.

A test shows that the check can fail.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

HEAVY = {"streamlit", "torch", "transformers"}
LATE = {"umap", "scipy", "ray"}  # only inside the function that needs them
FORBIDDEN = {
    "qkstore": HEAVY | {"ingest", "pages", "dashboard", "app"},
    "pages": {"ingest", "torch", "transformers"},
    "dashboard": {"ingest", "torch", "transformers"},
    "ingest": {"pages", "dashboard", "app", "streamlit"},
}


def imports(source: str, top_level_only: bool = False) -> set[str]:
    """The packages that a file imports (its `if TYPE_CHECKING` blocks, which never run, left out)."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if top_level_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(
    ("package", "path"),
    [(p, f) for p in FORBIDDEN for f in files(p)],
    ids=lambda x: x if isinstance(x, str) else x.name,
)
def test_packages_keep_to_their_side(package, path):
    assert not imports(path.read_text()) & FORBIDDEN[package]


@pytest.mark.parametrize("path", files("qkstore"), ids=lambda p: p.name)
def test_slow_packages_are_imported_late(path):
    assert not imports(path.read_text(), top_level_only=True) & LATE


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
        if name.split('.')[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}")
sys.meta_path.insert(0, Absent())
"""


def run_without(absent: set[str], code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", BLOCK.format(absent=absent) + code], capture_output=True, text=True, cwd=ROOT
    )


EVERY_MODULE = (
    "import importlib, pathlib\nfor p in sorted(pathlib.Path('qkstore').rglob('*.py')):\n"
    "    importlib.import_module('.'.join(p.with_suffix('').parts)) if p.stem != '__init__' else None"
)


def test_every_module_of_qkstore_imports_without_the_heavy_and_the_late_ones():
    done = run_without(HEAVY | LATE, EVERY_MODULE)
    assert done.returncode == 0, done.stderr


def test_and_that_would_be_noticed():
    done = run_without({"numpy"}, EVERY_MODULE)
    assert done.returncode != 0
    assert "No module named 'numpy'" in done.stderr


def test_app_imports_without_torch():
    done = run_without(
        {"torch", "transformers"},
        (
            "import ast, pathlib\nfor p in ['app.py', *pathlib.Path('pages').glob('*.py')]:\n"
            "    compile(pathlib.Path(p).read_text(), str(p), 'exec')\nimport qkstore.charts"
        ),
    )
    assert done.returncode == 0, done.stderr
