"""The section on components: its numbers are the study's, and a head that has nothing to choose is one line."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import stores
import synthetic
from documents import sections

import qkstore
from qkstore.analysis import decomposition
from qkstore.analysis.decomposition.claim import called
from qkstore.report.components import OPEN, READ, components
from qkstore.report.document import Figure, Section, Table
from qkstore.report.report import report
from qkstore.report.study import Study
from qkstore.text import estimate, head_name, number, percent


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("components")
    stores.write(path, "boxes", stores.boxes(n=600))
    synthetic.write(path, "constant", constant())
    synthetic.write(path, "copies", stores.said_before(30))
    return qkstore.open(path)


def constant() -> synthetic.Synthetic:
    """Boxes whose heads all ask the same of every prompt."""
    data = stores.boxes(n=320)
    data.q[:] = data.q[:, :, :1]
    keys = np.repeat(data.k, 2, axis=1).reshape(2, 4, 320, synthetic.BOXES, synthetic.D)
    logits = np.einsum("lhnd,lhnbd->lhnb", data.q, keys) * synthetic.SCALING
    data.logsumexp = np.logaddexp(np.log(np.exp(logits).sum(-1)), 0.0).astype(np.float32)
    return data


def made(store, run: str, *at: tuple[int, int]) -> Study:
    """A study that shows these heads."""
    of, scored = Study(store, store.run(run)), Study(store, store.run("boxes")).scores[0]
    of.heads = [dataclasses.replace(scored, layer=layer, head=head) for layer, head in at]
    return of


@pytest.fixture(scope="module")
def section(store) -> Section:
    return components(made(store, "boxes", (1, 2), (1, 0)))


@pytest.fixture(scope="module")
def entity(store) -> decomposition.Study:
    """What the library says of the first head, which reads the entity."""
    return decomposition.study(store.run("boxes"), 1, 2)


def parts(section: Section, kind: type) -> list:
    return [part for part in section.parts if isinstance(part, kind)]


def test_the_elbow_is_that_of_the_study(section, entity):
    assert [f.name for f in parts(section, Figure)] == [
        "boxes-components-L1H2",
        "boxes-components-L1H0",
        "boxes-components-swaps",
    ]
    elbow, told = parts(section, Figure)[0], entity.number
    assert elbow.sentence.startswith(f"{estimate(told['value'], told['interval'], 0)} components have a held-out")
    assert f"red; {number(told['chance'], 2)} in 95 % of 99 times" in elbow.sentence
    assert f"{told['clear']} are above chance" in elbow.sentence
    assert f"n = {told['n']} queries of the train split" in elbow.sentence
    data = max(elbow.chart.to_dict()["datasets"].values(), key=len)
    assert [row["rho"] for row in data] == told["held"]
    assert sum(row["kind"] == "counts" for row in data) == told["value"] > 1


def test_the_table_has_the_rows_of_the_study_in_their_order(section, entity):
    table = parts(section, Table)[0]
    assert [row["component"] for row in table.rows] == [str(row["component"]) for row in entity.rows]
    for shown, row in zip(table.rows, entity.rows, strict=True):
        assert shown["name"] == called(row)
        assert shown["ρ"] == estimate(row["rho"], row["rho_ci"], 2)
        assert shown["of the gap"] == percent(row["share"], 1)
        assert (shown["best label"], shown["explained"]) == (row["label"], percent(row["explained"]))
        assert shown["swap, logits"] == estimate(row["gap"], row["gap_ci"], 2)
        assert shown["swap, attention"] == estimate(row["moved"], row["moved_ci"])
        claim = entity.claims[row["component"]]
        assert shown["clear"] == ("yes" if claim.clear else f"no: {claim.why}")


def test_swaps_of_all_of_all_else_and_of_random_dimensions_are_those_of_the_study(section, entity):
    rows = parts(section, Table)[-1].rows
    at = [(head_name(1, h), name) for h in (2, 0) for name in ("all", "all others")]
    assert [(row["head"], row["swap"]) for row in rows] == at
    for row, name in zip(rows, ("all", "all others"), strict=False):
        c = entity.condition(name)
        by_chance = entity.condition(f"random {c['rank']}")
        assert row["dimensions"] == str(c["rank"])
        assert row["target"].endswith(f"→ {estimate(c['target_after'], c['ci']['target_after'])}")
        assert row["original"].startswith(estimate(c["original_before"], c["ci"]["original_before"]))
        assert row["target, random dimensions"].startswith(number(by_chance["target_after"]))
        assert row["beyond random"] == estimate(c["beyond"]["gap_gain"][0], c["beyond"]["gap_gain"][1:], 2)
        assert row["n"] == str(c["n"])


def test_claims_are_of_the_best_head_and_what_must_be_read_together_stands_first(section, entity):
    assert section.parts[0] == READ
    count, *swapped = section.claims
    assert {c.where for c in section.claims} == {f"boxes, {head_name(1, 2)}"}
    assert {c.paper for c in section.claims} == {OPEN}
    value, unnamed = entity.number["value"], len(entity.unnamed)
    clear = sum(claim.clear for claim in entity.claims.values())
    told = f"{estimate(value, entity.number['interval'], 0)} components, {unnamed} without a name, {clear} clear"
    assert count.measured.startswith(told)
    assert [c.claim.rpartition("swap of ")[2] for c in swapped] == ["all", "all others"]


def test_a_component_without_a_name_stands_first(store, entity):
    data = stores.boxes(n=600)
    order = np.random.default_rng(0).permutation(600)
    data.prompts = data.prompts.with_columns(*(data.prompts[c].gather(order) for c in ("queried_entity", "answer")))
    synthetic.write(store.path, "dealt", data)
    table = parts(components(made(qkstore.open(store.path), "dealt", (1, 2))), Table)[0]
    named = [not row["name"].startswith(decomposition.UNNAMED) for row in table.rows]
    assert named == sorted(named)
    assert not named[0]
    assert decomposition.UNNAMED not in [row["name"] for row in entity.rows], "control: the labels as they are"


def test_heads_without_a_choice_are_one_line_each_and_a_run_of_such_heads_is_one(store):
    document = report(store, ["constant"])
    (line,) = sections(document)["constant-components"].parts
    why = "queries of this head are all the same, so they choose nothing"
    assert line.startswith("This section is absent: layer ")
    assert line.endswith(f"{why}.")
    assert not [c for c in document.claims if c.claim.startswith("Components")]
    of = made(store, "boxes", (1, 2), (0, 1))
    given = of.components

    def components_of(head):
        return given(head) if head.layer else made(store, "constant", (0, 1)).components(head)

    of.components = components_of
    some = components(of)
    assert [p for p in parts(some, str) if why in p] == [f"No components: layer 0 head 1: {why}."]
    assert [f.name for f in parts(some, Figure)] == ["boxes-components-L1H2", "boxes-components-swaps"]


def test_a_head_of_no_component_has_its_elbow_and_no_swap(store):
    none = components(made(store, "boxes", (0, 0)))
    (elbow,) = parts(none, Figure)
    assert elbow.sentence.startswith("0 [0,")
    assert parts(none, Table) == []
    assert [c.claim for c in none.claims] == ["Components without labels"]


def test_texts_of_both_splits_are_told_once(store):
    told = parts(components(made(store, "copies", (1, 0), (1, 2))), str)
    assert sum("30 of 75 prompts of the test split have the text" in p for p in told) == 1


def test_what_is_found_is_kept_in_the_catalogue(store, section):
    kept = store.catalog.results("components", "boxes")
    assert {(1, 2), (1, 0)} <= {(row["payload"]["layer"], row["payload"]["head"]) for row in kept}
