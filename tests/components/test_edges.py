"""The ends of what a head can be: few queries, one dimension, copies, any scale, keys that repeat, caps and windows."""

from __future__ import annotations

import numpy as np
import pytest
from latents import planted

from qkstore.components import AttentionContrast, Choices, Components, choices, components
from qkstore.errors import ContrastError


def fit(found: Choices) -> Components:
    return components(AttentionContrast(found.q.shape[1], 19).update(found), found)


def head(
    n: int = 1500, keys: int = 9, d: int = 12, r: int = 4, q_by: float = 1.0, k_by: float = 1.0, scaling: float = 1.0,
    softcap: float | None = None,
) -> Choices:  # fmt: skip
    """A head that looks for r signs, its queries and keys taken times a number."""
    rng = np.random.default_rng(1)
    B = np.linalg.qr(rng.standard_normal((d, d)))[0][:, :r]
    z = rng.choice([-1.0, 1.0], (n, keys, r))
    k = z @ B.T + 0.3 * rng.standard_normal((n, keys, d))
    q = 6 * z[:, 0] @ B.T + 0.3 * rng.standard_normal((n, d))
    return choices(q_by * q[:, None], k_by * k, np.ones((n, 1, keys), bool), np.arange(n), scaling, softcap)


@pytest.mark.parametrize(
    ("q_by", "k_by", "scaling"),
    [(1e6, 1e-6, 1.0), (1e-6, 1e6, 1.0), (1e6, 1e6, 1e-12), (1e-6, 1e-6, 1e12), (1e150, 1e-150, 1.0)],
)
def test_the_same_attention_has_the_same_components_at_any_scale(q_by, k_by, scaling):
    one, other = fit(head()), fit(head(q_by=q_by, k_by=k_by, scaling=scaling))
    assert one.number.value == other.number.value == 4
    assert np.abs(one.number.held - other.number.held).max() < 1e-6
    assert np.abs(one.share - other.share).max() < 1e-6


def test_logits_too_small_to_choose_are_one_line():
    with pytest.raises(ContrastError, match="chooses the same for every query"):
        fit(head(q_by=1e-6, k_by=1e-6))


@pytest.mark.parametrize(("n", "d"), [(20, 64), (60, 64), (100, 64), (8, 12), (12, 12)])
def test_fewer_queries_than_dimensions_give_no_more_than_there_are(n, d):
    found = fit(planted(n=n, d=d)[0])
    assert np.isfinite(found.number.held).all()
    assert found.number.value <= 4
    assert found.number.interval[0] <= found.number.value <= found.number.interval[1]


@pytest.mark.parametrize("d", [1, 2])
def test_a_head_of_one_dimension_has_one(d):
    found = fit(planted(d=d, r=1)[0])
    assert found.number.value == 1
    assert found.key_projector().shape == (d, d)


def copies(groups: np.ndarray) -> Choices:
    """Forty queries, each with the choice of another one, fifty times each."""
    rng = np.random.default_rng(0)
    q, k = (rng.standard_normal((40, m, 8)) for m in (1, 6))
    found = choices(q, k, np.ones((40, 1, 6), bool), np.arange(40), 0.35)
    q, d = np.tile(found.q, (50, 1)), np.tile(np.roll(found.d, 7, axis=0), (50, 1))
    return Choices(q, d, groups, np.ones(2000), 50 * found.within)


def test_copies_of_a_prompt_are_one_group_or_they_are_taken_for_evidence():
    assert fit(copies(np.tile(np.arange(40), 50))).number.value == 0
    assert fit(copies(np.arange(2000))).number.value > 0


@pytest.mark.parametrize("prompts", [1, 2])
def test_many_queries_of_one_prompt_are_not_many_prompts(prompts):
    rng = np.random.default_rng(0)
    q, k = (rng.standard_normal((prompts, m, 8)) for m in (500, 20))
    found = choices(q, k, np.ones((prompts, 500, 20), bool), np.arange(prompts), 0.35)
    with pytest.raises(ContrastError, match="queries of several prompts"):
        fit(found)


def test_keys_of_a_few_exact_values_are_told_apart():
    rng = np.random.default_rng(1)
    values, which = rng.standard_normal((5, 12)), rng.integers(0, 5, (1500, 9))
    q = 4 * values[which[:, :1]] + 0.1 * rng.standard_normal((1500, 1, 12))
    found = fit(choices(q, values[which], np.ones((1500, 1, 9), bool), np.arange(1500), 1.0))
    assert found.number.value == 4
    assert np.isfinite(found.b_onto).all()


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_keys_that_do_not_differ_are_one_line_whatever_float32_made_of_them(noise):
    rng = np.random.default_rng(1)
    k = np.repeat(50 * rng.standard_normal((600, 1, 12)), 9, axis=1) * (1 + noise * rng.standard_normal((600, 9, 12)))
    found = choices(
        rng.standard_normal((600, 1, 12)), k.astype(np.float32), np.ones((600, 1, 9), bool), np.arange(600), 0.3
    )
    with pytest.raises(ContrastError, match="all keys that a query could choose from are the same"):
        fit(found)


def test_a_constant_query_is_one_line_whatever_float32_made_of_it():
    rng = np.random.default_rng(1)
    q = (37.123 * (1 + 1e-7 * rng.standard_normal((600, 1, 12)))).astype(np.float32)
    assert q.std(axis=0).max() > 0
    found = choices(q, 30 * rng.standard_normal((600, 9, 12)), np.ones((600, 1, 9), bool), np.arange(600), 0.3)
    with pytest.raises(ContrastError, match="queries of this head are all the same"):
        fit(found)


def test_a_large_mean_query_is_no_constant_query():
    found = planted()[0]
    far = Choices(found.q + 1e3, found.d, found.group, found.attention, found.within)
    assert fit(far).number.value == 4


@pytest.mark.parametrize("softcap", [3.0, 10.0])
def test_a_softcap_leaves_the_number(softcap):
    assert fit(head(softcap=softcap)).number.value == 4


def test_a_window_that_moves_with_the_query_leaves_the_number():
    rng = np.random.default_rng(1)
    B, z = np.linalg.qr(rng.standard_normal((12, 12)))[0][:, :4], rng.choice([-1.0, 1.0], (300, 30, 4))
    k = z @ B.T + 0.3 * rng.standard_normal((300, 30, 12))
    q = 6 * z[:, 2:28] @ B.T + 0.3 * rng.standard_normal((300, 26, 12))  # of place i looks for the key of i − 2
    i, j = np.arange(4, 30)[:, None], np.arange(30)[None]
    seen = np.broadcast_to((j < i) & (j >= i - 4), (300, 26, 30))
    found = choices(q, k, seen, np.arange(300), 1.0)
    assert fit(found).number.value == 4
    one = q[0, 0] @ k[0, :4].T
    a = np.exp(one - one.max()) / np.exp(one - one.max()).sum()
    assert np.allclose(found.d[0], 4 / 3 * (a @ k[0, :4] - k[0, :4].mean(axis=0))), "four keys, and no other"


@pytest.mark.parametrize(("side", "value"), [("queries", np.nan), ("keys", np.inf)])
def test_values_that_are_not_finite_are_one_line(side, value):
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((10, 1, 4)), rng.standard_normal((10, 5, 4))
    {"queries": q, "keys": k}[side][3, 0, 1] = value
    with pytest.raises(ContrastError, match=f"1 of (10|50) {side} hold NaN or infinite values"):
        choices(q, k, np.ones((10, 1, 5), bool), np.arange(10), 1.0)
