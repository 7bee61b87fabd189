"""What keeping less of a run changes, and the command that makes the tables of docs/scale.md."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import stores
import synthetic
from conftest import ROOT
from planted import planted
from reckoned import ASSUMED, SHOWN, constants

import qkstore
from bench.scale import __main__ as command
from bench.scale import page
from bench.scale.__main__ import Measured, main, tables
from bench.scale.foretold import Foretold
from bench.scale.less import study, sums
from bench.scale.less.heads import Case, Subject

# -- what keeping less changes ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    path = tmp_path_factory.mktemp("less")
    data, rng = planted(), np.random.default_rng(0)
    for name in ("q", "k"):  # vectors of zeros and ones alone are the same in 8 bits
        exact = getattr(data, name)
        setattr(data, name, exact + np.float32(0.05) * rng.standard_normal(exact.shape, np.float32))
    synthetic.write(path, "planted", data=data)
    synthetic.write(path, "boxes", stores.boxes(n=320))
    store = qkstore.open(path)
    return {"planted": store, "boxes": store}


CASES = (Case("planted", 0, 0, "previous-token"), Case("boxes", 1, 0, "order"))


@pytest.fixture(scope="module")
def rows(runs):
    return study.study(runs, seeds=2, cases=CASES)


def test_less_is_worse_and_sixteen_bits_are_not(rows):
    for name in {row.head for row in rows}:
        by = {row.stored: row for row in rows if row.head == name}
        assert by["all"].middle("off") == (0, 0, 0)
        assert by["int16"].middle("off")[0] < by["8 bits, the control"].middle("off")[0] / 10
        few = [at[0] for stored, row in by.items() if "prompt" in stored and (at := row.middle("off"))]
        assert min(few) > 5 * by["int16"].middle("off")[0]
    assert study.failures(boxes(rows)) == []


def boxes(rows) -> list:
    """Those of a feature with room beside it: in the other run it fills the head, whatever is swapped."""
    return [row for row in rows if row.head.startswith("L1H0 of boxes")]


def test_the_rules_of_the_page_can_fail(rows):
    rows = boxes(rows)
    spoilt = [replace(r, found=rows[1].found) if r.stored in ("int16", "key sums alone") else r for r in rows]
    assert any("int16 moves" in line for line in study.failures(spoilt))
    assert any("key sums" in line for line in study.failures(spoilt))
    dealt = [r if not r.stored.startswith("queries dealt") else replace(r, found=rows[0].found) for r in rows]
    assert any("swap as well" in line for line in study.failures(dealt))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.contrast)
def test_key_sums_give_delta_its_null_and_rank_and_no_attention(runs, case):
    subject = Subject(runs[case.run], case)
    told = sums.told(subject, "first-token" if case.run == "planted" else "lexical")
    assert told.found.off < 1e-6
    assert told.null < 1e-4
    assert told.found.energy == subject.whole.energy
    assert told.found.accuracy is None
    assert told.other > 0.1, "the control: they are not another contrast's"


def test_half_of_the_queries_are_half(runs):
    subject = Subject(runs["planted"], CASES[0])
    _, share = study.queries(subject, 4, np.random.default_rng(0))
    a_prompt = subject.run.n_queries / subject.run.n_prompts
    assert share == pytest.approx(4 / a_prompt)


# -- the command -----------------------------------------------------------------------------------------------------


def found(rows) -> Measured:
    return Measured(
        constants(), [], [], SHOWN, [Foretold("r", "bytes of the file", 101, 100)], boxes(rows), {"less": 1.0}
    )


def test_writing_twice_writes_the_same_and_other_constants_write_another(rows, tmp_path):
    before = (ROOT / "docs" / page.PAGE).read_text()
    (tmp_path / page.PAGE).write_text(before)
    texts = []
    for _ in range(2):
        page.put(tmp_path, tables(found(rows), ASSUMED))
        texts.append((tmp_path / page.PAGE).read_text())
    assert texts[0] == texts[1]
    outside = [part.partition(": end -->")[2] for part in texts[0].split("<!-- scale ")[1:]]
    assert all(part in before for part in outside), "prose is left as it is"
    page.put(tmp_path, tables(found(rows), ASSUMED | {"gpus": 16}))
    assert (tmp_path / page.PAGE).read_text() != texts[0]


def test_the_page_has_a_place_for_each_table_and_each_has_a_figure():
    text = (ROOT / "docs" / page.PAGE).read_text()
    for name in page.PARTS:
        begin, end = f"<!-- scale {name}: begin -->", f"<!-- scale {name}: end -->"
        assert text.count("\n| ", text.index(begin), text.index(end)) >= 2, name


def test_what_was_measured_is_kept_and_derived_from_again(rows, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "KEPT", tmp_path / "scale.json")
    assert main(["--again"]) == 1
    assert "not everything was measured yet" in capsys.readouterr().err
    (tmp_path / "scale.json").write_text(command.json.dumps(asdict(found(rows))))
    assert command.last() == found(rows)
    assert main(["--again", "--sweep", "gpus=8,64"]) == 0
    out = capsys.readouterr().out
    assert "cases with --gpus 64" in out
    assert "70 B" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--sweep", "gpu=8"], "write NAME=A,B"),
        (["--sweep", "gpus"], "write NAME=A,B"),
        (["--gpus", "0"], "above 0"),
        (["--store", "nowhere"], "nowhere"),
    ],
)
def test_a_mistake_is_one_line(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_a_size_that_is_foretold_wrong_fails(rows):
    wrong = replace(found(rows), foretold=[Foretold("r", "bytes of the file", 120, 100)])
    assert command.failures(found(rows)) == []
    assert any("+20.0%" in line for line in command.failures(wrong))
