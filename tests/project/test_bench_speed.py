"""The bench of speed and size: what it checks while it times, and what its own check finds. No time matters here."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from conftest import ROOT

from bench.speed import __main__ as bench
from bench.speed import check, floor, runner, synthetic, table, turns
from bench.speed.groups import covariance, growth, heads, pairs
from bench.speed.row import Row, failed, not_run
from bench.speed.scale import Scale
from bench.speed.synthetic import ORDER, PLANTED, RANK, Shape
from qkstore.analysis.heads import heads as scored
from qkstore.contrast import pairs as found

SMALL = Shape(2400, keys=9, d_head=16, heads=4, kv_heads=2, test=0.5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speed") / "run"
    synthetic.write(folder, SMALL)
    return synthetic.Made(folder, SMALL)


# -- the check -------------------------------------------------------------------------------------------------------

BASELINE = {"map": {"ratio": 1.2, "band": 1.6}, "swaps": {"ratio": 900.0, "band": 1.6}}


def rows(ratio: float, times: float) -> list[Row]:
    return [Row("map", "a map", ratio=ratio), Row("swaps", "swaps", ratio=times, faster=True)]


@pytest.mark.parametrize(
    ("ratio", "times", "named"),
    [
        (1.2, 900, []),
        (1.5, 700, []),  # noise of a quarter is none
        (0.4, 4000, []),  # better is not worse
        (2.4, 900, ["map"]),  # twice as slow
        (1.2, 450, ["swaps"]),
        (2.4, 450, ["map", "swaps"]),
    ],
)
def test_a_ratio_that_is_twice_as_bad_is_named(ratio, times, named):
    assert list(check.regressions(rows(ratio, times), BASELINE)) == named


def test_a_row_that_failed_is_named_and_a_peer_that_is_not_here_is_not():
    said = check.regressions([failed("map", "rank 3 of a feature of 4 dimensions")], BASELINE)
    assert said == {"map": "map: rank 3 of a feature of 4 dimensions"}
    assert check.regressions([not_run("map", "a map", "no network")], BASELINE) == {}
    assert check.regressions([Row("new", "new", ratio=1e9)], BASELINE) == {}, "what is new is no worse than before"


def test_a_row_of_the_baseline_that_was_not_measured_is_named():
    assert list(check.absent(rows(1, 1)[:1], BASELINE, ["map", "swaps"])) == ["swaps"]
    assert check.absent(rows(1, 1)[:1], BASELINE, ["map"]) == {}, "nobody asked for it"
    assert check.absent([failed("swaps", "it ended")], BASELINE, ["swaps"]) == {}, "it has said so already"


def test_ratios_are_kept_by_scale_and_those_of_other_rows_stay(tmp_path):
    file = tmp_path / "baseline.json"
    check.keep(rows(1.2, 900), False, file)
    check.keep([Row("map", "a map", ratio=1.1), failed("swaps", "no")], False, file)
    check.keep([Row("map", "a map", ratio=1.05)], True, file)
    assert {name: row["ratio"] for name, row in check.read(False, file).items()} == {"map": 1.1, "swaps": 900}
    assert check.read(True, file)["map"]["ratio"] == 1.05
    assert check.read(True, tmp_path / "none.json") == {}


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """A bench whose rows are made up: each pass gives the next of the ratios, the last one for good."""
    ratios = []

    def run(wanted, full, planted, told):
        ratio = ratios.pop(0) if len(ratios) > 1 else ratios[0]
        return iter([Row("delta-3000-warm", "ΔC", ratio=ratio)] if "delta-3000" in wanted else [])

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(bench, "OUT", tmp_path / "bench.json")
    monkeypatch.setattr(check, "BASELINE", tmp_path / "baseline.json")
    monkeypatch.setattr(check, "read", lambda full: {"delta-3000-warm": {"ratio": 1.4, "band": 1.6}})
    return ratios


@pytest.mark.parametrize(
    ("ratios", "code"), [([1.4], 0), ([2.8], 1), ([2.8, 1.5], 0)], ids=["as before", "twice as slow", "once by chance"]
)
def test_the_exit_code_is_1_where_a_row_is_worse_twice(measured, capsys, ratios, code):
    measured.extend(ratios)
    assert bench.main(["--only", "delta-3000", "--check"]) == code
    assert ("FAILED delta-3000-warm: ratio 2.8, in the baseline 1.4" in capsys.readouterr().out) == bool(code)


def test_without_a_check_a_slow_row_is_no_failure(measured):
    measured.append(2.8)
    assert bench.main(["--only", "delta-3000"]) == 0


def test_the_committed_baseline_is_of_rows_that_there_are():
    for scale in (False, True):
        for name, row in check.read(scale).items():
            assert any(name == m or name.startswith(f"{m}-") for m in runner.measures()), name
            assert row["ratio"] > 0
            assert 1 < row["band"] < 2, "a slowdown of 2 is beyond it"


# -- the table -------------------------------------------------------------------------------------------------------


def test_a_row_says_what_it_measured_and_why_it_misses_its_aim():
    slow = Row("a", "ΔC", "raw files", "20 ms", 2.0, 1.9, 2.1, aim="≤ 1.5×", met=False, peak_mb=80, missed="SQL")
    good = Row("b", "swaps", "one re-run each", "1 s", 1234.5, faster=True, aim="≥ 1,000×", met=True, missed="SQL")
    facts = {"date": "2026-11-30", "full": False, "cores": 2, "machine": "x86_64"}
    lines = table.lines([slow, good, failed("c", "it ended")], facts)
    assert "| ΔC | raw files | 20 ms | 2.00× [1.90, 2.10] | ≤ 1.5× ✗ missed | 80 MB |" in lines
    assert "| swaps | one re-run each | 1 s | 1,234 times faster | ≥ 1,000× ✓ |  |" in lines
    assert "| c | | **failed**: it ended | | | |" in lines
    assert [line for line in lines if line.startswith("*")] == ["* ΔC: SQL."], "only what is missed has a reason"
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_rows_measured_alone_take_their_place_among_the_others(tmp_path):
    file, facts, names = tmp_path / "bench.json", {"full": False}, ["map", "swaps"]
    table.save(file, rows(1.2, 900), facts)
    now = table.merged(file, [Row("swaps", "swaps", ratio=800.0)], facts, names)
    assert [(r.name, r.ratio) for r in now] == [("map", 1.2), ("swaps", 800)]
    assert [r.name for r in table.merged(file, [failed("map", "it ended")], facts, names)] == ["map", "swaps"]
    assert len(table.merged(file, rows(1, 1)[1:], {"full": True}, names)) == 1, "of another scale"
    assert json.loads(file.read_text())["rows"][0]["name"] == "map"


# -- turns -----------------------------------------------------------------------------------------------------------


def test_both_sides_take_turns_and_the_ratio_is_that_of_a_turn(monkeypatch):
    now, done = [0.0], []

    def side(name, seconds):
        def work():
            done.append(name)
            now[0] += seconds

        return work

    ours, least = side("a", 3.0), side("b", 2.0)
    both = turns.paired(ours, least, 4, lambda: now[0], before=lambda: now.__setitem__(0, now[0] + 50))
    assert done == list("abbaabba")
    assert (both.ratio, both.interval, both.inverse.ratio) == (1.5, (1.5, 1.5), 2 / 3)
    monkeypatch.setattr(turns, "planted", True)
    assert turns.paired(ours, least, 3, lambda: now[0]).ratio == 3.0, "twice as slow, and only ours"
    assert turns.ours(ours, lambda: now[0]) == 6.0


def test_a_peak_is_seen_that_is_over_and_forgotten_on_request():
    turns.forget()
    before = turns.peak()
    held = np.ones(200_000_000 // 8)
    del held
    assert turns.peak() - before > 150
    turns.forget()
    assert turns.peak() - before < 100


# -- processes -------------------------------------------------------------------------------------------------------


def test_a_measurement_that_ends_badly_is_a_row_that_says_why(tmp_path):
    [row] = runner.one("growth", "growth-nothing", tmp_path, False, False)
    assert row.name == "growth-nothing"
    assert "exit code 1: KeyError: 'growth-nothing'" in row.error


def test_rows_are_found_by_group_measurement_and_name():
    assert list(runner.measures(["delta-3000-warm"])) == ["delta-3000"]
    assert list(runner.measures(["covariance"])) == ["delta-3000", "delta-30000"]
    assert set(runner.measures()) > set(growth.MEASURES)
    with pytest.raises(SystemExit, match="no row 'dleta'"):
        runner.measures(["dleta"])


# -- what is checked while it is timed -------------------------------------------------------------------------------


def test_the_raw_files_hold_what_the_run_holds(made):
    run = made.run()
    for head in range(SMALL.heads):
        assert np.array_equal(run.queries(0, head), made.read("q", 0, head))
        assert np.array_equal(run.keys(0, head), made.read("k", 0, head // 2))
    rows = np.arange(run.n_queries)
    assert np.allclose(run.logsumexp(0, 1, rows), made.logsumexp(0, 1), rtol=1e-6)


def test_one_delta_is_that_of_raw_files_and_has_the_planted_rank(made, monkeypatch):
    sides = covariance.Sides(made)
    assert sides.rank == RANK
    monkeypatch.setattr(covariance.floor, "delta", lambda *_: np.ones((16, 16)))
    with pytest.raises(AssertionError, match="ΔC differs from that of raw files"):
        sides.check()


def test_a_map_is_that_of_raw_files_and_the_planted_head_is_first(made):
    least = heads.Floor(made).scores()
    scores = scored(made.run(), ORDER, heads.DEALS)
    heads.check(scores, least)
    with pytest.raises(AssertionError, match="is before the planted one"):
        heads.check([s for s in scores if s.head != PLANTED], [])
    with pytest.raises(AssertionError, match="rank"):
        heads.check(scores, least[::-1])


def test_the_floors_null_deals_as_the_library_does(made):
    """The same signs: each deal is equal. The control deals other signs."""
    sides = pairs.Sides(made, pairs.contrast(300))
    sides.pairs = found(sides.run, sides.asked)
    nulls = pairs.Nulls(sides)
    nulls.ours()
    nulls.floor()
    nulls.check()
    nulls.dealt = nulls.dealt[::-1]
    with pytest.raises(AssertionError, match="the same deals give the same null"):
        nulls.check()


def test_a_floor_counts_the_rank_that_99_percent_needs():
    assert floor.rank(np.diag([5.0, 5.0, 1.0, 0.1])) == 3
    assert floor.rank(np.diag([5.0, 5.0, 0.1, 0.1])) == 2


# -- growth ----------------------------------------------------------------------------------------------------------


def test_the_exponent_of_a_power_is_found():
    assert growth.exponent([1, 3, 10], [2.0, 6.0, 20.0]) == pytest.approx(1)
    assert growth.exponent([1, 3, 10], [2.0, 18.0, 200.0]) == pytest.approx(2)


def test_the_plot_has_a_line_a_row_and_stays_small():
    made = [
        Row(f"growth-{name}", f"growth: {title}", figures={"exponent": 0.9, "s_10": 1.0, "s_100": 8.0})
        for name, (title, *_) in growth.SERIES.items()
    ]
    svg = growth.plot(made)
    assert all(f"{title} (size^0.90)" in svg for title, *_ in growth.SERIES.values())
    assert len(svg) < 60_000


def test_a_map_whose_first_head_is_not_the_planted_one_has_no_time(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "PLANTED", 0)
    with pytest.raises(AssertionError, match=f"head {PLANTED} of rank {RANK} comes first"):
        growth.of_map(Shape(600, d_head=16), Scale(False, tmp_path))


def test_the_page_has_the_table_and_names_the_command():
    page = (ROOT / "docs" / "performance.md").read_text()
    assert page.index("<!-- speed: begin -->") < page.index("\n## "), "the table comes first"
    assert re.search(r"^make bench$", page, re.M)
