"""What a toy run stores: triplets that differ in one latent alone, contexts, and the head's vectors of both."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from ingest.toy.payload import Payload
from ingest.toy.sample import Draws, Sample
from ingest.toy.stack import initial

N = 500


def sample(variant="discrete", **sizes):
    task = Payload(variant, 8, **({"r1": 2, "r2": 3} | sizes))
    return Sample(task, initial(task), np.random.default_rng(0))


def beside(made: Sample) -> pl.DataFrame:
    """A row a key with the columns of its prompt's selector beside it."""
    prompts, tokens, _, _ = made.frames()
    queries = tokens.filter(pl.col("role") == "selector").select(
        "prompt_id", q_z1="z1", q_z2="z2", q_side="side", q_payload="payload"
    )
    return (
        tokens.filter(pl.col("role") == "payload")
        .join(queries, on="prompt_id")
        .join(prompts.drop("text"), on="prompt_id")
    )


@pytest.mark.parametrize("variant", ["discrete", "continuous"])
@pytest.mark.parametrize("factor", [1, 2])
def test_a_triplet_differs_in_one_latent(variant, factor):
    made = sample(variant)
    made.triplets(factor, N)
    keys, own, other = beside(made), f"z{factor}", f"z{3 - factor}"
    positive, negative = (keys.filter(pl.col("side") == side) for side in ("positive", "negative"))
    assert len(positive) == len(negative) == N
    assert (positive[own] == positive[f"q_{own}"]).all()
    assert (negative[own] != negative[f"q_{own}"]).all()
    assert (positive[other] == negative[other]).all()  # the other latent is held
    if variant == "discrete":  # at a random value: as often the query's as chance has it
        r = (made.task.r1, made.task.r2)[2 - factor]
        assert abs((positive[other] == positive[f"q_{other}"]).mean() - 2**-r) < 4 * 0.5 / np.sqrt(N)
    assert (positive["payload"] != negative["payload"]).any()
    assert set(keys["factor"]) == {own}
    assert set(keys["split"]) == {"train"}
    assert set(keys["variant"]) == {"triplet"}
    assert keys["q_side"].is_null().all()
    assert keys["q_payload"].is_null().all()


@pytest.mark.parametrize("variant", ["discrete", "continuous"])
def test_exact_triplets_share_payload_and_noise(variant):
    made, authors = sample(variant), sample(variant)
    made.triplets(1, N, exact=True)
    authors.triplets(1, N)
    keys = beside(made)
    assert (keys.filter(side="positive")["payload"] == keys.filter(side="negative")["payload"]).all()
    assert set(keys["variant"]) == {"exact"}
    out = np.linalg.svd(initial(made.task)["W_K"] @ made.maps["A1"])[0][
        :, made.task.r1 :
    ]  # what latent 1 never reaches
    difference = made.k[0][0::2] - made.k[0][1::2]
    assert np.abs(difference @ out).max() < 1e-5 * np.abs(difference).max()
    control = authors.k[0][0::2] - authors.k[0][1::2]
    assert np.abs(control @ out).max() > 0.1 * np.abs(control).max()


def test_the_other_value_is_uniform_over_the_others():
    draws = Draws(np.random.default_rng(0), "discrete", 2)
    sought = draws.draw(30_000)
    other = draws.other(sought)
    assert (other.code != sought.code).all()
    for code in ("--", "-+", "+-", "++"):
        counts = pl.Series(other.code[sought.code == code]).value_counts()["count"] / (sought.code == code).sum()
        assert len(counts) == 3
        assert (abs(counts - 1 / 3) < 0.03).all()


def test_equal_codes_are_equal_values():
    for variant in ("discrete", "continuous"):
        draws = Draws(np.random.default_rng(0), variant, 3)
        a, b = draws.draw(200), draws.draw(200)
        same = a.code[:, None] == b.code[None]
        assert np.array_equal(same, (a.value[:, None] == b.value[None]).all(-1))
        assert same.any() == (variant == "discrete")
        assert a[:5].value.shape == (5, 3)
        assert all(s == "".join("-+"[int(x > 0)] for x in v) for s, v in zip(a.signs, a.value))


@pytest.mark.parametrize("variant", ["discrete", "continuous"])
def test_a_context_has_one_sought_token(variant):
    made = sample(variant)
    made.contexts(N)
    keys = beside(made)
    positive = keys.filter(side="positive")
    assert len(keys) == 16 * N
    assert len(positive) == N
    assert positive["prompt_id"].n_unique() == N
    assert (positive["z1"] == positive["q_z1"]).all()
    assert (positive["z2"] == positive["q_z2"]).all()
    assert (positive["payload"].cast(pl.String) == positive["answer"]).all()
    assert positive["pos"].n_unique() == 16
    assert set(keys["split"]) == {"test"}
    assert keys["factor"].is_null().all()
    chance = (keys.filter(side="negative").select((pl.col("z1") == pl.col("q_z1")).mean())).item()
    assert chance == pytest.approx(0.25 if variant == "discrete" else 0, abs=0.03)


def test_vectors_are_the_heads_and_log_sum_exps_are_of_all_keys():
    made = sample()
    made.triplets(1, 20)
    made.contexts(30)
    task, W, m = made.task, initial(made.task), made.maps
    tokens = made.frames()[1]
    signs = {
        name: np.array([[1.0 if c == "+" else -1 for c in code] for code in tokens[name]]) for name in ("z1", "z2")
    }
    selector = (tokens["role"] == "selector").to_numpy()
    y = np.eye(10)[tokens["payload"].fill_null(0).to_numpy()] * ~selector[:, None]
    x = np.where(
        selector[:, None],
        signs["z1"] @ m["B1"].T + signs["z2"] @ m["B2"].T,
        signs["z1"] @ m["A1"].T + signs["z2"] @ m["A2"].T + y @ m["A_y"].T,
    )
    q, k = np.concatenate(made.q), np.concatenate(made.k)
    assert np.abs(q - x[selector] @ W["W_Q"].T).max() < 0.1  # noise of 0.01 in 32 dimensions
    assert np.abs(k - x[~selector] @ W["W_K"].T).max() < 0.1
    assert np.abs(k - x[~selector][::-1] @ W["W_K"].T).max() > 0.5
    lse = np.concatenate(made.logsumexp)
    assert lse[0] == pytest.approx(np.log(np.exp(k[:2] @ q[0] / np.sqrt(task.d_head)).sum()), abs=1e-5)
    assert lse[20] == pytest.approx(np.log(np.exp(k[40:56] @ q[20] / np.sqrt(task.d_head)).sum()), abs=1e-5)


@pytest.mark.parametrize("variant", ["discrete", "continuous"])
def test_tokens_lie_in_their_prompts_text(variant):
    made = sample(variant)
    made.triplets(1, 4)
    made.contexts(3)
    prompts, tokens, query_rows, key_rows = made.frames()
    texts = dict(zip(prompts["prompt_id"], prompts["text"]))
    assert all(texts[t["prompt_id"]][t["char_start"] : t["char_end"]] == t["text"] for t in tokens.to_dicts())
    assert prompts["prompt_id"].to_list() == list(range(7))
    assert query_rows["query_row"].to_list() == list(range(7))
    assert len(key_rows) == 4 * 2 + 3 * 16 == len(np.concatenate(made.k))
    assert (query_rows["pos"] == pl.Series([2] * 4 + [16] * 3)).all()
