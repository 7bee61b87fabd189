"""Code that a model brings along is never run: it is refused where it would be needed, and passed over elsewhere."""

from __future__ import annotations

import ast
import json
import shutil

import models
import pytest
from conftest import ROOT

from ingest.model.model import load
from qkstore.errors import ModelError

CODE = "open({mark!r}, 'w').close()\nclass {name}: pass\n"
OWN = {  # what is of its own: (the file that says so, what it says there)
    "config": ("config.json", {"model_type": "frob", "auto_map": {"AutoConfig": "own.Own"}}),
    "model": ("config.json", {"model_type": "frob", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}),
    "tokenizer": (
        "tokenizer_config.json",
        {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}},
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return models.folder(tmp_path_factory.mktemp("whole") / "m", [f"w{i}" for i in range(30)])


@pytest.fixture
def folder(whole, tmp_path):
    made = shutil.copytree(whole, tmp_path / "m")
    (made / "own.py").write_text(CODE.format(mark=str(tmp_path / "ran"), name="Own"))
    return made


def change(folder, file: str, facts: dict) -> None:
    there = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps(there | facts))


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("own", OWN)
def test_it_is_not_run(folder, tmp_path, monkeypatch, own, answers):
    """Whatever a person at a terminal would answer to transformers' question."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    change(folder, *OWN[own])
    try:
        load(str(folder), answers=answers)
    except ModelError as error:
        assert "code of its own, which is not run" in str(error)
        assert "\n" not in str(error)
    else:
        assert own == "tokenizer", "its file is read without the class, as transformers does"
    assert not (tmp_path / "ran").exists()


def test_a_family_that_transformers_knows_is_loaded_by_its_own_class(folder, tmp_path):
    change(folder, "config.json", {"auto_map": {"AutoModel": "own.Own", "AutoModelForCausalLM": "own.Own"}})
    assert type(load(str(folder)).net).__module__.startswith("transformers.")
    assert not (tmp_path / "ran").exists()


def test_every_loading_says_so():
    """Each call of from_pretrained has trust_remote_code=False, or options that hold it."""
    calls = 0
    for path in sorted((ROOT / "ingest").rglob("*.py")):
        source = path.read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "from_pretrained":
                calls += 1
                said = ast.unparse(node)
                assert "trust_remote_code=False" in said or "**found" in said, f"{path.name}:{node.lineno}"
            if (
                isinstance(node, ast.Assign)
                and ast.unparse(node.targets[0]) == "found"
                and "local_files_only" in ast.unparse(node)
            ):
                assert "'trust_remote_code': False" in ast.unparse(node), f"{path.name}:{node.lineno}"
        assert "trust_remote_code=True" not in source
    assert calls >= 8
