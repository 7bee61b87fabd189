"""What a user gets wrong is one line that names the thing, the value and what is possible.

The rest is a bug and crashes.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT
from synthetic import synthetic, write

import qkstore
from qkstore import errors
from qkstore.__main__ import main
from qkstore.contrast import Contrast, pairs, selection
from qkstore.errors import ContrastError, GuardError, QKStoreError, near

WITHIN = Contrast(
    name="order",
    where="k.prompt_id = q.prompt_id",
    positive="k.order_id = q.queried_order",
    negative="k.order_id <> q.queried_order",
)
KINDS = {name: c for name, c in vars(errors).items() if isinstance(c, type) and c.__module__ == errors.__name__}
PREDICATES = ["--where", WITHIN.where, "--positive", WITHIN.positive, "--negative", WITHIN.negative]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    data = synthetic(64)
    data.prompts = data.prompts.rename({"queried_entity": "weight_kg"})
    write(path, data=data)
    return qkstore.open(path)


@pytest.mark.parametrize(
    ("value", "choices", "ending"),
    [
        ("ordr", ["order", "lexical"], "did you mean 'order'? there are: lexical, order"),
        ("ORDER", ["order"], "did you mean 'order'? there are: order"),
        ("zzz", ["order", "lexical"], "there are: lexical, order"),
        ("x", [], "there are none"),
        ("", ["a"], "there are: a"),
        ("box", ["Box", "box"], "did you mean 'Box' or 'box'? there are: Box, box"),
        ("abc", ["abd", "abe", "abf"], None),
        ("q", list("jihgfedcba"), "there are: a, b, c, d, e, f, g, h, … (10 in all)"),
        ("q", list("hgfedcba"), "there are: a, b, c, d, e, f, g, h"),
        ("x", ["two\nlines", "é"], "there are: 'two\\nlines', é"),
        ("it's", ["its", "it's"], "did you mean \"it's\" or 'its'? there are: it's, its"),
    ],
)
def test_the_end_of_a_line_has_the_nearest_and_the_choices(value, choices, ending):
    text = near(value, choices)
    assert "\n" not in text
    assert ending is None or text == ending
    assert text.split("?")[0].count(" or ") <= 1  # two guesses at most
    assert near(value, iter(choices)) == text == near(value, choices[::-1])


def test_every_kind_of_mistake_is_a_qkstore_error_and_no_other_is():
    assert len(KINDS) == 8
    assert all(issubclass(c, QKStoreError) and c.__doc__ for c in KINDS.values())
    assert not issubclass(QKStoreError, (ValueError, RuntimeError, OSError)), (
        "an except for a bug's kind would hide a mistake, and the reverse"
    )


# -- the sources -------------------------------------------------------------------------------------------------


def raised(source: str) -> list[tuple[int, str]]:
    """(line, constant text) of every raise of one of our errors."""
    out = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = getattr(node.exc.func, "id", getattr(node.exc.func, "attr", ""))
            if name in KINDS:
                out.append(
                    (
                        node.lineno,
                        "".join(
                            c.value
                            for c in ast.walk(node.exc)
                            if isinstance(c, ast.Constant) and isinstance(c.value, str)
                        ),
                    )
                )
    return out


SOURCES = sorted(p for folder in ("qkstore", "ingest", "dashboard", "pages") for p in (ROOT / folder).rglob("*.py"))


def test_no_message_in_the_sources_has_a_line_break():
    assert [f"{p}:{line}" for p in SOURCES for line, text in raised(p.read_text()) if "\n" in text] == []


def test_the_scan_would_see_a_line_break():
    assert raised('raise StoreError(f"two\\nlines {x}")') == [(1, "two\nlines ")]
    assert raised("raise ValueError('a')") == []
    assert sum(len(raised(p.read_text())) for p in SOURCES) > 80


def swallowing(source: str) -> list[int]:  # the lines of handlers of every error that raise none
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException"))
        and not any(isinstance(n, ast.Raise) and n.exc is None for n in ast.walk(node))
    ]


def test_no_catch_all_hides_a_bug():
    ours = sorted((ROOT / "qkstore").rglob("*.py"))
    assert {str(p): lines for p in ours if (lines := swallowing(p.read_text()))} == {}
    assert swallowing("try:\n    f()\nexcept Exception:\n    pass") == [3]
    assert swallowing("try:\n    f()\nexcept Exception:\n    g()\n    raise") == []


# -- limits and contradictions -----------------------------------------------------------------------------------


def test_more_pairs_than_the_limit_are_refused_not_cut(store, monkeypatch):
    run = store.run("synthetic")
    assert len(pairs(run, WITHIN)) == 256
    monkeypatch.setattr(selection, "MOST_PAIRS", 256)
    assert len(pairs(run, WITHIN)) == 256
    monkeypatch.setattr(selection, "MOST_PAIRS", 255)
    with pytest.raises(ContrastError, match="has more than 255 pairs on run 'synthetic'; narrow it"):
        pairs(run, WITHIN)


@pytest.mark.parametrize(
    ("select", "weights"),
    [
        (
            (
                "select q.query_row, k.key_row, case when k.order_id = 1 then 1 else -1 end as sign "
                "from q join k using (prompt_id) where k.token <> 'weight'"
            ),
            {1.0},
        ),
        (
            (
                "select q.query_row, k.key_row, case when k.order_id = 1 then 1 else -1 end as sign "
                "from q join k using (prompt_id)"
            ),
            {1.0},
        ),
        (
            (
                "select q.query_row, k.key_row, case when k.order_id = 1 then 1 else -1 end as sign "
                "from q join k using (prompt_id) where q.weight_kg is not null"
            ),
            {1.0},
        ),
        (
            (
                "select q.query_row, k.key_row, case when k.order_id = 1 then 1 else -1 end as sign -- no weight\n"
                "from q join k using (prompt_id)"
            ),
            {1.0},
        ),
        (
            (
                "select q.query_row, k.key_row, case when k.order_id = 1 then 1 else -1 end as sign, 0.25 as weight "
                "from q join k using (prompt_id)"
            ),
            {0.25},
        ),
        (
            (
                "select q.query_row, k.key_row, case when k.order_id = 1 then 1 else -1 end as sign, "
                "k.order_id as WEIGHT from q join k using (prompt_id)"
            ),
            {1.0, 2.0, 3.0, 4.0},
        ),
    ],
)
def test_a_whole_select_may_have_a_weight_or_none(store, select, weights):
    assert set(pairs(store.run("synthetic"), Contrast(name="w", pairs=select)).weight) == weights


# -- the command line --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "required: COMMAND"),
        (["nope"], "invalid choice: 'nope'"),
        (["heads"], "required: --run"),
        (["heads", "--run", "synthetic", *PREDICATES, "--nulls", "-1"], "'-1' is not a whole number from 0"),
        (["heads", "--run", "synthetic", *PREDICATES, "--top", "x"], "'x' is not a whole number from 0"),
        (["heads", "--run", "synthetic", *PREDICATES, "--workers", "-2"], "'-2' is not a whole number from 1"),
        (["heads", "--run", "synthetic"], "no contrast is given: name one by --contrast, or give --positive"),
        (["heads", "--run", "synthetic", *PREDICATES, "--weighting", "pairs"], "invalid choice: 'pairs'"),
        (["heads", "--run", "synthetic", "--contrast", "order", *PREDICATES], "is a whole contrast; leave out --where"),
        (["heads", "--run", "synthetic", "--contrast", "order", "--centring", "queries"], "leave out --centring"),
        (["heads", "--run", "synthetic", "--contrast", "order", "--weighting", "query"], "leave out --weighting"),
        (
            ["covariance", "--run", "synthetic", *PREDICATES, "--layer", "x", "--head", "0", "--out", "c.npz"],
            "'x' is not a whole number",
        ),
        (
            ["intervene", "--run", "synthetic", *PREDICATES, "--layer", "0", "--head", "0", "--seed", "-1"],
            "'-1' is not a whole number from 0",
        ),
        (
            ["intervene", "--run", "synthetic", *PREDICATES, "--layer", "0", "--head", "0", "--most", "0"],
            "'0' is not a whole number from 1",
        ),
        (["intervene", "--run", "synthetic", *PREDICATES, "--layer", "0", "--head", "0", "--bases", "3"], "10 or more"),
        (
            ["attribute", "--run", "synthetic", *PREDICATES, "--layer", "0", "--head", "0", "--prompt", "²"],
            "no prompt '²'",
        ),
        (["sql", "--run", "synthetic", "--limit", "0", "select 1"], "'0' is not a number of seconds"),
        (["sql", "--run", "synthetic", "--limit", "nan", "select 1"], "'nan' is not a number of seconds"),
        (["sql", "--run", "synthetic", "--rows", "-5", "select 1"], "'-5' is not a whole number"),
        (["contrasts", "--save", "order", *PREDICATES], "'order' is taken by a built-in"),
        (
            ["intervene", "--run", "synthetic", "--contrast", "order", "--and", "order", "--layer", "0", "--head", "0"],
            "is the contrast itself",
        ),
        (["contrasts", "--save", "x", "--positive", "k.a = = 1", "--negative", "k.a = 2"], "syntax error"),
        (["contrasts", "--save", "x\ny", "--positive", "k.a = 1", "--negative", "k.a = 2"], "unprintable"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(store, capsys, monkeypatch, arguments, says):
    monkeypatch.setenv("QKSTORE", str(store.path))
    assert main(arguments) == 2
    out = capsys.readouterr()
    assert says in out.err
    assert out.err.count("\n") == 1
    assert out.err.startswith("qkstore: ")
    assert out.out == ""
    assert store.catalog.contrasts() == []


def test_help_is_no_mistake(capsys):
    with pytest.raises(SystemExit) as done:
        main(["heads", "--help"])
    assert done.value.code == 0
    assert "--nulls" in capsys.readouterr().out


def test_json_is_json(store, capsys):
    def strict(text):
        return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    sql = "select 'nan'::double as a, 'inf'::double as b, [1.5, '-inf'::double] as c, 0.5 as d, date '2026-01-02' as e"
    assert main(["sql", "--store", str(store.path), "--run", "synthetic", sql]) == 0
    assert strict(capsys.readouterr().out)["rows"] == [[None, None, [1.5, None], 0.5, "2026-01-02"]]
    with pytest.raises(pytest.fail.Exception):
        strict("[NaN]")


def test_many_findings_of_a_check_are_still_one_line(tmp_path, capsys):
    for i in range(14):
        (tmp_path / "runs").mkdir(exist_ok=True)
        (tmp_path / "runs" / f"r{i}.duckdb").write_bytes(b"no database")
    assert main(["check", "--store", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert err.count("damaged") == 10
    assert err.endswith("; and 4 more\n")
    assert err.count("\n") == 1


def test_a_bug_is_a_traceback_and_exit_code_1(store):
    code = (
        "import sys, qkstore.__main__ as m; m.runs = None\nimport qkstore.store as s\ndel s.Store.scan\n"
        "sys.exit(m.main(['check']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "QKSTORE": str(store.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "AttributeError" in done.stderr


def test_a_guarded_query_tells_its_limit(store):
    with pytest.raises(GuardError, match="stopped after 0.3 s"):
        pairs(
            store.run("synthetic"),
            WITHIN.replace(where="(select count(*) from q a, q b, q c, k d, k e, k f) > 0"),
            limit_s=0.3,
        )
