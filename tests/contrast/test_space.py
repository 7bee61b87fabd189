"""A subspace that a contrast carries: kept as text to the last bit, part of its key, and refused where it is none."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from qkstore.contrast import Contrast
from qkstore.contrast.difference import difference, told
from qkstore.contrast.space import LONGEST, Space, read
from qkstore.errors import ContrastError

PLAIN = Contrast("mine", positive="k.a = q.a", negative="k.a <> q.a")


def made(rank: int = 3, d: int = 8, seed: int = 0, head: int = 2) -> Space:
    rng = np.random.default_rng(seed)
    return Space.spanned("b5ae3fe3c8655227", 1, head, rng.standard_normal((d, rank)), rng.standard_normal((d, rank)))


def spoilt(**changes) -> str:
    return json.dumps(json.loads(made().text) | changes)


def packed(matrix) -> str:
    return base64.b64encode(np.asarray(matrix, "<f4").tobytes()).decode()


def test_the_spans_are_those_that_were_given():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((8, 3)), rng.standard_normal((8, 3))
    space = Space.spanned("abc", 1, 2, a, b)
    for given, kept in ((a, space.U), (b, space.V)):
        assert np.allclose(kept.T @ kept, np.eye(3), atol=1e-6)
        assert np.allclose(kept @ (kept.T @ given), given, atol=1e-5)
    assert not np.allclose(space.U @ (space.U.T @ b), b, atol=1e-2), "the other side's span is another"


def test_text_and_back_is_the_same_to_the_last_bit():
    space = made()
    back = read(space.text)
    assert back.text == space.text
    assert np.array_equal(back.U, space.U)
    assert np.array_equal(back.V, space.V)
    assert (back.run, back.layer, back.head, back.rank) == ("b5ae3fe3c8655227", 1, 2, 3)


def test_it_is_part_of_the_key_and_a_contrast_without_one_keeps_its_own():
    assert PLAIN.key == "01a4cc8c8220dad0", "as before contrasts could carry a subspace"
    keys = {PLAIN.key, *(PLAIN.replace(space=made(seed=seed).text).key for seed in (0, 1))}
    assert len(keys) == 3
    assert PLAIN.replace(space=made().text).replace(description="x").key in keys


def test_other_conditions_leave_it_out_and_other_words_do_not():
    own = PLAIN.replace(space=made().text)
    assert own.changed(description="x", positive=PLAIN.positive, where="").own is not None
    assert own.changed(positive="k.a = 1").own is None
    assert own.changed(where="k.pos < 3").own is None
    assert own.changed(positive=None, negative=None, pairs="select 1").own is None


def test_it_is_read_back_and_its_difference_is_told():
    own = PLAIN.replace(space=made().text)
    assert own.sentence().endswith(
        "With a subspace of its own: 3 dimensions of layer 1 head 2 of the run b5ae3fe3c8655227."
    )
    assert own.sentence((1, 2, 3, 4)).endswith("1 query, 2 keys; 3 positive and 4 negative pairs.")
    assert told(PLAIN, own) == "space changed"
    (one,) = difference(own, own.replace(space=made(seed=1).text))
    assert one.before != one.after
    assert max(map(len, one.lines)) < 120, "not the numbers"


@pytest.mark.parametrize(
    ("layer", "head", "run", "said"),
    [
        (1, 3, "b5ae3fe3c8655227", "layer 1 head 2 of the run b5ae3fe3c8655227, so it says nothing of layer 1 head 3"),
        (0, 2, "b5ae3fe3c8655227", "says nothing of layer 0 head 2"),
        (1, 2, "ffff", "says nothing of a head of the run ffff"),
    ],
)
def test_another_head_or_run_is_told_whose_it_is(layer, head, run, said):
    with pytest.raises(ContrastError, match=said):
        made().subspace(run, layer, head)


def test_it_is_cut_at_a_rank_up_to_its_own():
    space = made()
    whole, cut = (space.subspace(space.run, 1, 2, rank) for rank in (None, 2))
    assert (whole.rank, cut.rank, cut.V.shape) == (3, 2, (8, 2))
    assert np.array_equal(whole.V[:, :2], cut.V)
    for rank in (0, 4):
        with pytest.raises(ContrastError, match=f"rank {rank} is outside 1…3"):
            space.subspace(space.run, 1, 2, rank)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "has not the fields"),
        ("{}", "has not the fields"),
        (spoilt(more=1), "has not the fields"),
        ("x" * (LONGEST + 1), "1,048,576 are possible"),
        (spoilt(layer="1"), "the layer .* is no whole number"),
        (spoilt(layer=True), "the layer .* is no whole number"),
        (spoilt(head=-1), "the head .* is outside"),
        (spoilt(d_head=10**9), "the d_head .* is outside"),
        ('{"run": ' + "9" * 10_000 + "}", "no JSON|has not the fields"),
        (spoilt(run="<b>"), "no digest"),
        (spoilt(run="a" * 65), "no digest"),
        (spoilt(rank=0), "the rank of a contrast's subspace, 0, is outside"),
        (spoilt(rank=9), "the rank of a contrast's subspace, 9, is outside 1…8"),
        (spoilt(rank=2), "U of a contrast's subspace has 96 bytes, 8 × 2 need 4 each"),
        (spoilt(U="é"), "U of a contrast's subspace is no base64"),
        (spoilt(V="!"), "V of a contrast's subspace is no base64"),
        (spoilt(V=packed(np.full((8, 3), np.nan))), "V .* has values that no direction has"),
        (spoilt(V=packed(np.full((8, 3), np.inf))), "V .* has values that no direction has"),
        (spoilt(U=packed(np.full((8, 3), 1e30))), "U .* has values that no direction has"),
        (spoilt(U=packed(np.ones((8, 3)))), "the columns of U .* are not orthonormal"),
        (spoilt(V=packed(np.zeros((8, 3)))), "the columns of V .* are not orthonormal"),
    ],
)
def test_a_text_that_is_no_subspace_is_one_line(text, said):
    with pytest.raises(ContrastError, match=said) as error:
        PLAIN.replace(space=text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200
