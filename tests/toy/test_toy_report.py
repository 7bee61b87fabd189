"""The report on toy runs: every figure of it is one that the store gives.

The page that holds it is changed nowhere else.
"""

from __future__ import annotations

import json

import pytest
import stores
import toys
from conftest import ROOT

import qkstore
from ingest.toy import Sizes, build
from ingest.toy.payload import Payload
from qkstore import __main__ as cli
from qkstore import toy
from qkstore.analysis.claim import Claim
from qkstore.errors import QKStoreError
from qkstore.toy import claims as toy_claims
from qkstore.toy.claims import examine, report
from qkstore.toy.page import BEGIN, END, into, markdown
from qkstore.toy.page import rows as table_rows


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = toys.write(tmp_path_factory.mktemp("toys") / "store", sizes=Sizes(n=1024, n_exact=64, n_test=100))
    stores.write(path)
    return qkstore.open(path)


@pytest.fixture(scope="module")
def rows(store):
    return report(store)


def row(rows, claim: str, heads: str = "discrete, d_head 8, short recipe") -> Claim:
    (one,) = [r for r in rows if r.claim.startswith(claim) and r.where == heads]
    return one


def test_every_claim_of_the_task_has_a_row_for_each_family(rows):
    claims = {r.claim.split()[0] for r in rows}
    assert claims == {"T1–T3", "T4", "T5", "T6", "T7", "T8", "Components", "Coordinates"}
    assert {r.where for r in rows} == {f"{v}, d_head 8, short recipe" for v in ("discrete", "continuous")}
    assert all(r.measured and r.n and any(c.isdigit() for c in r.n) for r in rows)
    assert not [r for r in rows if r.claim.startswith("T6") and r.where.startswith("continuous")], "no codes, no cube"


def test_figures_are_those_of_the_store(store, rows):
    discrete = [t for t in toy.toys(store) if t.discrete]
    low, high = min(t.accuracy for t in discrete), max(t.accuracy for t in discrete)
    far = max(discrete, key=lambda t: abs(t.accuracy - t.bound))
    said = row(rows, "T1").measured
    assert said.startswith(f"{low:.3f}–{high:.3f}; bound ")
    assert f"at ({far.r1}, {far.r2}); 400 steps" in said
    assert row(rows, "T1").n == "3 heads"
    assert row(rows, "T5 ranks, r1 + r2 <").measured == "4 of 4 exact"
    ranks = toy.recovered(next(t for t in discrete if t.room < 0).run).ranks
    assert row(rows, "T5 ranks, r1 + r2 >").measured.startswith(f"r̂1 + r̂2 is {sum(ranks)}–{sum(ranks)}")
    assert row(rows, "T4 exact").measured == "the true rank for 6 of 6 latents"
    beyond = toy.interaction(next(t for t in discrete if t.room < 0).run).shares
    assert (
        f"diagonal {beyond.diagonal:.3f}, rest of the blocks {beyond.block:.3f}, across {beyond.across:.3f}"
        in row(rows, "T8 G, r1 + r2 >").measured
    )


def test_heads_of_another_noise_are_a_family_of_their_own(tmp_path):
    for noise in (0.01, 0.5):
        build(tmp_path, [Payload("discrete", 8, 1, 2, noise=noise)], toys.SHORT, Sizes(n=64, n_exact=16, n_test=20))
    rows = report(qkstore.open(tmp_path))
    assert {r.where for r in rows} == {f"discrete, d_head 8, short recipe, noise {noise}" for noise in ("0.01", "0.5")}
    assert {r.n for r in rows if r.claim.startswith("T1")} == {"1 head"}
    assert {r.n for r in rows if r.claim.startswith("T4 exact")} == {"16 triplets each"}, "not more than the run has"


def test_errors_fall_as_one_over_the_root_of_n(store, rows):
    head = examine(toy.toy(store.run("toy-discrete-d8-2-3-short")))
    assert head.sizes == [64, 256, 1024]
    assert head.errors.shape == (2, 3)
    assert (head.errors[:, 2] < head.errors[:, 0]).all()
    for heads in ("discrete", "continuous"):
        slope = float(row(rows, "T4 ΔC", f"{heads}, d_head 8, short recipe").measured.split("n^")[1].replace("−", "-"))
        assert -0.75 < slope < -0.3


def test_a_swap_row_has_all_six_conditions_of_one_head(store, rows):
    (shown,) = [r for r in rows if r.claim == "T7 swaps, (2, 3)" and r.where.startswith("discrete")]
    swaps = {c.name: c for c in toy.swaps(store.run("toy-discrete-d8-2-3-short")).conditions}
    for c in swaps.values():
        assert f"{c.original_after:.3f}/{c.target_after:.3f}" in shown.measured
    assert shown.n == "100 contexts, 10 random bases"


def test_a_miss_is_named(rows, store, monkeypatch):

    monkeypatch.setattr(toy_claims, "recovered", lambda run: toy.Recovered((1, 3), toy.toy(run).ranks))
    said = row(report(store), "T5 ranks, r1 + r2 <").measured
    assert "z1 of toy-discrete-d8-2-3-short: 1 for 2" in said
    assert said.startswith("1 of 4 exact")


def test_progress_is_told_to_the_end(store):
    told = []
    report(store, lambda i, n: told.append((i, n)))
    assert told == [(i, 6) for i in range(7)]


# -- text --------------------------------------------------------------------------------------------------------


ROWS = [Claim("T9 claim", "all", "said", "0.5", "3 heads")]
TABLE = "| claim | heads | paper | measured | n |\n|---|---|---|---|---|\n| T9 claim | all | said | 0.5 | 3 heads |\n"


def test_a_row_is_a_line_of_the_table():
    assert markdown(ROWS) == TABLE
    *_, bar = markdown([Claim("T9", "all", "said", "|r| 1", "3")]).splitlines()
    assert bar == r"| T9 | all | said | \|r\| 1 | 3 |", "a bar is no cell's end"


def test_only_what_is_between_the_markers_changes_and_once_more_nothing(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n| x |\n{END}\nafter ¬\n", encoding="utf-8")
    for _ in range(2):
        into(page, ROWS)
        assert page.read_text(encoding="utf-8") == f"before\n{BEGIN}\n{TABLE}{END}\nafter ¬\n"
    assert [p.name for p in tmp_path.iterdir()] == ["page.md"]


@pytest.mark.parametrize("text", ["no markers", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n"])
def test_a_page_without_its_markers_is_left_as_it_is(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(QKStoreError, match="needs the two lines"):
        into(page, ROWS)
    assert page.read_text() == text


def test_the_page_of_the_docs_has_a_table_between_its_markers():
    text = (ROOT / "docs/toy.md").read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    lines = text.split(BEGIN)[1].split(END)[0].strip().splitlines()
    assert len(lines) > 10
    assert all(line.count(" | ") == 4 for line in lines if not line.startswith("|---"))


# -- the command -------------------------------------------------------------------------------------------------


def test_the_command_prints_the_table_or_json_or_writes_a_page(store, tmp_path, capsys, rows):
    where = ["toy", "--store", str(store.path)]
    assert cli.main([*where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == table_rows(rows)
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    assert cli.main([*where, "--into", str(page)]) == 0
    assert capsys.readouterr().out == f"{len(rows)} rows → {page}\n"
    assert page.read_text() == f"{BEGIN}\n{markdown(rows)}{END}\n"


def test_mistakes_are_one_line_before_any_work(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("qkstore.toy.claims.report", lambda *_: pytest.fail("worked for nothing"))
    assert cli.main(["toy", "--store", str(store.path), "--into", str(tmp_path / "none.md")]) == 2
    assert "none.md cannot be read" in capsys.readouterr().err
    monkeypatch.undo()
    assert cli.main(["toy", "--store", str(stores.write(tmp_path / "store"))]) == 2
    said = capsys.readouterr().err
    assert "has no toy run; make some with `python -m ingest toy-sweep" in said
    assert said.count("\n") == 1
