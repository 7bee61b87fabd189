"""A study: which runs a report can be of, which heads it shows, and what it says where a run cannot fill a section."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import stores
import synthetic

import qkstore
from qkstore import analysis
from qkstore.analysis.choice import Choice
from qkstore.interval import wilson
from qkstore.report import attribution, heads, ranks, swaps
from qkstore.report import report as whole
from qkstore.report.document import Figure, Table
from qkstore.report.study import MOST_HEADS, Study
from qkstore.text import SPACE, estimate, number

ABSENT = "section is absent"


def sections(document) -> dict:
    return {s.name: s for c in document.chapters for s in c.sections}


# -- what is absent, and why ---------------------------------------------------------------------------------------


# -- which heads -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    stores.write(path, "boxes", stores.boxes(n=320))
    stores.write(path, "lists", stores.lists(n=320))
    return qkstore.open(path)


@pytest.fixture(scope="module")
def boxes(store) -> Study:
    return Study(store, store.run("boxes"))


@pytest.fixture(scope="module")
def lists(store) -> Study:
    return Study(store, store.run("lists"))


def scored(study: Study, accuracies) -> Study:
    """The same with one head an accuracy, each chosen on train."""
    made = Study(study.store, study.run)
    made.scores = [
        dataclasses.replace(study.scores[0], layer=0, head=i, choice=Choice(a, 0.11, 1e-9, n=100), accuracy=a)
        for i, a in enumerate(accuracies)
    ]
    return made


def test_at_most_twelve_selected_heads_are_shown_and_the_text_says_of_how_many(boxes):
    many = scored(boxes, np.linspace(0.31, 0.99, 20))
    assert len(many.selected) == 20
    assert len(many.heads) == MOST_HEADS == 12
    assert many.best.head == 19
    assert " Of 20 selected heads the first 12 are shown." in heads.heads(many).parts[0]
    few = scored(boxes, (0.5, 0.4, 0.2))
    assert [s.head for s in few.heads] == [0, 1]
    assert "are shown" not in heads.heads(few).parts[0]


def test_without_a_selected_head_the_best_is_shown_all_the_same(boxes):
    none = scored(boxes, (0.1, 0.2, 0.15))
    assert none.selected == []
    assert [s.head for s in none.heads] == [1]
    section = heads.heads(none)
    assert "No head of 3 is selected" in section.parts[0]
    assert section.claims[0].measured.startswith("no head of 3 is selected; the best on the train split, ")


def test_kinds_and_rules_are_those_of_the_run(boxes, lists):
    assert (boxes.kind, boxes.contrast.name, set(boxes.features)) == ("boxes", "order", {"order", "lexical"})
    assert (lists.kind, lists.contrast.name, set(lists.features)) == ("lists", "category", {"3 categories"})
    assert (lists.best.layer, lists.best.head) == (1, 1), "the planted head"
    assert len(lists.heads) == 1, "of at most three, those that chance does not give"
    assert (boxes.best.layer, boxes.built, boxes.judged) == (1, "train", "test")


def test_the_five_categories_are_the_papers_first_then_the_others_by_name(lists):
    made = Study(lists.store, lists.run)
    made.categories = dict.fromkeys(("ant", "bee", "Countries", "drinks", "animals", "cat"), "c")
    assert list(made.five) == ["animals", "drinks", "Countries", "ant", "bee"]
    few = Study(lists.store, lists.run)
    few.categories = dict.fromkeys(("ant", "bee"), "c")
    assert list(few.five) == ["ant", "bee"]


def test_results_are_computed_once(boxes, monkeypatch):
    first, variants = boxes.evidence("order", boxes.best), boxes.variants(boxes.best)
    monkeypatch.setattr("qkstore.report.study.evidence", lambda *_: pytest.fail("again"))
    monkeypatch.setattr("qkstore.report.study.variants", lambda *_: pytest.fail("again"))
    assert boxes.evidence("order", boxes.best) is first
    assert boxes.variants(boxes.best) is variants
    with pytest.raises(pytest.fail.Exception):  # the control: another contrast is another result
        boxes.evidence("order-centred", boxes.best)


def test_a_run_without_variants_has_none(boxes):
    made = Study(boxes.store, boxes.run)
    made.named = {name: contrasts for name, contrasts in boxes.named.items() if not name.startswith("authors/")}
    assert made.variants(made.best) == []


# -- sections' numbers, from the vectors that were written -----------------------------------------------------------


def figures(section) -> dict[str, Figure]:
    return {p.name.split("-", 1)[1]: p for p in section.parts if isinstance(p, Figure)}


def drawn(figure: Figure) -> list[dict]:
    """The largest table of a chart's spec."""
    return max(figure.chart.to_dict()["datasets"].values(), key=len)


def judged(n: int = 320):
    """The boxes as written: (rows of base prompts of the test split, their places, arrays)."""
    data = stores.boxes(n=n)
    rows = np.array([r for r in range(3 * n // 4, n) if r % 2 == 0])
    return data, rows, data.prompts["queried_order"].to_numpy()[rows] - 1


def by_hand(at) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits (n, boxes), log-sum-exp (n,), and places of the judged queries of a head."""
    data, rows, place = judged()
    k = data.k[at[0], at[1] // 2].reshape(-1, synthetic.BOXES, synthetic.D)[rows].astype(float)
    logit = np.einsum("nd,nbd->nb", data.q[at[0], at[1], rows].astype(float), k) * synthetic.SCALING
    return logit, data.logsumexp[at[0], at[1], rows], place


def test_the_heads_figure_and_table_are_those_of_a_loop(boxes):
    section = heads.heads(boxes)
    (table,) = [p for p in section.parts if isinstance(p, Table)]
    points = {p["name"]: p for p in drawn(figures(section)["heads-intervals"])}
    assert len(points) == 8
    assert len(table.rows) == len(boxes.heads)
    for row, s in zip(table.rows, boxes.heads, strict=True):
        logit, _, place = by_hand((s.layer, s.head))
        share = float(np.mean(logit.argmax(axis=1) == place))
        assert row["n"] == str(len(place)) == "40"
        assert row["accuracy"].startswith(f"{number(share)} [")
        p = points[row["head"]]
        assert p["value"] == pytest.approx(share)
        assert p["low"] <= share <= p["high"]
        assert p["group"] == "selected"
    n = len(boxes.selected)
    assert section.claims[0].measured.startswith(f"{n} of 8 heads, {estimate(n / 8, wilson(n, 8))}; the best, ")
    assert {p["group"] for p in points.values()} == {"selected", "not selected"}
    assert len(drawn(figures(section)["heads-map"])) == 8


def test_the_swap_figures_befores_are_the_attention_that_was_stored(boxes):
    section = swaps.swaps(boxes)
    for s in boxes.heads:
        logit, whole_row, place = by_hand((s.layer, s.head))
        before = np.exp(logit[np.arange(len(place)), place] - whole_row).mean()
        figure = figures(section)[f"swaps-L{s.layer}H{s.head}"]
        assert f"Before: original {number(before)} [" in figure.sentence
        assert "n = 40 queries of the test split" in figure.sentence
    assert len(section.claims) == 3
    assert all(c.n == "40 queries" for c in section.claims)


def test_the_gap_that_is_shared_out_is_that_of_the_logits(boxes):
    section = attribution.attributions(boxes)
    logit, _, place = by_hand((boxes.best.layer, boxes.best.head))
    sought = np.arange(synthetic.BOXES) == place[:, None]
    gap = logit[sought] - (logit * ~sought).sum(axis=1) / (synthetic.BOXES - 1)
    figure = figures(section)["attribution-many"]
    assert f"mean gap of {gap.mean():.3g}:" in figure.sentence
    assert "n = 40 queries" in figure.sentence
    (rows,) = [d for d in figure.chart.to_dict()["datasets"].values() if len(d) > 1]
    (whole_gap,) = [r for r in rows if r["part"] == "whole gap"]
    quantiles = [whole_gap[q] for q in ("low", "q1", "median", "q3", "high")]
    assert quantiles == pytest.approx(list(np.quantile(gap, (0.05, 0.25, 0.5, 0.75, 0.95))), rel=1e-5)
    assert whole_gap["mean"] == pytest.approx(gap.mean(), rel=1e-5)
    assert sum(r["mean"] for r in rows if r is not whole_gap) == pytest.approx(gap.mean(), rel=1e-5), (
        "parts sum to the gap"
    )
    (table,) = [p for p in section.parts if isinstance(p, Table)]
    assert {row["projected"] for row in table.rows} == {
        "lexical → order",
        "order → lexical",
        "random of the same ranks",
    }


def test_ranks_of_binding_have_a_row_a_head_and_contrast_with_n(boxes):
    section = ranks.binding_ranks(boxes)
    (table,) = [p for p in section.parts if isinstance(p, Table)]
    assert len(table.rows) == len(boxes.heads) * len([n for n in ranks.RANKED if n in boxes.named])
    n_fixed = boxes.run.table(
        "SELECT count(*) AS n FROM prompt WHERE variant = 'fixed' AND split = 'train'"
    ).to_pylist()[0]["n"]
    assert {row["queries"] for row in table.rows if row["contrast"] == "order"} == {f"{n_fixed:,}"}
    points = drawn(figures(section)["ranks-best"])
    assert {p["group"] for p in points} == {"99 % of ‖ΔC‖²", "statistical", "cross-validated"}
    rank = analysis.covariance(boxes.run, boxes.one("order"), boxes.best.layer, boxes.best.head).subspace.rank
    assert [p["value"] for p in points if p["name"] == "order" and p["group"].startswith("99")] == [rank]


def test_too_few_queries_are_told_in_place_of_a_figure(boxes):
    made = Study(boxes.store, boxes.run)
    few = boxes.one("order").replace(where=f"({boxes.one('order').where}) and (q.split = 'test' or q.prompt_id < 24)")
    made.named, made.scores = boxes.named | {"order": (few,)}, boxes.scores
    section = ranks.binding_ranks(made)
    rows = [row for p in section.parts if isinstance(p, Table) for row in p.rows if row["contrast"] == "order"]
    assert {(row["statistical"], row["cross-validated"], row["queries"]) for row in rows} == {("–", "–", "6")}
    few = f"too few (n{SPACE}={SPACE}6)"
    assert {(row["rank, 99 %"], row["logit gap"]) for row in rows} == {(few, few)}
    assert "order" not in {p["name"] for p in drawn(figures(section)["ranks-best"])}
    assert section.claims[0].measured == few, "not 'rank 1 [1, 1]'"


def test_too_few_swaps_are_told_in_place_of_figures(boxes):
    made = Study(boxes.store, boxes.run)
    named = {
        name: (
            boxes.one(name).replace(where=f"({boxes.one(name).where}) and (q.split = 'train' or q.prompt_id < 250)"),
        )
        for name in ("order", "lexical")
    }
    made.named, made.scores = boxes.named | named, boxes.scores
    for planned in (p for p in whole.SECTIONS["boxes"] if p.name in ("swaps", "leak", "queried", "dosed")):
        section = whole._section(made, planned)
        assert "section is absent: too few swaps (n = " in section.parts[0], planned.name
        assert section.claims == ()


def test_ranks_of_categories_have_a_row_each_with_their_queries(lists):
    section = ranks.category_ranks(lists)
    (table,) = [p for p in section.parts if isinstance(p, Table)]
    asked = lists.run.table(
        "SELECT queried_category AS c, count(*) AS n FROM prompt WHERE split = 'train' GROUP BY 1"
    ).to_pylist()
    assert {row["category"]: row["queries"] for row in table.rows} == {r["c"]: str(r["n"]) for r in asked}
    points = drawn(figures(section)["ranks-share"])
    assert {p["name"] for p in points} == {r["c"] for r in asked}
    assert all(p["low"] <= p["value"] <= p["high"] for p in points)
    shares = {name: lists.evidence(c.name, lists.best).moments.mean_query for name, c in lists.categories.items()}
    assert all(
        f"{estimate(s.value, s.interval, 5)}" in [row["mean query explains"] for row in table.rows]
        for s in shares.values()
    )
    assert len(section.claims) == len(lists.heads)
    assert all(c.n.startswith("3 of 3 categories, ") for c in section.claims)


def test_facts_count_prompts_by_split_and_variant(boxes):
    facts = whole.facts(boxes)
    assert facts["prompts"].startswith("320: ")
    assert "train fixed 60" in facts["prompts"]
    assert "test base 40" in facts["prompts"]
    assert "320 queries and 1,280 keys a head" in facts["vectors"]
    assert facts["built on, judged on"] == "train, test"


def test_without_a_live_result_the_command_that_makes_one_is_named(boxes):
    (said,) = swaps.lived(boxes).parts
    assert "keeps no live result" in said
    assert "python -m ingest intervene" in said
    assert swaps.lived(boxes).claims == ()
