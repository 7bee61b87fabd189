"""The study of components: its tables are whole, and a planted fault makes the scores fall.

`python -m bench.discovery` runs it over all heads; here are two small heads, trained as the others are.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from bench.discovery import page, peers, toys
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
