"""Components of heads that read one feature are alike whatever the heads' bases; others are as alike as by chance."""

from __future__ import annotations

import numpy as np
import pytest
from latents import planted

from qkstore.components import AttentionContrast, components
from qkstore.components.likeness import SAME, alike, clustered, likeness, standard

R = 3


def basis(d: int = 12) -> np.ndarray:
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2))
    return (U * np.geomspace(1, 100, d)) @ V.T


def scored(**options) -> tuple[np.ndarray, np.ndarray]:
    found, _ = planted(r=R, **options)
    c = components(AttentionContrast(12, 0).update(found), found)
    return c.query_scores(found.q), c.key_scores(found.d)


@pytest.fixture(scope="module")
def heads():
    """Scores of 2,000 queries: a head, one of other weights in another basis, and one of another feature."""
    return [scored(), scored(head=1, M=basis()), scored(seed=1)]


def joined(heads) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    query, key = (np.concatenate(side, axis=1) for side in zip(*heads, strict=True))
    return query, key, np.repeat(np.arange(len(heads)), R)


def anew(n: int, times: int = 19) -> list:
    shifts = np.random.default_rng(0).integers(1, n, times)
    return [(np.roll(np.arange(n), s),) * 2 for s in shifts]


def test_two_heads_of_one_feature_cluster_and_a_third_does_not(heads):
    query, key, head = joined(heads)
    found = likeness(query, key, head, anew(len(query)))
    number = clustered(found.value, found.threshold)
    assert found.threshold == SAME
    assert found.chance < 0.2
    assert sorted(number[:R]) == sorted(number[R : 2 * R]) == list(range(R)), "each component has its own in the other"
    assert set(number[2 * R :]) == set(range(R, 2 * R)), "those of the third stand alone"


def test_heads_that_are_paired_anew_are_as_alike_as_chance(heads):
    query, key, head = joined(heads[:2])
    found = likeness(query, key, head, anew(len(query)))
    assert found.value[:R, R:].max() > 0.9
    moved = [(side[0], np.roll(side[1], 7, axis=0)) for side in zip(*heads[:2], strict=True)]
    other = likeness(*(np.concatenate(side, axis=1) for side in moved), head, anew(len(query)))
    assert other.value[:R, R:].max() < 2 * found.chance


def test_chance_is_that_of_the_most_alike_of_all(heads):
    query, key, head = joined(heads)
    few = likeness(query[:40], key[:40], head, anew(40))
    assert few.chance > likeness(query, key, head, anew(len(query))).chance
    one = likeness(query[:40], key[:40], np.zeros(len(head)), anew(40))
    assert one.chance == 0, "one head's components are not alike by chance"


def test_both_sides_and_one_sign_are_asked_for():
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((500, 1)) for _ in range(2))

    def of(query, key):
        return alike(standard(x), standard(x), standard(query), standard(key))[0, 0]

    assert of(x, x) == pytest.approx(1, abs=1e-6)
    assert of(-x, -x) == pytest.approx(1, abs=1e-6), "a component's sign is free"
    assert of(x, -x) == 0
    assert of(x, y) < 0.2
    assert of(y, x) < 0.2


def test_a_flat_score_is_like_nothing():
    flat = np.ones((50, 2))
    assert (standard(flat) == 0).all()
    assert (alike(*(standard(flat),) * 4) == 0).all()


def test_clusters_are_cut_at_the_threshold_and_numbered_by_size():
    value = np.eye(5)
    value[[1, 3, 3, 4, 1, 4], [3, 1, 4, 3, 4, 1]] = 0.8
    assert clustered(value, 0.7).tolist() == [1, 0, 2, 0, 0]
    assert clustered(value, 0.9).tolist() == [0, 1, 2, 3, 4]
    assert clustered(np.eye(1), 0.7).tolist() == [0]
    chain = np.eye(3)
    chain[[0, 1, 1, 2], [1, 0, 2, 1]] = 0.8
    assert clustered(chain, 0.7).tolist() == [0, 0, 1], "two that are alike through a third only are not"
