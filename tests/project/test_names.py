"""The names of the package: loaded on first use, from any folder, and old ones told by their new place."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import qkstore

PUBLISHED = (  # what the README and docs of version 0.1.0 named
    "qkstore.open qkstore.analysis.covariance qkstore.analysis.intervene qkstore.attribution.attribute "
    "qkstore.attribution.shares qkstore.balance.balanced qkstore.canonical.canonical qkstore.covariance.Pairs "
    "qkstore.null.SignNull qkstore.dimension.dimension qkstore.dose.response qkstore.growth.growth "
    "qkstore.heads.heads qkstore.intervention.swap qkstore.live.results qkstore.projection.project "
    "qkstore.query_swap.intervene qkstore.rank.ranks qkstore.score.score qkstore.selection.filter_heads "
    "qkstore.subspace.principal_angles qkstore.subspace.rank qkstore.subspace.union qkstore.toy.closed_form "
    "qkstore.toy.interaction qkstore.toy.toys qkstore.variant.variants"
).split()


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_name_works_or_is_told_by_its_new_place(name):
    module = name.split(".")[1]
    if module not in qkstore._MOVED or module == "heads":
        assert pkgutil.resolve_name(name) is not None
        return
    with pytest.raises(AttributeError, match=f"qkstore.{module} has moved: it is in qkstore"):
        pkgutil.resolve_name(f"qkstore:{module}")


@pytest.mark.parametrize("old", sorted(qkstore._MOVED))
def test_where_a_module_has_gone_is_a_place_that_is_there(old):
    pkgutil.resolve_name(f"{qkstore._MOVED[old]}:")
    assert not (ROOT / "qkstore" / f"{old}.py").exists()
    for statement in (f"import qkstore.{old}", f"from qkstore.{old} import x"):
        with pytest.raises(ModuleNotFoundError, match=f"qkstore.{old} has moved: it is in {qkstore._MOVED[old]} now"):
            exec(statement)


def test_the_three_ways_to_ask_for_a_name_that_has_moved_say_where_it_is():
    said = "qkstore.dimension has moved: it is in qkstore.analysis.evidence now"
    with pytest.raises(AttributeError, match=said):
        qkstore.dimension  # noqa: B018
    with pytest.raises(ImportError, match=said):
        exec("from qkstore import dimension")
    with pytest.raises(ImportError, match=said):
        exec("import qkstore.dimension")
    assert not hasattr(qkstore, "dimension")


def test_a_name_that_never_was_is_a_plain_error():
    with pytest.raises(AttributeError, match="module 'qkstore' has no attribute 'nope'"):
        qkstore.nope  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nope'"):
        exec("from qkstore import nope")
    with pytest.raises(ModuleNotFoundError, match="No module named 'qkstore.nope'"):
        exec("import qkstore.nope")


def test_every_lazy_name_is_there():
    assert "heads" in qkstore.__all__
    for name in qkstore.__all__:
        assert getattr(qkstore, name) is not None


def run(code: str, folder: Path) -> str:
    """What a script in a folder prints, by an interpreter that has not heard of the clone."""
    (folder / "script.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def beside(tmp_path) -> Path:
    """A folder that holds the clone, under the name of the package."""
    (tmp_path / "qkstore").symlink_to(ROOT)
    return tmp_path


def test_a_script_beside_a_clone_gets_the_package(beside):
    code = (
        "import qkstore\nfrom qkstore import analysis, heads\nfrom qkstore.store import Store\nimport qkstore.rank\n"
        "print(qkstore.__version__, qkstore.Store is Store, heads.__name__, analysis.__name__, qkstore.rank.ranks)\n"
        "print(qkstore.__doc__)\nprint(qkstore.__file__)"
    )
    first, doc, file = run(code, beside).splitlines()
    assert first.startswith(f"{qkstore.__version__} True qkstore.analysis.heads qkstore.analysis <function ranks")
    assert doc == qkstore.__doc__
    assert Path(file) == beside / "qkstore/qkstore/__init__.py"


def test_a_query_beside_a_clone_finds_its_worker(beside):
    code = (
        "from qkstore.sql import worker\nimport duckdb\nduckdb.connect('x.duckdb').close()\n"
        "print(worker.query('x.duckdb', 'select 42 as a').to_pylist())"
    )
    assert run(code, beside) == "[{'a': 42}]\n"


def test_the_folder_of_a_clone_by_another_name_is_no_package(tmp_path):
    (tmp_path / "another").symlink_to(ROOT)
    assert run("import another\nprint(hasattr(another, 'open'))", tmp_path) == "False\n"


COMPONENT = re.compile(r'components\.v2\.component\(\s*"([^"]+)"')


def test_no_two_components_of_pages_have_one_name():
    """The last to be imported would be what both pages show."""
    names = [
        name for path in sorted((ROOT / "dashboard").rglob("*.py")) for name in COMPONENT.findall(path.read_text())
    ]
    assert len(names) > 3
    assert len(names) == len(set(names))
