"""The study of components: its tables are whole, and a planted fault makes the scores fall.

`python -m bench.discovery` runs it over all heads; here are two small heads, trained as the others are.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from bench.discovery import chance, claims, page, peers, toys
from bench.discovery.__main__ import main, small
from bench.discovery.demo import between
from bench.discovery.methods import METHODS
from bench.discovery.scores import coordinates, share


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("heads")


@pytest.fixture(scope="module")
def heads(folder):
    return small(folder)


@pytest.fixture(scope="module")
def rows(heads):
    return toys.study(heads)


def test_heads_that_a_folder_has_are_not_trained_anew(folder, heads):
    kept = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = small(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == kept
    assert [np.array_equal(a.W_Q, b.W_Q) for a, b in zip(heads, again)] == [True, True]


def test_a_head_with_room_has_each_coordinate_and_one_beyond_loses_some(rows):
    roomy, crowded = rows
    assert (roomy.number, roomy.clean, roomy.own) == (5, 5, 5)
    assert crowded.number == crowded.room == 8
    assert crowded.own < 9
    assert crowded.kurtosis > roomy.kurtosis + 0.2
    assert toys.failures(rows) == []
    assert toys.misses(rows) == []


def test_shuffled_attention_makes_all_of_it_fall(heads):
    spoilt = toys.study(heads, fault="shuffled")
    assert [r.number for r in spoilt] == [0, 0]
    assert len(toys.misses(spoilt)) == 2
    assert any("below 95 %" in line for line in toys.failures(spoilt))
    assert [r.own for r in spoilt] == [0, 0]
    assert all(r.after <= r.before + 1e-9 for r in spoilt)


def test_the_peers_table_says_what_each_method_can_and_a_fault_is_seen(heads):
    scores = peers.study(heads[:1], METHODS)
    by = {(s.method, s.basis): s for s in scores}
    ours = "canonical, ICA (components)"
    assert by[ours, "trained"].clean == by[ours, "other"].clean == 1
    assert by["PCA of q and of k", "trained"].clean < 1
    assert by["attention contrast, not whitened", "other"].number != 5, "its energy depends on the basis"
    spoilt = {(s.method, s.basis): s for s in peers.study(heads[:1], METHODS, fault="shuffled")}
    for name in ("canonical, not rotated", ours):
        assert (by[name, "trained"].number, spoilt[name, "trained"].number) == (5, 0)
    assert spoilt[ours, "trained"].clean == 0
    assert spoilt[ours, "trained"].matched < 0.9
    blind = [replace(each["PCA of q and of k", "trained"], seconds=0.0) for each in (by, spoilt)]
    assert blind[0] == blind[1], "PCA reads no attention, so that the fault leaves it as it is"


def test_the_other_basis_is_the_same_head(heads):
    given, _ = peers.subject(heads[0], n=200)
    other = given.based(peers.basis(8, 100.0))
    one, two = (np.einsum("nd,nd->n", s.found.q, s.found.d) for s in (given, other))
    assert np.allclose(one, two)
    assert np.allclose(given.W_Q.T @ given.W_K, other.W_Q.T @ other.W_K)
    assert not np.allclose(given.found.q, other.found.q)


def test_the_page_has_a_place_for_each_table_and_shows_the_picture():
    text = (ROOT / "docs" / "discovery.md").read_text()
    written = page.inserted(text, {name: f"<{name}>" for name in page.PARTS})
    assert all(f"<{name}>" in written for name in page.PARTS)
    assert f"]({page.PICTURE})" in text
    assert (ROOT / "docs" / page.PICTURE).read_text().startswith("<svg")


def test_controls_fail(heads):
    header, shuffled, untrained = toys.controls(heads)
    row = {title: dict(zip(header, cells)) for title, cells in (("shuffled", shuffled), ("untrained", untrained))}
    assert row["shuffled"]["components"] == "0 to 0"
    assert row["untrained"]["components"] != "0 to 0", "attention picks keys that fit in any head"
    assert row["untrained"]["number right"] == "0 of 2"
    assert not row["untrained"]["coordinates at 0.98"].startswith("14")


@pytest.mark.slow
def test_one_quick_command_fills_every_table(folder, heads, tmp_path, capsys):
    assert main(["--quick", "--heads", str(folder), "--json", str(tmp_path / "told.json")]) == 0
    out = capsys.readouterr().out
    assert "all as it must be" in out
    told = json.loads((tmp_path / "told.json").read_text())
    assert {(s["method"], s["basis"]) for s in told["peers"]} == {
        (m, b) for m in peers.ALL for b in ("trained", "other")
    }
    assert all(s["seconds"] >= 0 and 0 <= s["matched"] <= 1 + 1e-9 for s in told["peers"])
    for name in peers.ALL:
        assert f"| {name} |" in out


def test_coordinates_are_matched_one_to_one():
    rng = np.random.default_rng(0)
    z = rng.choice([-1.0, 1.0], (4000, 3))
    at = coordinates(z[:, [1, 0]] * [-2.0, 3.0], z)
    assert at.clean == 2
    assert at.dropped == 1
    mixed = coordinates(np.stack([z[:, 0] + z[:, 1], z[:, 0] + z[:, 1] + 1e-3 * z[:, 2]], axis=1), z)
    assert mixed.clean == 0
    assert np.allclose(sorted(mixed.matched)[-1], np.sqrt(0.5), atol=0.03)


def test_a_share_of_a_span_and_of_a_variance():
    assert share(np.eye(4)[:, :2], np.eye(4)[:, 1:3]) == pytest.approx(0.5)
    assert share(np.eye(4)[:, :1], np.eye(4)[:, :3]) == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    values = np.repeat(np.arange(200), 5)
    noise = rng.standard_normal((1000, 40))
    assert abs(between(noise, values.astype(str)).mean()) < 0.02, "many values of a label explain nothing by themselves"
    assert (between(noise * 0.1 + values[:, None], values.astype(str)) > 0.99).all()


def test_parts_go_between_their_markers_and_a_missing_one_is_told():
    text = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb"
    assert page.inserted(text, {"x": "new"}) == "a\n<!-- x: begin -->\nnew\n<!-- x: end -->\nb"
    with pytest.raises(ValueError, match="no <!-- y: begin -->"):
        page.inserted(text, {"y": "new"})


CLEAR = {
    "component": 0,
    "name": "order",
    "named": True,
    "rho": 0.8,
    "rho_ci": [0.7, 0.9],
    "gap": 0.5,
    "gap_ci": [0.4, 0.6],
}
CLEAR |= {"agreement": {"explained": 0.9}}
WEAK = CLEAR | {"rho_ci": [0.3, 0.6], "agreement": {"explained": 0.2}}


def heads_of(weights: str, seeds: range, *rows: dict) -> list[chance.Head]:
    return [chance.Head(weights, seed, "both", head, 100, rows) for seed in seeds for head in range(2)]


def test_claims_are_counted_by_components_by_models_and_by_heads():
    trained, weak = heads_of(chance.TRAINED, range(1), CLEAR, CLEAR), heads_of(chance.DRAWN, range(10, 14), WEAK, WEAK)
    one = chance.Head(chance.DRAWN, 14, "lists", 0, 100, (CLEAR, WEAK))
    header, *rows = claims.table([*trained, *weak, one, chance.Head(chance.DRAWN, 14, "lists", 1, refused="nothing")])
    told = {row[0]: dict(zip(header, row)) for row in rows}
    assert told[chance.TRAINED]["clear"] == "4 of 4"
    assert told[chance.TRAINED]["the same by models"] == "–", "all are clear: resampling shows nothing"
    drawn = told[chance.DRAWN]
    assert (drawn["models"], drawn["heads with components"], drawn["components"]) == ("5", "9 of 10", "18, 2 a head")
    assert (drawn["named by a label"], drawn["clear"], drawn["clear and matching"]) == (
        "18 of 18",
        "1 of 18",
        "1 of 18",
    )
    assert drawn["heads with a clear one"].startswith("1 of 9, ")
    low, high = (float(end) for end in drawn["the same by models"].split("–"))
    assert low == 0 < 1 / 18 < high
    assert told[claims.CHANCE]["clear"] == "1 of 18"
    (line,) = claims.exceptions([*trained, *weak, one])
    assert line.startswith("random, seed 14, lists, head 0, component 0: ρ 0.80")
    forms = {row[0]: row[1:] for row in claims.by_form([*trained, *weak, one])}
    assert forms["both"] == ["4", "4", "4", "4", "4", "8 of 8", "16", "0", "16", "0", "0"]


def test_claims_that_do_not_hold_are_told():
    trained, weak = heads_of(chance.TRAINED, range(1), *[CLEAR] * 10), heads_of(chance.DRAWN, range(10, 12), WEAK)
    assert claims.failures([*trained, *weak]) == []
    clear = heads_of(chance.DRAWN, range(10, 12), CLEAR)
    assert claims.failures([*trained, *clear]) == ["claims: 4 of 4 components without training are clear"]
    assert "no model without training has a component" in claims.failures(trained)[0]
    lame = heads_of(chance.TRAINED, range(1), *[CLEAR] * 10, *[WEAK] * 10)
    assert claims.failures([*lame, *weak]) == ["claims: 20 of 40 components of the trained model are clear"]
    few = heads_of(chance.TRAINED, range(1), *[CLEAR] * 3, WEAK)
    assert claims.failures([*few, *weak]) == [], "6 of 8 may be .8"


def test_judged_seeds_and_prompts_are_not_those_that_limits_were_set_by():
    there = chance.sides()
    assert {side.form for side in there if side.weights == chance.TRAINED} == set(chance.FORMS)
    assert min(side.seed for side in there if side.weights != chance.TRAINED) == 10
    assert chance.PROMPTS != 0
    assert len({side.key for side in there}) == len(there)
    with_fixed = chance.FORMS["ent, 6 pairs"](3, 2)
    assert {len([s for s in p.spans if s.role == "entity"]) for p in with_fixed} == {6}


def test_what_was_studied_is_kept_until_the_source_changes(tmp_path):
    side, told = chance.Side(chance.SHUFFLED, 5, "both", 60, 40), []
    first = chance.study(tmp_path, told.append, [side])
    assert [(head.weights, head.head) for head in first[0]] == [(chance.SHUFFLED, h) for h in range(4)]
    assert chance.study(tmp_path, told.append, [side]) == first
    assert told == [f"claims of {side.key}"]
    assert [path.name for path in tmp_path.iterdir()] == ["claims.json"], "no model's run is left"
    kept = json.loads((tmp_path / "claims.json").read_text())
    (tmp_path / "claims.json").write_text(json.dumps(kept | {"made_by": "another source"}))
    assert chance.study(tmp_path, told.append, [side])[0] == first[0]
    assert len(told) == 2
