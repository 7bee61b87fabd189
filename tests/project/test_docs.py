"""README and docs: every command parses, every link leads somewhere, every snippet runs.

Nothing in them is of one machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import pkgutil
import re
import shlex

import numpy as np
import pytest
import stores
from conftest import ROOT
from synthetic import write

import qkstore
import qkstore.__main__
from ingest import __main__ as ingest_main
from ingest.prompts import read_jsonl
from qkstore import analysis
from qkstore.errors import QKStoreError

SETUP = [path for path in (ROOT / "setup").rglob("*") if path.is_file()]
HOSTS = ("github.com", "huggingface.co", "arxiv.org", "127.0.0.1:8501", "127.0.0.1:$(PORT", "$host$request_uri")
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
PARSERS = {"qkstore": qkstore.__main__.parser, "ingest": ingest_main.parser}
README = PAGES[0].read_text()


def blocks(text: str, language: str | None = None) -> list[str]:
    """The fenced blocks of a page, of one language where one is named."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
    return [body for name, body in found if language in (None, name)]


def commands(text: str) -> list[list[str]]:
    """The words of every `python -m …` or `qkstore …` of a page, in a block or in a line of text."""
    joined = "\n".join(
        [*blocks(text), *re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))]
    ).replace("\\\n", " ")
    lines = [line.split("   #")[0].strip() for line in joined.splitlines()]
    lines = [re.sub(r"^qkstore (?=[a-z-]+ +-)", "python -m qkstore ", line) for line in lines]
    lines = [re.sub(r"^python -m qkstore (?:ingest|(?=demo))", "python -m ingest ", line) for line in lines]
    return [words for line in lines if line.startswith("python -m") and (words := shlex.split(line))]


COMMANDS = [(p.name, words) for p in PAGES for words in commands(p.read_text())]


def parse(words: list[str]) -> argparse.Namespace:
    return PARSERS[words[2]]().parse_args(words[3:])


OURS = [(page, words) for page, words in COMMANDS if words[2] in PARSERS and len(words) > 3]


@pytest.mark.parametrize(("page", "words"), OURS, ids=lambda x: " ".join(x[2:5]) if isinstance(x, list) else x)
def test_every_command_shown_parses(page, words):
    assert any(callable(value) for value in vars(parse(words)).values()), "what the command does"


def test_a_command_with_an_option_that_is_not_there_would_be_seen():
    assert len(OURS) >= 6
    for words in (["heads", "--run", "r", "--contrst", "order"], ["headz", "--run", "r"]):
        with pytest.raises(QKStoreError):
            parse(["python", "-m", "qkstore", *words])


@pytest.mark.parametrize(
    "call",
    sorted(
        set(
            re.findall(
                r"python -m (?:qkstore|ingest) [a-z]+",
                " ".join(p.read_text() for p in (ROOT / "qkstore").rglob("*.py")),
            )
        )
    ),
)
def test_every_command_that_an_error_names_is_there(call):
    with pytest.raises((SystemExit, QKStoreError)) as done:
        parse([*call.split(), "--help"])
    assert isinstance(done.value, SystemExit)
    assert done.value.code == 0


def files(text: str) -> list[str]:
    """The files and folders that a page names outside its blocks."""
    return re.findall(
        (
            r"`([\w./-]+/[\w./-]*\.(?:py|md|txt|sh|toml|j2|css)|[\w-]+\.(?:py|txt|toml)|"
            r"(?:qkstore|ingest|pages|bench|docs|dashboard|tests)/(?:\w+/)*)`"
        ),
        re.sub(r"^```.*?^```", "", text, flags=re.M | re.S),
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_and_file_is_there(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("http") or (page.parent / link).exists(), link
    for name in files(text):
        assert (ROOT / name).exists() or (page.parent / name).exists(), name


def test_the_files_that_guide_a_stranger_are_read_and_linked():
    """The control: names are seen, in prose and in tables, so that a moved file fails the test above."""
    named = {name for page in ("docs/architecture.md", "CONTRIBUTING.md") for name in files((ROOT / page).read_text())}
    assert {"qkstore/rank.py", "qkstore/report/report.html.j2", "tests/front/", "setup/constraints.txt"} <= named
    assert {"docs/architecture.md", "CONTRIBUTING.md"} <= set(re.findall(r"\]\(([^)#]+)\)", README))


@pytest.mark.parametrize(
    "name",
    sorted({n for p in PAGES for n in re.findall(r"`((?:qkstore|ingest|dashboard)(?:\.\w+)+)`", p.read_text())}),
)
def test_every_function_that_a_page_names_is_there(name):
    assert pkgutil.resolve_name(name) is not None


def named(row: str) -> list[str]:
    """The full names of a table's second column: `.x` is where the name before it is, a class is the package's."""
    names: list[str] = []
    for name in re.findall(r"`([^`]+)`", row.split("|")[2]):
        if name.startswith("."):
            name = names[-1].rpartition(".")[0] + name
        names.append(f"qkstore.{name}" if name[0].isupper() else name)
    return names


METHOD = (ROOT / "docs/method.md").read_text()
TABLE = METHOD[METHOD.index("| what | where it is |") :].split("\n\n")[0].splitlines()[2:]


@pytest.mark.parametrize("name", sorted({name for row in TABLE for name in named(row)}))
def test_every_name_of_the_method_is_where_it_says(name):
    assert pkgutil.resolve_name(name) is not None


def test_a_short_name_stands_for_one_beside_the_name_before_it():
    row = "| what | `qkstore.rank.ranks`, `.statistical`, `Subspace.of`, `.V` | 7 |"
    assert named(row) == ["qkstore.rank.ranks", "qkstore.rank.statistical", "qkstore.Subspace.of", "qkstore.Subspace.V"]
    with pytest.raises(AttributeError):
        pkgutil.resolve_name("qkstore.rank.statistic")


@pytest.mark.parametrize(
    "target",
    sorted(
        {
            t
            for p in PAGES
            for t in re.findall(
                r"\bmake ([a-z][a-z-]*)", "\n".join(blocks(p.read_text()) + re.findall(r"`([^`\n]+)`", p.read_text()))
            )
        }
    ),
)
def test_every_make_target_that_a_page_names_is_there(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


@pytest.mark.parametrize(
    "path",
    [*PAGES, ROOT / "Makefile", *SETUP, *ROOT.glob("requirements*.txt"), ROOT / ".ci/run"],
    ids=lambda p: p.name,
)
def test_nothing_is_of_one_machine(path):
    text = path.read_text()
    assert not re.search(r"(?<![\w.~])/(?:root|home|work|tmp|Users|mnt|opt|private)/", text)
    assert str(ROOT) not in text
    assert not re.search(
        r"\b(?:10|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d+\.\d+(?:\.\d+)?\b(?!\.?\d)", re.sub(r"==\S+", "", text)
    )
    assert all(host in HOSTS or host.endswith(".example.org") for host in re.findall(r"https?://([^\s/`)\"';]+)", text))


# -- the README's example ----------------------------------------------------------------------------------------


def test_the_json_line_is_a_prompt(tmp_path):
    (example,) = blocks(README, "json")
    (tmp_path / "prompts.jsonl").write_text(example)
    (prompt,) = read_jsonl(tmp_path / "prompts.jsonl")
    marked = [(prompt.text[s.start : s.end], s.role, s.labels["category"]) for s in prompt.spans if s.role == "item"]
    assert marked == [("cat", "item", "animals"), ("apple", "item", "fruits"), ("dog", "item", "animals")]
    assert prompt.split == "train"
    assert prompt.labels == {"queried_category": "fruits"}
    assert len(json.loads(example)["spans"]) == len(prompt.spans)


def test_the_last_token_of_the_json_line_is_free_to_be_the_query():
    """A prompt that labels no answer slot is asked at its last token, unless that has another role."""
    (example,) = blocks(README, "json")
    ingests = [words for _, words in COMMANDS if "prompts.jsonl" in words]
    assert {parse(words).queries for words in ingests} == {None}, "the answer slot, of a task that has labels"
    assert all(s["end"] < len(json.loads(example)["text"]) for s in json.loads(example)["spans"])


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A store with a run that has the README's labels, under the name that it gives."""
    path = tmp_path_factory.mktemp("readme")
    write(path / "store", "mine", stores.lists(n=480))
    return path


@pytest.fixture
def here(mine, monkeypatch):
    monkeypatch.chdir(mine)
    monkeypatch.delenv("QKSTORE", raising=False)
    (save,) = [w for page, w in COMMANDS if "--save" in w and page == "README.md"]
    assert qkstore.__main__.main(save[3:]) == 0
    return mine


def test_the_python_snippet_runs(here, capsys):
    (snippet,) = blocks(README, "python")
    exec(compile(snippet, "README.md", "exec"), names := {})
    assert names["best"].layer == 1, "the head that was planted"
    assert names["best"].head == 1, "the head that was planted"
    first, second = capsys.readouterr().out.splitlines()[-2:]
    assert first == f"{names['found'].subspace.rank} (8, 8)"
    assert "fruits" in second


def test_the_snippet_of_the_method_gives_what_one_pass_over_all_shards_gives():
    (snippet,) = blocks((ROOT / "docs/method.md").read_text(), "python")
    rng, n, d = np.random.default_rng(0), 30, 4
    query, sign = np.arange(n).repeat(2), np.tile([1, -1], n)
    shards = [(*rng.normal(size=(2, n, d)), query, rng.integers(0, n, 2 * n), sign) for _ in range(3)]
    original, target = rng.normal(size=(2, 5, d))
    names = {"d_head": d, "shards": shards, "original": original, "target": target}
    exec(compile(snippet, "method.md", "exec"), names)
    by_hand = sum(q[i].T @ (s[:, None] * k[j]) for q, k, i, j, s in shards) / (3 * n)
    assert np.allclose(names["whole"].delta, by_hand)
    assert not np.allclose(names["whole"].delta, by_hand * 3)
    V = names["space"].V
    assert np.allclose(names["swapped"] @ V, target @ V)
    assert not np.allclose(original @ V, target @ V)


def test_the_commands_run_as_they_stand(here, capsys):
    """Layer and head of the example are a large model's; everything else is as written."""
    for name, says in (("heads", "accuracy"), ("intervene", "fruits  ")):
        (words,) = [w for page, w in COMMANDS if page == "README.md" and w[2:4] == ["qkstore", name] and "fruits" in w]
        words = [{"20": "1", "7": "1"}.get(w, w) for w in words]
        assert qkstore.__main__.main(words[3:]) == 0
        assert says in capsys.readouterr().out


def test_the_sql_of_the_storage_page_runs(here):
    (sql,) = blocks((ROOT / "docs/storage.md").read_text(), "sql")
    write(here / "store", "boxes", stores.boxes(n=40)) if not (here / "store/runs/boxes.duckdb").exists() else None
    run = qkstore.open("store").run("boxes")
    rows = run.cursor().execute(sql).fetchall()
    assert len(rows) == 9
    attributed = {p: analysis.attribute(run, {"o": _order(run)}, 1, 2, p) for p in {r[0] for r in rows}}
    for prompt, _, order, logit in rows:
        assert logit == pytest.approx(attributed[prompt].tokens[order - 1]["logit"], rel=1e-4)


def _order(run):
    return qkstore.open("store").feature(run, "order")


def test_the_changelog_names_the_version():
    assert f"## {qkstore.__version__}" in (ROOT / "CHANGELOG.md").read_text()


# -- the API reference -------------------------------------------------------------------------------------------


def test_the_reference_has_a_page_for_every_module_and_what_its_docstrings_say(tmp_path):
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in reference.PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.stem != "__main__"
    }
    assert set(reference.modules()) == modules
    pytest.importorskip("pdoc")
    reference.write(tmp_path, ["qkstore.rank", "qkstore.subspace"])
    page = (tmp_path / "qkstore" / "rank.html").read_text()
    assert "Return the three ranks of ΔC" in page
    assert "_half_whitened" not in page
