"""The page on own prompts does what it says: its script, its commands, and the sentence on what they show."""

from __future__ import annotations

import re
import shlex

import pytest
from conftest import ROOT

import qkstore
from ingest.__main__ import main as ingest
from qkstore.__main__ import main
from qkstore.analysis import heads

PAGE = (ROOT / "docs/prompts.md").read_text()
(SCRIPT,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
COMMANDS = [
    shlex.split(line, comments=True)
    for line in re.findall(r"```\n(python -m .*?)```", PAGE, re.S)[0].replace("\\\n", " ").splitlines()
]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The folder in which the page was followed."""
    place = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        exec(compile(SCRIPT, "prompts.md", "exec"), {})
        for python, _, program, *words in COMMANDS:
            assert python == "python"
            assert (ingest if program == "ingest" else main)(words) == 0, words
    return place


def test_every_command_is_run(told):
    assert [words[2:4] for words in COMMANDS] == [
        ["ingest", "model"], ["qkstore", "contrasts"], ["qkstore", "heads"], ["qkstore", "discover"]
    ]  # fmt: skip
    run = qkstore.open(told / "store").run("mine")
    assert (run.n_queries, run.n_keys, run.model) == (400, 400 * 7, "demo")


def test_layer_1_tells_the_category_asked_for_and_layer_0_does_not(told):
    store = qkstore.open(told / "store")
    scores = heads.heads(store.run("mine"), store.catalog.contrast("asked"))
    assert {s.head for s in scores if s.layer == 1 and s.accuracy == 1.0} == {0, 1, 2, 3}
    assert {s.n_queries for s in scores} == {100}
    assert {s.p_value for s in scores if s.layer == 0} == {1.0}


@pytest.mark.parametrize(
    "field", ["messages", "counterfactual_of", "variant", "answer", "id", "split", "spans", "text"]
)
def test_every_field_of_the_format_is_in_the_table(field):
    from ingest.prompts.prompts import PROMPT_FIELDS

    assert field in PROMPT_FIELDS
    assert f"\n| `{field}` |" in PAGE
    assert len(re.findall(r"^\| `\w+` \|", PAGE, re.M)) == len(PROMPT_FIELDS)
