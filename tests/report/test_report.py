"""The report: every figure of the paper's language-model part is there.

Its numbers are the library's, and each has n and an interval.
"""

from __future__ import annotations

import re

import lived
import numpy as np
import pytest
import torch
from documents import Page, claim, sections

import qkstore
from ingest import paper
from qkstore import __main__ as cli
from qkstore import analysis
from qkstore.analysis.evidence import evidence, growth
from qkstore.report import render
from qkstore.report.document import Figure, Table
from qkstore.report.report import report
from qkstore.report.study import Study
from qkstore.report.swaps import after
from qkstore.text import estimate, head_name, sized

torch.set_num_threads(1)
LISTS, BOXES = "small-lists", "small-boxes-ent"
ABSENT = "section is absent"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A tenth of the paper's prompts through the demo model, with a live result of the boxes."""
    path = tmp_path_factory.mktemp("report") / "store"
    paper.build(path, "demo", paper.parts("demo", "small", ["ent"], scale=0.1))
    made = qkstore.open(path)
    lived.keep(made, BOXES)
    return made


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def document(store, told):
    return report(store, [BOXES, LISTS, LISTS], lambda *what: told.append(what))


@pytest.fixture(scope="module")
def written(document, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    render.write(document, folder / "report.html", folder / "docs")
    return folder


# -- what is there -----------------------------------------------------------------------------------------------


def test_every_figure_of_the_language_model_part_has_its_counterpart(document):
    beside = " ".join(f.of for f in document.figures)
    assert [
        n for n in ("6a", "6b", "7", "8", "9", "10", "16", "17", "18", "19", "20") if not re.search(rf"\b{n}\b", beside)
    ] == []
    assert [c.name for c in document.chapters] == [LISTS, BOXES], (
        "lists come first, and a run that is named twice is there once"
    )
    parts = {name.removeprefix(f"{BOXES}-").removeprefix(f"{LISTS}-") for name in sections(document)}
    assert parts == {
        "heads",
        "ranks",
        "pictures",
        "swaps",
        "live",
        "queried",
        "dosed",
        "varied",
        "leak",
        "growth",
        "attribution",
        "components",
    }


def test_no_section_is_absent_where_the_runs_have_everything(document):
    texts = [p for s in sections(document).values() for p in s.parts if isinstance(p, str)]
    assert [t for t in texts if ABSENT in t] == []
    names = [f.name for f in document.figures]
    assert len(set(names)) == len(names) > 30
    methods = {n.rsplit("-", 2)[1:] and tuple(n.rsplit("-", 2)[1:]) for n in names if f"{BOXES}-pictures" in n}
    assert methods == {(f, m) for f in ("order", "lexical") for m in ("pca", "umap", "raw")}


def test_umap_has_left_torch_one_thread(document):
    """More would wait for each other in a loop in whatever this process trains next (conftest.py)."""
    assert torch.get_num_threads() == 1


def test_every_claim_of_the_programme_is_in_the_closing_table(document):
    kinds = {
        word
        for c in document.claims
        for word in re.findall(r"^(L\d+|Leak|Answers|Query-side|Closed form|Components)", c.claim)
    }
    numbered = {f"L{number}" for number in range(1, 12)}
    assert kinds == numbered | {"Leak", "Answers", "Query-side", "Closed form", "Components"}
    assert {c.claim for c in document.claims if c.claim.startswith("Leak")} == {
        "Leak: order",
        "Leak: order-centred",
        "Leak: order-elsewhere",
    }


def test_the_head_of_a_chapter_names_model_run_prompts_splits_query_and_dtype(document):
    facts = document.chapters[1].facts
    assert facts["model"].startswith("demo")
    assert "float32" in facts["vectors"]
    assert facts["query token"] == "box"
    assert "train base 300" in facts["prompts"]
    assert "test reflexive 100" in facts["prompts"]
    assert facts["built on, judged on"] == "train, test"


def test_progress_goes_through_every_section(document, told):
    assert [done for done, _, _ in told] == list(range(21))
    assert {total for _, total, _ in told} == {21}


# -- n and intervals ---------------------------------------------------------------------------------------------


INTERVAL = re.compile(r"\[−?[\d.,]+,\s−?[\d.,]+\]")


def test_every_figure_says_how_many_and_how_sure(document):
    for figure in document.figures:
        if "one" in figure.name.split("-"):
            assert "without an interval" in figure.sentence
        else:
            assert INTERVAL.search(figure.sentence), figure
        assert re.search(r"\bn = [\d,]+|[\d,]+ (queries|keys|stored keys)", figure.sentence), figure
        assert figure.title
        assert figure.alt.startswith(figure.title)


def test_every_claim_has_its_n_and_all_but_differences_and_ranges_an_interval(document):
    for c in document.claims:
        assert re.search(r"\d", c.n)
        assert c.paper
        assert c.authors
        if not c.claim.startswith(("Closed form", "L4 sum")):
            assert INTERVAL.search(c.measured), c


def test_a_value_lies_within_its_interval(document):
    text = " ".join([c.measured for c in document.claims] + [f.sentence for f in document.figures])
    told = re.findall(r"(−?[\d.,]+) \[(−?[\d.,]+),\s(−?[\d.,]+)\]", text)
    number = [[float(v.replace("−", "-").replace(",", "")) for v in row] for row in told]
    assert len(number) > 200
    assert all(low <= value <= high for value, low, high in number)


# -- whose numbers -----------------------------------------------------------------------------------------------


def test_swaps_are_those_of_the_library(store, document):
    study = Study(store, store.run(BOXES))
    conditions = {
        c.name: c for c in analysis.intervene(study.run, study.features, study.best.layer, study.best.head).conditions
    }
    for name in ("order", "lexical", "order+lexical"):
        c = conditions[name]
        assert (
            f"target {estimate(c.target_before, c.ci['target_before'])} → {after(c)}, rank {c.rank}"
            in claim(document, f"L9 swap: {name}", BOXES).measured
        )
    lists = Study(store, store.run(LISTS))
    one = analysis.intervene(
        lists.run, {"category:*": lists.named["category:*"]}, lists.best.layer, lists.best.head
    ).conditions[0]
    assert after(one) in claim(document, "L4 category swap: all 13", LISTS).measured


def test_ranks_norms_and_gaps_are_those_of_the_library(store, document):
    study = Study(store, store.run(BOXES))
    for name in ("order", "order-centred", "order-elsewhere"):
        e = evidence(study.run, study.one(name), study.best.layer, study.best.head)
        fitted = analysis.covariance(study.run, study.one(name), study.best.layer, study.best.head)
        assert e.moments.norm.value == pytest.approx(np.linalg.norm(fitted.delta))
        assert e.rank.energy == fitted.subspace.rank == e.moments.rank.value
        said = claim(document, f"Leak: {name}", BOXES).measured
        assert sized(e.moments.norm.value, e.moments.norm.interval) in said
        assert estimate(*e.gap, 2) in said


def test_the_leak_is_reproduced_and_both_remedies_remove_it(store):
    """In `ent` prompts the model has no order mechanism: what the raw contrast has is the entity's."""
    study = Study(store, store.run(BOXES))
    raw, centred, elsewhere = (
        study.evidence(name, study.best) for name in ("order", "order-centred", "order-elsewhere")
    )
    assert raw.gap[1][0] > 3
    assert raw.strength == pytest.approx(centred.strength, rel=1e-3), "the null is of centred queries: no leak in it"
    assert raw.strength < 2
    for e in (centred, elsewhere):
        assert abs(e.gap[0]) < 0.15 * raw.gap[0]
        assert e.moments.norm.value < 0.2 * raw.moments.norm.value


def test_shares_and_growth_are_those_of_the_library(store, document):
    study = Study(store, store.run(BOXES))
    shares = analysis.shares(
        study.run, study.features, study.best.layer, study.best.head, over=study.one("order")
    ).shares.share
    said = claim(document, "L11 share of the logit gap that each feature explains", BOXES).measured
    assert all(f"{name} {value:.3f}".replace("-", "−") in said for name, value in shares.items())
    table = growth(study.run, study.one("lexical"), study.best.layer, study.best.head, by="queried_entity").table
    (figure,) = [f for f in document.figures if f.name == f"{BOXES}-growth-all"]
    assert f"{table['rank'][-1]} [" in figure.sentence
    assert f"from all {table['values'].max()}" in figure.sentence


def test_the_live_result_stands_beside_the_closed_form(document):
    parts = sections(document)[f"{BOXES}-live"].parts
    (figure,) = [p for p in parts if isinstance(p, Figure)]
    assert "differ by 2e-07 at most" in figure.sentence
    (table,) = [p for p in parts if isinstance(p, Table)]
    assert len(table.rows) == 6
    assert all(row["closed form, head alone"] == row["running model"] for row in table.rows)
    assert "keeps no live result" in sections(document)[f"{LISTS}-live"].parts[0]


def test_variants_are_in_one_table_a_kind_of_run(document):
    for run, definitions in ((BOXES, {"text", "scripts"}), (LISTS, {"text: mean", "scripts: sum"})):
        (table,) = [p for p in sections(document)[f"{run}-varied"].parts if isinstance(p, Table)]
        assert {row["definition"] for row in table.rows} == definitions
        assert all(
            row["overlap with the text's"].startswith("1.000")
            for row in table.rows
            if row["definition"].startswith("text")
        )


def test_every_selected_head_is_in_tables_and_figures(store, document):
    for run in (LISTS, BOXES):
        names = {head_name(s.layer, s.head) for s in Study(store, store.run(run)).heads}
        (table,) = [p for p in sections(document)[f"{run}-heads"].parts if isinstance(p, Table)]
        assert {row["head"] for row in table.rows} == names
        assert {
            f.title.removeprefix("Swaps at ") for f in document.figures if f.name.startswith(f"{run}-swaps")
        } == names


# -- as files ----------------------------------------------------------------------------------------------------


def test_the_page_is_one_file_that_fetches_nothing_and_runs_nothing(written, document):
    text = (written / "report.html").read_text()
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert not re.search(r"@import|url\((?!#)", text)
    assert set(re.findall(r"https?://[^\"\s<]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert len(text) < 6e6
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.pictures) == len(document.figures) == page.tags.count("figcaption")
    assert all((p.get("alt") or p.get("aria-label")) for p in page.pictures)


def test_every_link_of_the_markdown_leads_to_a_file_and_tables_are_whole(written, document):
    text = (written / "docs/report.md").read_text()
    links = re.findall(r"!\[.*?\]\(([^)]+)\)", text)
    assert sorted(links) == sorted(p.name for p in (written / "docs").iterdir() if p.name != "report.md")
    assert len(links) == len(document.figures)
    assert all((written / "docs" / link).stat().st_size > 1000 for link in links)
    widths = [
        [len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()]
        for block in text.split("\n\n")
        if block.startswith("|")
    ]
    assert len(widths) > 8
    assert all(len(set(w)) == 1 for w in widths)


def test_the_command_writes_and_says_what(store, tmp_path, capsys, monkeypatch, document):
    monkeypatch.setattr("qkstore.report.report.report", lambda *_: document)
    monkeypatch.setattr("qkstore.report.render.pictures", lambda *_: {f.name: b"<svg></svg>" for f in document.figures})
    out = ["--out", str(tmp_path / "r.html"), "--markdown", str(tmp_path / "md")]
    assert cli.main(["report", "--store", str(store.path), "--run", BOXES, LISTS, *out]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        str(tmp_path / "r.html"),
        str(tmp_path / "md/report.md"),
    ]
