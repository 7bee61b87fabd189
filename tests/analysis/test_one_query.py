"""A head of one query says nothing, however well it does."""

from __future__ import annotations

from qkstore.analysis.heads import HeadScore, measure
from qkstore.interval import wilson


def test_one_query_is_never_clear_of_chance():
    """Its Wilson interval alone would leave a chance of 5 % out; the control has forty."""
    score = dict(layer=0, head=0, accuracy=1.0, selectivity=None, attention_positive=None, attention_negative=None)
    score |= dict(delta_norm=1.0, delta_null=None, p_value=None, rank=1, built_on=None, judged_on=None, chance=0.05)
    one, many = (HeadScore(**score, accuracy_ci=wilson(n, n), n_queries=n) for n in (1, 40))
    assert not measure.clear(one, "accuracy", 1)
    assert measure.clear(many, "accuracy", 1)
