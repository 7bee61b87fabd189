"""What a label explains of a component's scores: planted shares come out, and labels dealt anew explain nothing."""

from __future__ import annotations

import numpy as np
import pytest

from qkstore.components.naming import NONE, Trial, alike, dealt, explained, some

N, VALUES = 2000, 9


def scores(share: float, seed: int = 0, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """(n, 1) scores of which `share` of the variance is between the values of a label, and its codes."""
    rng = np.random.default_rng(seed)
    level = np.linspace(-1, 1, VALUES)
    code = rng.integers(0, VALUES, n)
    noise = rng.standard_normal(n) * level.std()
    return (np.sqrt(share) * level[code] + np.sqrt(1 - share) * noise)[:, None], code


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_the_share_between_values_comes_out(share):
    x, code = scores(share)
    assert alike(x, code, x, code, np.arange(N))[0] == pytest.approx(share, abs=0.03)


def test_it_is_0_on_average_where_a_label_of_many_values_says_nothing_and_the_plain_share_is_not():
    rng, adjusted, plain = np.random.default_rng(0), [], []
    for _ in range(100):
        x, code = rng.standard_normal((300, 1)), rng.integers(0, 60, 300)
        adjusted.append(alike(x, code, x, code, np.arange(300))[0])
        mean = np.bincount(code, x[:, 0]) / np.maximum(np.bincount(code), 1)
        plain.append(np.var(mean[code]) / np.var(x))
    assert abs(np.mean(adjusted)) < 0.02
    assert np.mean(plain) > 0.15


def test_queries_of_one_prompt_make_no_share():
    rng, group = np.random.default_rng(0), np.repeat(np.arange(60), 20)
    x = rng.standard_normal((60, 1))[group] + 0.1 * rng.standard_normal((1200, 1))
    found, taken_alone = [], []
    for _ in range(100):
        code = rng.integers(0, 5, 60)[group]
        found.append(alike(x, code, x, code, group)[0])
        taken_alone.append(alike(x, code, x, code, np.arange(1200))[0])
    assert abs(np.mean(found)) < 0.02
    assert np.mean(taken_alone) > 0.05


def test_a_query_and_a_key_agree_where_the_same_value_moves_both_alike():
    (x, of_query), (y, of_key), group = scores(0.8), scores(0.6, 1), np.arange(N)
    assert alike(x, of_query, y, of_key, group)[0] == pytest.approx(np.sqrt(0.8 * 0.6), abs=0.05)
    assert alike(x, of_query, -y, of_key, group)[0] == pytest.approx(-np.sqrt(0.8 * 0.6), abs=0.05)
    other = (of_key * 2 + 3) % VALUES  # the key's value still tells its score, but not as the query's does
    assert abs(alike(x, of_query, y, other, group)[0]) < 0.35
    assert alike(y, other, y, other, group)[0] == pytest.approx(0.6, abs=0.05)


def test_rows_without_a_value_and_values_of_one_prompt_have_no_part():
    x, code = scores(0.8)
    group, some_code = np.arange(N), np.where(np.arange(N) % 3 == 0, NONE, code)
    wild = np.where((some_code == NONE)[:, None], 1e6, x)
    assert alike(wild, some_code, wild, some_code, group)[0] == pytest.approx(0.8, abs=0.03)
    single = np.where(some_code == NONE, 100 + np.arange(N), some_code)
    assert alike(wild, single, wild, single, group)[0] == pytest.approx(0.8, abs=0.03)
    assert alike(x, np.full(N, NONE), x, np.full(N, NONE), group)[0] == 0
    assert alike(x, np.arange(N), x, np.arange(N), group)[0] == 0
    assert alike(np.ones((N, 1)), code, np.ones((N, 1)), code, group)[0] == 0


def by_pairs(x, x_code, y, y_code, group) -> float:
    """What `alike` says, by a loop over all pairs of rows, of one component and of values that all have pairs."""
    x, y = (np.where(c >= 0, s - s[c >= 0].mean(), 0.0) for s, c in ((x, x_code), (y, y_code)))
    pairs = [(i, j) for i in range(len(x)) for j in range(len(y)) if group[i] != group[j]]
    pairs = [(i, j) for i, j in pairs if x_code[i] >= 0 and y_code[j] >= 0]
    mean = {v: np.mean([x[i] * y[j] for i, j in pairs if x_code[i] == y_code[j] == v]) for v in range(3)}
    of_value = np.mean([mean[c] for c in x_code[x_code >= 0]])
    size = [np.sum(s**2) / ((c >= 0).sum() - 1) for s, c in ((x, x_code), (y, y_code))]
    return (of_value - np.mean([x[i] * y[j] for i, j in pairs])) / np.sqrt(size[0] * size[1])


@pytest.mark.parametrize("group", [np.arange(60), np.repeat(np.arange(12), 5)], ids=["one a prompt", "five a prompt"])
@pytest.mark.parametrize("least", [0, NONE], ids=["all", "some without a value"])
def test_it_is_what_a_loop_over_all_pairs_gives(group, least):
    rng = np.random.default_rng(0)
    x, y, x_code, y_code = *rng.standard_normal((2, 60, 1)), *rng.integers(least, 3, (2, 60))
    for of in ((x, x_code, y, y_code), (x, x_code, x, x_code), (x, x_code, y, x_code)):
        loop = by_pairs(of[0][:, 0], of[1], of[2][:, 0], of[3], group)
        assert alike(*of, group)[0] == pytest.approx(loop, abs=1e-12)
        assert alike(*of, group % 7)[0] != pytest.approx(loop, abs=1e-6), "control: other prompts"


def test_a_deal_gives_the_labels_of_a_prompt_to_another():
    group = np.repeat(np.arange(50), 4)
    turn = dealt(group, np.random.default_rng(0))
    assert sorted(turn) == list(range(200))
    assert (group[turn].reshape(50, 4) == group[turn].reshape(50, 4)[:, :1]).all()
    assert (turn % 4 == np.arange(200) % 4).all()
    assert (turn != np.arange(200)).mean() > 0.9


def test_a_sample_has_whole_prompts():
    group = np.random.default_rng(0).permutation(np.repeat(np.arange(100), 7))
    rows = some(group, 200)
    assert 190 < len(rows) <= 200
    assert (np.bincount(group[rows], minlength=100) % 7 == 0).all()
    assert (some(group, 700) == np.arange(700)).all()
    assert len(some(group, 3)) == 7


def family(seed: int, share: float = 0.0, deals: int = 19):
    """Three components and six trials, of which a share of the first component is told by the first label alone."""
    rng, group = np.random.default_rng([7, seed]), np.arange(200)
    first, code = scores(share, seed, 200)
    x, y = np.hstack([first, rng.standard_normal((200, 2))]), rng.standard_normal((200, 3))
    codes = [code, *rng.integers(0, [[2], [5], [50]], (3, 200))]
    trials = [Trial("query", c, c) for c in codes] + [Trial("key", codes[1], codes[1]), Trial("agreement", *codes[1:3])]
    return explained(x, y, trials, group, deals, seed)


def test_p_values_hold_over_all_labels_and_components_together():
    least = np.array([family(seed).p_value.min() for seed in range(300)])
    for level in (0.05, 0.1, 0.25, 0.5, 0.75):
        assert abs((least <= level + 1e-9).mean() - level) < 3.3 * np.sqrt(level * (1 - level) / 300), level


def test_what_is_told_is_found_and_what_is_not_is_not():
    found = family(0, share=0.5, deals=99)
    assert found.p_value[0, 0] == 0.01
    assert found.share[0, 0] == pytest.approx(0.5, abs=0.12)
    rest = np.ones(found.share.shape, bool)
    rest[0, 0] = False
    assert (found.p_value[rest] > 0.05).all()
    again = family(0, share=0.5, deals=99)
    assert (again.p_value == found.p_value).all(), "the same seed deals the same"
