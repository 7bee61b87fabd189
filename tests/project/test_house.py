"""The rooms of qkstore: an import points down, there is no circle, and nothing grows past what a reader can hold.

Each rule has a control that breaks it.
"""

from __future__ import annotations

import ast
import importlib
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

# Bottom to top; rooms of one line know nothing of each other, but for the files of the front room.
FRONT = tuple(
    "components covariance null subspace rank interval score intervention attribution projection interaction".split()
)
ORDER = (
    ("errors", "text", "files"),
    (*FRONT, "sql"),
    ("run",),
    ("contrast",),
    ("store", "pool"),
    ("analysis",),
    ("toy",),
    ("charts",),
    ("report",),
    ("cli",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
TOGETHER = [{"errors", "text", "files"}, set(FRONT)]  # files of these import each other
MOST_IMPORTS, MOST_LINES, MOST_COLUMNS, MOST_MODULES = 165, 300, 120, 14
CODE = [ROOT / "app.py", *(p for d in ("qkstore", "ingest", "dashboard", "pages", "bench", "setup", "tests")
                           for p in sorted((ROOT / d).rglob("*.py")))]  # fmt: skip
PRODUCT = [p for p in CODE if (ROOT / "tests") not in p.parents]


def room(module: str) -> str | None:
    """The room of a module of qkstore; None for the package itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "qkstore" and len(parts) > 1 else None


def imported(source: str, package: str = "") -> set[str]:
    """The modules that a file names in its imports, in functions too; `if TYPE_CHECKING`, which never runs, left out.

    `from a import b` names a.b where that is a module, or a room; `package` is what relative imports start from.
    """
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = ".".join([*package.split(".")[: len(package.split(".")) + 1 - node.level], node.module or ""])
            names.update(
                of_package(alias.name) if (module := (base if node.level else node.module).strip(".")) == "qkstore"
                else f"{module}.{alias.name}" if is_module(f"{module}.{alias.name}") else module
                for alias in node.names
            )  # fmt: skip
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "qkstore":
            names.add(of_package(node.attr))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return names


def of_package(name: str) -> str:
    """Where `qkstore.name` lives: a module of that name, or what the package fetches it from."""
    from qkstore import _WHERE

    return _WHERE[name].split(":")[0] if name in _WHERE else f"qkstore.{name}" if name in LEVEL else "qkstore"


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def arrows() -> list[tuple[str, str, str]]:
    """(file, its room, another room that it imports), each once."""
    out = []
    for path in sorted((ROOT / "qkstore").rglob("*.py")):
        module = module_of(path)
        package = module if path.stem == "__init__" else module.rpartition(".")[0]
        rooms = {room(name) for name in imported(path.read_text(), package)}
        out += [(module, room(module), other) for other in sorted(rooms - {None, room(module)})]
    return [arrow for arrow in out if arrow[1] is not None]


def up(own: str, other: str) -> bool:
    """Does an arrow from one room to another point up, or sideways to one that it should not know?"""
    if LEVEL[own] == LEVEL[other]:
        return not any({own, other} <= files for files in TOGETHER)
    return LEVEL[own] < LEVEL[other]


# -- the order of the rooms --------------------------------------------------------------------------------------


def test_every_module_is_in_a_room_of_the_table():
    rooms = {room(module_of(path)) for path in (ROOT / "qkstore").rglob("*.py")} - {None}
    assert rooms == set(LEVEL)


def test_imports_point_down():
    assert [f"{module} -> {other}" for module, own, other in arrows() if up(own, other)] == []


@pytest.mark.parametrize(
    ("own", "source"),
    [
        ("run", "from qkstore.store import open"),
        ("run", "from qkstore.store.catalog import Catalog"),
        ("run", "from qkstore import store"),
        ("run", "import qkstore.store as s"),
        ("run", "from ..store import open"),
        ("run", "def f():\n    from qkstore import open"),
        ("run", "import qkstore\nqkstore.open('store')"),
        ("rank", "from qkstore import heads"),
        ("rank", "from qkstore.sql import guard"),
        ("errors", "from qkstore import rank"),
        ("report", "from qkstore.cli.commands import parser"),
    ],
)
def test_an_arrow_that_points_up_is_seen(own, source):
    others = {room(name) for name in imported(source, f"qkstore.{own}")} - {None, own}
    assert [up(own, other) for other in others] == [True]


@pytest.mark.parametrize(
    ("own", "source"),
    [
        ("store", "from qkstore.run import Run"),
        ("store", "from qkstore.store.catalog import Catalog"),
        ("store", "from qkstore import __version__"),
        ("rank", "from qkstore.subspace import rank"),
        ("rank", "if TYPE_CHECKING:\n    from qkstore.run import Run"),
    ],
)
def test_one_that_points_down_or_within_is_none_of_these(own, source):
    others = {room(name) for name in imported(source, f"qkstore.{own}")} - {None, own}
    assert not [other for other in others if up(own, other)]


def circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_there_is_no_circle_of_files():
    graph = {}
    for path in PRODUCT:
        module = module_of(path)
        package = module if path.stem == "__init__" else module.rpartition(".")[0]
        named = {n for n in imported(path.read_text(), package) if is_module(n)}
        graph[module] = {n for n in named if n not in (module, "qkstore")}
    assert circle(graph) == []


def test_a_circle_would_be_seen():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert not circle({"a": {"b", "c"}, "b": {"c"}})


HOUSE = ("qkstore", "ingest", "dashboard", "pages", "bench")


def own_room(module: str) -> str:
    """A room of the whole house: qkstore's sub-packages and front files are rooms, the other folders one each."""
    return f"qkstore.{room(module)}" if room(module) else module.split(".")[0]


def crossing(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """(room, another room that one of its files imports), each once; graph: {module: modules that it imports}."""
    pairs = {(own_room(module), own_room(other)) for module, others in graph.items() for other in others}
    return {(own, other) for own, other in pairs if own != other}


def test_few_arrows_run_from_room_to_room(record_property, capsys):
    graph = {}
    for path in (p for name in HOUSE for p in (ROOT / name).rglob("*.py")):
        module = module_of(path)
        named = imported(path.read_text(), module if path.stem == "__init__" else module.rpartition(".")[0])
        graph[module] = {name for name in named if name.split(".")[0] in HOUSE}
    count = len(crossing(graph))
    record_property("imports between rooms", count)
    with capsys.disabled():
        print(f"\nimports between rooms: {count}, at most {MOST_IMPORTS}")
    assert count <= MOST_IMPORTS
    assert count > 60, "a count that misses imports is no count"


def test_arrows_between_the_same_rooms_are_counted_once():
    graph = {"qkstore.run.a": {"qkstore.text", "qkstore.sql.guard"}, "qkstore.run.b": {"qkstore.sql.worker"}}
    assert crossing(graph) == {("qkstore.run", "qkstore.text"), ("qkstore.run", "qkstore.sql")}
    assert crossing({"ingest.toy.toy": {"ingest.job"}}) == set()


def test_what_the_package_fetches_late_is_there():
    import qkstore

    for name in qkstore.__all__:
        assert getattr(qkstore, name) is not None
        assert is_module(of_package(name))
        assert importlib.import_module(of_package(name))


# -- what a reader can hold --------------------------------------------------------------------------------------


def too_long(path: Path) -> bool:
    return len(path.read_text().splitlines()) > MOST_LINES


def too_wide(text: str) -> list[int]:
    """The numbers of the lines that are over the limit."""
    return [number for number, line in enumerate(text.splitlines(), start=1) if len(line) > MOST_COLUMNS]


def too_full(folder: Path) -> bool:
    return len([p for p in folder.glob("*.py") if p.stem != "__init__"]) > MOST_MODULES


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_file_is_too_long():
    assert {name(p): len(p.read_text().splitlines()) for p in CODE if too_long(p)} == {}


def test_no_line_is_too_wide():
    assert {name(path): lines for path in CODE if (lines := too_wide(path.read_text()))} == {}


def test_no_folder_is_too_full():
    assert [name(folder) for folder in {p.parent for p in PRODUCT} - {ROOT / "pages"} if too_full(folder)] == []


def test_what_is_too_much_is_seen(tmp_path):
    for number in range(MOST_MODULES + 1):
        (tmp_path / f"m{number}.py").write_text("x = 1\n" * (MOST_LINES + number))
    assert too_full(tmp_path)
    assert not too_long(tmp_path / "m0.py")
    assert too_long(tmp_path / "m1.py")
    assert too_wide("x" * 120 + "\n" + "é" * 121) == [2]
    (tmp_path / "m0.py").rename(tmp_path / "__init__.py")
    assert not too_full(tmp_path)


def test_tests_stand_in_the_rooms_of_what_they_test():
    """tests/front is the front room's; project and dashboard, ingest are the folders beside qkstore."""
    folders = {p.name for p in (ROOT / "tests").iterdir() if p.is_dir() and any(p.glob("test_*.py"))}
    rooms = {p.parent.name for p in (ROOT / "qkstore").glob("*/__init__.py")}
    assert folders == rooms | {"front", "ingest", "dashboard", "project"}
    assert not list((ROOT / "tests").glob("test_*.py"))
    assert [name(p) for p in (ROOT / "tests").rglob("conftest.py")] == ["tests/conftest.py"]


def test_no_two_files_of_tests_have_one_name():
    """Collected together, the second would be taken for the first."""
    names = Counter(p.name for p in (ROOT / "tests").rglob("*.py") if p.name != "__init__.py")
    assert [name for name, many in names.items() if many > 1] == []
