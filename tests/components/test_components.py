"""The components of an attention contrast: what is planted comes out, whatever the basis and the order of shards."""

from __future__ import annotations

import numpy as np
import pytest
from latents import GAUSSIAN, planted

from qkstore.components import (
    AttentionContrast,
    Choices,
    Gauge,
    canonical,
    components,
    correlations,
    held_out,
    number,
)
from qkstore.components.attention import HALVES
from qkstore.errors import ContrastError
from qkstore.intervention import Swapper


def fitted(found: Choices, repairs: int = 19) -> AttentionContrast:
    return AttentionContrast(found.q.shape[1], repairs).update(found)


def swapped(found: Choices, P: np.ndarray) -> np.ndarray:
    """(2, n) attention on a key of 0 and on one of d, the only keys of each query, after a swap through P."""
    logsumexp = np.logaddexp(0, np.einsum("nd,nd->n", found.q, found.d))
    (swap,) = Swapper(found.q, np.zeros_like(found.d), found.d, logsumexp, 1.0).through([P])
    return np.stack([swap.original_after, swap.target_after])


def random_projectors(both: tuple[Choices, ...]) -> tuple[np.ndarray, ...]:
    """Of each the same draw of two dimensions in its gauge."""
    return tuple(Gauge.of(c.within).upright(c.q).random(2, np.random.default_rng(0)) for c in both)


def basis(d: int, condition: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    U, V = (np.linalg.qr(rng.standard_normal((d, d)))[0] for _ in range(2))
    return (U * np.geomspace(1, condition, d)) @ V.T


@pytest.mark.parametrize("r", [1, 2, 4, 6])
@pytest.mark.parametrize("latent", ["discrete", GAUSSIAN])
def test_there_are_as_many_as_planted(r, latent):
    found, _ = planted(r=r, latent=latent)
    assert number(fitted(found)).value == r


def test_each_discrete_coordinate_is_one_component_and_a_turned_one_is_not():
    found, z = planted()
    c = components(fitted(found), found)
    match = np.abs(np.corrcoef(c.query_scores(found.q).T, z.T)[: len(c), len(c) :])
    assert (match.max(axis=1) > 0.98).all()
    assert sorted(match.argmax(axis=1)) == list(range(z.shape[1]))
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((len(c), len(c))))[0]
    turned = np.abs(np.corrcoef((c.query_scores(found.q) @ turn).T, z.T)[: len(c), len(c) :])
    assert not (turned.max(axis=1) > 0.98).all()


def test_no_change_of_the_head_s_basis_moves_them():
    (found, _), (other, _) = (planted(M=M) for M in (None, basis(12, 100)))
    ours, theirs = (components(fitted(c), c) for c in (found, other))
    assert np.abs(ours.number.held - theirs.number.held).max() < 1e-6
    assert ours.number.value == theirs.number.value
    assert np.abs(ours.share - theirs.share).max() < 1e-6
    assert np.abs(ours.query_scores(found.q) - theirs.query_scores(other.q)).max() < 1e-5
    moved, again = found.d @ ours.key_projector([0]).T, other.d @ theirs.key_projector([0]).T
    logits, others = (np.einsum("nd,nd->n", c.q, m) for c, m in ((found, moved), (other, again)))
    assert np.abs(logits - others).max() < 1e-6 * np.abs(logits).max()
    for P, same in ((ours.key_projector(), theirs.key_projector()), random_projectors((found, other))):
        before, after = (swapped(c, projector) for c, projector in ((found, P), (other, same)))
        assert np.abs(before - after).max() < 1e-6
    plain, changed = (np.linalg.svd(fitted(c).delta, compute_uv=False) for c in (found, other))
    assert np.abs(plain - changed).max() > 0.1 * plain.max(), "singular values of ΔC are not so"


def test_shards_merge_in_any_order():
    found, _ = planted()
    parts = [found.where(np.arange(i, len(found), 4)) for i in range(4)]
    parts = [Choices(p.q, p.d, p.group, p.attention, found.within / 4) for p in parts]
    orders = [[0, 1, 2, 3], [3, 1, 0, 2]]
    merged = []
    for order in orders:
        whole = AttentionContrast(12, 19)
        for i in order:
            whole.merge(fitted(parts[i]))
        merged.append(number(whole))
    assert np.abs(merged[0].held - merged[1].held).max() < 1e-9
    assert np.abs(merged[0].null - merged[1].null).max() < 1e-9
    assert np.abs(merged[0].held - number(fitted(found)).held).max() < 1e-9
    three = fitted(parts[0]).merge(fitted(parts[1])).merge(fitted(parts[2]))
    assert np.abs(number(three).held - merged[0].held).max() > 1e-6, "a shard that is missing is seen"


def test_whitening_once_for_all_repairs_changes_no_value():
    contrast = fitted(planted(n=600)[0])
    counted = number(contrast)
    gauge = Gauge.of(contrast.within)

    def plain(one, other, shrink_q=counted.shrink_q):
        fits = [canonical(m, gauge, shrink_q, counted.shrink_d) for m in (one, other)]
        return (held_out(fits[0], other) + held_out(fits[1], one)) / 2

    halves = [contrast.moments(folds) for folds in HALVES]
    repaired = list(zip(contrast.repaired(0), contrast.repaired(1), strict=True))
    assert np.abs(plain(*halves) - counted.held).max() < 1e-9
    assert np.abs([plain(*pair).max() for pair in repaired] - counted.null).max() < 1e-9
    assert np.abs([plain(*pair, 0.5).max() for pair in repaired] - counted.null).max() > 1e-3, "whitened otherwise"


def test_a_group_s_projector_moves_its_scores_alone():
    found, _ = planted()
    c = components(fitted(found), found)
    P = c.key_projector([1, 2])
    assert np.allclose(P @ P, P)
    moved = c.key_scores(found.d @ P.T)
    kept = c.key_scores(found.d)
    assert np.allclose(moved[:, [1, 2]], kept[:, [1, 2]])
    assert np.abs(moved[:, [0, 3]]).max() < 1e-8
    assert np.allclose(c.key_projector(), sum(c.key_projector([j]) for j in range(len(c))))


def test_scores_of_other_queries_correlate_and_those_paired_anew_do_not():
    found, _ = planted()
    other, _ = planted(seed=1)
    c = components(fitted(found), found)
    rho, interval = correlations(c, fitted(other, 0))
    assert (rho > 0.9).all()
    assert ((interval[:, 0] < rho) & (rho < interval[:, 1])).all()
    mixed = Choices(other.q, np.roll(other.d, 7, axis=0), other.group, other.attention, other.within)
    assert (np.abs(correlations(c, fitted(mixed, 0))[0]) < 0.2).all()


def test_p_values_are_uniform_where_queries_are_paired_anew():
    found, _ = planted(n=400, d=6, r=3)
    p = []
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        mixed = Choices(found.q, found.d[rng.permutation(len(found))], found.group, found.attention, found.within)
        p.append(number(AttentionContrast(6, 19, seed).update(mixed), halvings=0).p_value)
    steps = np.arange(1, 21) / 20
    share = np.array([(np.array(p) <= s + 1e-9).mean() for s in steps])
    assert np.abs(share - steps).max() < 1.63 / np.sqrt(1000), "Kolmogorov–Smirnov at 1 %"
    assert number(AttentionContrast(6, 19).update(found), halvings=0).p_value == 0.05


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"q": np.ones((400, 12))}, "queries of this head are all the same"),
        ({"d": np.ones((400, 12))}, "chooses the same for every query"),
        ({"within": np.zeros((12, 12))}, "all keys that a query could choose from are the same"),
    ],
)
def test_what_does_not_vary_is_said_in_one_line(change, told):
    found, _ = planted(n=400)
    spoilt = Choices(**{**vars(found), **change})
    with pytest.raises(ContrastError, match=told):
        number(fitted(spoilt))


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_queries_are_refused_in_one_line(n):
    found, _ = planted(n=400)
    with pytest.raises(ContrastError, match="queries of several prompts"):
        number(fitted(found.where(np.arange(n))))


@pytest.mark.parametrize("n", [-1, 13])
def test_more_than_there_is_room_for_is_refused(n):
    found, _ = planted(n=400)
    with pytest.raises(ContrastError, match="can have 0 to 12"):
        components(fitted(found), found, n)


@pytest.mark.parametrize("group", [[4], [-1]])
def test_a_component_that_is_not_there_is_named(group):
    found, _ = planted(n=400)
    with pytest.raises(ContrastError, match=f"no component {group[0]}; this head has 0 to 3"):
        components(fitted(found), found).key_projector(group)
