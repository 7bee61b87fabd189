"""Which heads of a run read the same feature: a head and itself in another basis, beside heads of other features."""

from __future__ import annotations

import json

import numpy as np
import pytest
import synthetic

import qkstore
from qkstore.analysis.decomposition import Clusters, HeadCount, clusters, counts, kept_clusters
from qkstore.analysis.decomposition.across import called, cluster_table, clusters_statement, known_clusters
from qkstore.analysis.decomposition.across.called import UNASKED
from qkstore.analysis.decomposition.across.counted import Named
from qkstore.analysis.decomposition.across.shared import Member, Sample
from qkstore.analysis.decomposition.claim import UNSWAPPED
from qkstore.analysis.decomposition.found import sights
from qkstore.analysis.decomposition.names import UNNAMED
from qkstore.errors import ContrastError

REPAIRS = 5
SAME = [(0, 0), (0, 1), (1, 0), (1, 1)]  # heads of the order; those of layer 0 are those of layer 1 in another basis


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Layer 1 heads 0 and 1 read the order of boxes, layer 0 heads 0 and 1 are the same in another basis."""
    folder, data = tmp_path_factory.mktemp("store"), synthetic.synthetic(1200)
    M = np.random.default_rng(0).standard_normal((synthetic.D, synthetic.D))
    data.q[0, :2], data.k[0, 0] = data.q[1, :2] @ M, data.k[1, 0] @ np.linalg.inv(M).T
    data.logsumexp[0, :2] = data.logsumexp[1, :2]
    synthetic.publish(folder, "r", data)
    return qkstore.open(folder)


@pytest.fixture(scope="module")
def rows(store):
    return counts(store.run("r"), repairs=REPAIRS)


@pytest.fixture(scope="module")
def found(store, rows):
    return clusters(store.run("r"), rows)


def heads(found: Clusters, cluster: int) -> set:
    return {(m.layer, m.head) for m in found.of(cluster)}


def test_a_head_and_itself_in_another_basis_share_clusters_and_other_heads_do_not(found, rows):
    at = {(m.layer, m.head, m.component): m.cluster for m in found.members}
    for head in (0, 1):
        ours, theirs = ([at[layer, head, j] for j in range(3)] for layer in (0, 1))
        assert sorted(ours) == sorted(theirs)
    assert all(heads(found, c) <= set(SAME) for c in found.shared), "a head of entities is in no cluster of order"
    assert found.chance < 0.5 < found.threshold
    alone = [c for c in range(len(found)) if c not in found.shared]
    assert all(found.within[c] == pytest.approx(1) for c in alone)
    assert all(found.within[c] > 0.4 for c in found.shared)


def test_only_components_that_the_judged_split_confirms_have_a_part(found, rows):
    confirmed = {(r.layer, r.head, j) for r in rows for j, rho in enumerate(r.rho) if rho > 0.5}
    assert {m[1:4] for m in found.members} == confirmed
    assert len(confirmed) < sum(r.number or 0 for r in rows)
    assert found.left_out == 0


def test_where_there_is_no_room_the_weakest_are_left_out_and_counted(store, rows, found, monkeypatch):
    monkeypatch.setattr("qkstore.analysis.decomposition.across.shared.MOST", 4)
    few = clusters(store.run("r"), rows)
    assert len(few.members) == 4
    assert few.left_out == len(found.members) - 4
    assert min(m.rho for m in few.members) >= sorted(m.rho for m in found.members)[-4]


def test_prompts_are_paired_anew_whole_and_none_with_itself(store):
    run = store.run("r")
    sample = Sample.of(sights(run)[1])
    query, key = sample.anew(0)
    assert sorted(key) == list(range(len(sample.key)))
    prompts = run.key_places[0][sample.key]
    assert (prompts[key] != prompts).all()
    assert (query != np.arange(len(query))).all()
    width = synthetic.BOXES
    assert (np.diff(prompts[key].reshape(-1, width), axis=1) == 0).all(), "a prompt's keys stay together"
    assert not np.array_equal(key, sample.anew(1)[1])


def test_scores_of_keys_have_no_mean_over_a_prompt(store):
    sample = Sample.of(sights(store.run("r"))[1])
    scores = np.random.default_rng(0).standard_normal((len(sample.key), 2)) + 5
    assert np.abs(sample.centred(scores)[sample.keys[0]].mean(axis=1)).max() < 1e-9
    assert np.abs(scores[sample.keys[0]].mean(axis=1)).max() > 1


def test_they_are_kept_and_come_back(store, rows, found):
    told, run = [], store.run("r")
    first = kept_clusters(store, run, rows, progress=lambda *at: told.append(at))
    assert kept_clusters(store, run, rows, progress=lambda *at: told.append(at)) == first == found
    with_components = len({(m.layer, m.head) for m in found.members})
    assert told == [(n + 1, with_components) for n in range(with_components)]
    assert Clusters.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def named(of: dict[tuple[int, int], list[tuple[str, str, float]]]) -> list[HeadCount]:
    """Rows of heads whose components have these (name, label, explained); '' of one that no label explains."""
    rows = []
    for (layer, head), names in of.items():
        told = tuple(Named(name or "unnamed", label, explained, bool(name)) for name, label, explained in names)
        n = len(told)
        rows.append(HeadCount(layer, head, number=n, rho=(0.9,) * n, share=(1 / n,) * n, names=told))
    return rows


def gathered(*clusters: list[tuple[int, int, int]]) -> Clusters:
    members = tuple(Member(i, *at, 0.9) for i, those in enumerate(clusters) for at in those)
    return Clusters(members, (0.8,) * len(clusters), 0.7, 0.1, 19, 0, 100, 400, "test")


ORDER = "q.queried_order = k.order_id"


def test_a_cluster_has_the_name_of_most_of_its_members():
    rows = named(
        {
            (0, 0): [("order (both)", ORDER, 0.8), ("", "q.entity", 0.1)],
            (0, 1): [("order alone", "q.queried_order", 0.95), ("", "q.entity", 0.2)],
            (0, 2): [("entity", "q.queried_entity", 0.99)],
        }
    )
    found = gathered([(0, 0, 0), (0, 1, 0), (0, 2, 0)], [(0, 0, 1), (0, 1, 1)])
    first, second = called(found, rows)
    assert (first.name, first.label, first.n_named) == ("order alone", "q.queried_order", 2)
    assert first.others == ("q.queried_entity",), "what is not of the same columns is told apart"
    assert first.names == ("order (both)", "order alone", "entity")
    assert (second.name, second.n_named, second.label) == (UNNAMED, 0, "")
    assert "2 are shared by several heads, 1 of these without a name (5 components)" in clusters_statement(
        found, [first, second]
    )
    told = cluster_table([first, second])
    assert told["members"].to_list() == ["L0H0:0, L0H1:0, L0H2:0", "L0H0:1, L0H1:1"]
    assert told["heads"].to_list() == [3, 2]


def test_where_nobody_asked_for_names_a_cluster_is_not_called_unnamed(store, rows, found):
    plain = counts(store.run("r"), repairs=REPAIRS, named=False)
    told = called(found, plain)
    assert {c.name for c in told} == {UNASKED}
    assert "name" not in clusters_statement(found, told)
    assert UNSWAPPED in clusters_statement(found, called(found, rows)), "the control: where names stand"
    real = called(found, rows)
    shared = [c for c in real if len(c.heads) > 1]
    assert any("order" in c.name for c in shared), "the heads that share it read the order of boxes"
    assert all(c.n_named <= len(c.members) for c in real)
    json.dumps([c.to_dict() for c in real])


def test_names_do_not_make_clusters_anew(store, rows, found):
    run, told = store.run("r"), []
    kept_clusters(store, run, rows)
    plain = counts(run, repairs=REPAIRS, named=False)
    assert kept_clusters(store, run, plain, progress=lambda *at: told.append(at)) == found
    assert told == []
    assert known_clusters(store, run, rows, seed=1) is None


def test_a_run_without_components_is_one_line(store):
    with pytest.raises(ContrastError, match="no head of run 'r' has a component that its judged split confirms"):
        clusters(store.run("r"), [HeadCount(0, 0, why="nothing"), HeadCount(0, 1, number=0)])
