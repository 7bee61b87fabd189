"""What an install brings: named once, in pyproject.toml, and pinned once, in setup/constraints.txt."""

from __future__ import annotations

import ast
import re
import sys
import tomllib

import pytest
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE, EXTRAS = PROJECT["dependencies"], PROJECT["optional-dependencies"]


def pins() -> dict[str, str]:
    text = (ROOT / "setup/constraints.txt").read_text()
    return dict(line.lower().replace("_", "-").split("==") for line in text.split())


def requirements(name: str) -> list[str]:
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_versions_stand_in_the_constraints_alone_and_all_of_them_do():
    for name in [*CORE, *(name for extra in EXTRAS.values() for name in extra)]:
        assert re.fullmatch(r"[a-z0-9-]+", name), f"{name}: its version belongs into setup/constraints.txt"
        assert name in pins(), name


def test_the_requirements_are_the_extras_of_the_project():
    assert requirements("requirements.txt") == ["-e .[ingest]"]
    assert requirements("requirements-test.txt") == ["-e .[ingest,team,cluster,dev]"]
    (encoder,) = requirements("requirements-encoder.txt")
    assert pins()[encoder.split("==")[0]] == encoder.split("==")[1]


HASHED = re.compile(r"([a-z0-9-]+)==(\S+)((?: --hash=sha256:[0-9a-f]{64})+)")


def hashed(text: str) -> dict[str, str]:
    """{package: version} of a file for pip's hash checking; a line is a package with its hashes, or names a file."""
    lines = [line for line in text.splitlines() if not line.startswith(("#", "-r "))]
    found = [HASHED.fullmatch(line) for line in lines]
    assert None not in found, lines[found.index(None)][:100]
    assert len({one[1] for one in found}) == len(lines), "a package has one line"
    return {one[1]: one[2] for one in found}


def test_every_pin_has_the_hashes_of_its_files_and_nothing_else_has():
    """`.venv/bin/python setup/hashes.py` writes them anew."""
    files = {path.stem: hashed(path.read_text()) for path in (ROOT / "setup/hashes").glob("*.txt")}
    assert set(files) == {"core", "test", "alone", *EXTRAS} - {"dev"}
    assert {name: version for file in files.values() for name, version in file.items()} == pins()
    assert {*CORE, "hatchling"} <= set(files["core"])
    assert not {"torch", "boto3", "pytest"} & set(files["core"])
    for extra in set(EXTRAS) - {"dev"}:
        assert set(EXTRAS[extra]) <= {*files["core"], *files[extra]}, extra
    assert set(EXTRAS["dev"]) <= set().union(*files.values())


def test_control_a_package_without_hashes_or_with_two_versions_is_seen():
    one, digest = "numpy==2.4.6", f" --hash=sha256:{'0' * 64}"
    assert hashed(f"# made\n-r core.txt\n{one}{digest}\n") == {"numpy": "2.4.6"}
    for text in (one, f"{one} --hash=sha256:{'0' * 63}", f"{one}{digest}\n{one}{digest}", f"numpy>=2{digest}"):
        with pytest.raises(AssertionError):
            hashed(text)


def test_what_shows_a_store_needs_no_torch_and_no_server():
    assert not {"torch", "transformers", "tokenizers", "safetensors"} & set(CORE)
    assert set(EXTRAS["ingest"]) == {"torch", "transformers", "tokenizers", "safetensors", "accelerate", "gguf"}
    assert set(EXTRAS["team"]) == {"authlib", "boto3", "httpx", "psycopg", "psycopg-binary"}
    assert set(EXTRAS["cluster"]) == {"accelerate", "ray"}
    assert not {"boto3", "psycopg", "ray"} & set(CORE)


def imported(folders: tuple[str, ...]) -> set[str]:
    """The packages from elsewhere that some folders' files import."""
    sources = [p for folder in folders for p in (ROOT / folder).rglob("*.py")]
    nodes = [node for p in sources for node in ast.walk(ast.parse(p.read_text()))]
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    ours = {"qkstore", "ingest", "dashboard", "pages"}
    return {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names) - ours


NAMES = {"sklearn": "scikit-learn", "umap": "umap-learn", "vl_convert": "vl-convert-python"}
BESIDE = {"huggingface_hub", "botocore"}  # only where it is there already; parts of transformers and boto3


def test_everything_imported_is_named_in_the_project():
    shown = {NAMES.get(name, name) for name in imported(("qkstore", "dashboard", "pages"))} - BESIDE
    assert shown <= {*CORE, *EXTRAS["team"], *EXTRAS["cluster"]}
    run = {NAMES.get(name, name) for name in imported(("ingest",))} - BESIDE
    assert run <= {*CORE, *EXTRAS["ingest"]}
    assert "streamlit" in shown
    assert "torch" in run
