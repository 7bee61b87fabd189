"""The statistical rank with few queries beside d_head: its level holds, by the factor that its formula gives."""

from __future__ import annotations

import numpy as np
import pytest

from bench import rank as bench
from qkstore import rank


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(("n", "d", "true"), [(20, 64, 1), (20, 64, 3), (21, 16, 3)])
def test_the_level_holds_with_few_queries_beside_dimensions(monkeypatch, n, d, true):
    """The control: replicates as they come, with a sign for each query, let one rank too high follow the other."""
    seeds = 40
    held = bench.levels(seeds, [(n, d)], [true])
    assert held["seeds"].item() == seeds
    assert bench.level_failures(held) == []
    assert held["right"].item() > 0.85 * seeds
    monkeypatch.setattr(rank, "_freedom", lambda x, c: np.ones(min(x.shape[1], c.shape[1])))
    plain = bench.levels(seeds, [(n, d)], [true])
    assert plain["over"].item() > 3 * rank.LEVEL * seeds
    assert len(bench.level_failures(plain)) == 1


def test_after_the_first_direction_too_many_the_others_do_not_follow(monkeypatch):
    """A rank that is too high by chance is too high by a little, not by all there are."""
    drawn = [bench.planted(seed, 21, 16, 1) for seed in range(80)]
    found = [len(rank.statistical(*each)) - 1 for each in drawn]
    assert max(found) < 8
    monkeypatch.setattr(rank, "_freedom", lambda x, c: np.ones(min(x.shape[1], c.shape[1])))
    assert max(len(rank.statistical(*each)) for each in drawn) >= 15


@pytest.mark.parametrize(("n", "p", "m"), [(12, 12, 9), (30, 5, 8), (200, 4, 4)])
def test_replicates_are_scaled_by_what_the_projections_leave(rng, n, p, m):
    """By its definition, with the projections written out; and by draws of what is independent off j directions."""
    x, c = rng.standard_normal((n, p)), rng.standard_normal((n, m))
    found = rank._freedom(x, c)
    assert len(found) == min(p, m)
    assert found[0] == 1.0
    for j in range(1, min(p, m)):
        off_x, off_c = (np.eye(n) - side[:, :j] @ np.linalg.pinv(side[:, :j]) for side in (x, c))
        a, b = (off @ rng.standard_normal((n, 4000)) for off in (off_c, off_x))
        whole, signed = np.mean(np.sum(a * b, axis=0) ** 2), np.mean(np.sum((a * b) ** 2, axis=0))
        assert found[j] ** 2 == pytest.approx(np.sum(off_x * off_c) / np.sum(np.diag(off_x) * np.diag(off_c)))
        assert found[j] ** 2 == pytest.approx(whole / signed, rel=0.3)
    alike = np.column_stack([np.ones(n), x[:, 1:] - x[:, 1:].mean(axis=0)])
    assert rank._freedom(alike, alike)[1] ** 2 == pytest.approx(n / (n - 1))
