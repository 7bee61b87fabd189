"""Every choice that a page has in its address.

It is what is shown, a wrong one is told, and toy runs have every page too.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import stores
import toys
from streamlit.testing.v1 import AppTest

import qkstore
from dashboard import results, shell
from qkstore import analysis, toy
from qkstore.analysis import heads, swaps
from qkstore.analysis.heads import heads as heads_heads
from qkstore.toy import points as toy_points

PAGES = [name for names in shell.GROUPS.values() for name in names]
TOY = "toy-{}-d8-{}-{}-short"


BARE = ("notes", "components")  # this store has no note, and its toy runs no context in their train split


@pytest.fixture(scope="module")
def boxes(tmp_path_factory) -> Path:
    return stores.write(tmp_path_factory.mktemp("boxes") / "store", n=300)


@pytest.fixture(scope="module")
def only(tmp_path_factory) -> Path:
    """Toy runs and nothing else: two seeds of one discrete head, and one continuous."""
    path = toys.write(tmp_path_factory.mktemp("only") / "store", ranks=((2, 3),))
    return toys.write(path, ("discrete",), ranks=((2, 3),), seed=1)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, only) -> Path:
    """The same beside a run of boxes and one of lists."""
    path = tmp_path_factory.mktemp("mixed") / "store"
    stores.write(path)
    stores.write_lists(path)
    for file in (only / "runs").glob("*.duckdb"):
        (path / "runs" / file.name).symlink_to(file)
    return path


@pytest.fixture(autouse=True)
def forgotten():
    results._ranks().clear()


def html(app: AppTest) -> str:
    return "\n".join(e.proto.body for e in app.get("html"))


def charts(app: AppTest) -> int:
    """How many pictures a page has, those of its own components among them."""
    drawn = [c for c in app.get("bidi_component") if c.proto.component_name in ("space", "layer_heads")]
    return len(drawn) + len(app.get("vega_lite_chart")) + len(app.get("arrow_vega_lite_chart"))


def conditions(app: AppTest) -> pl.DataFrame:
    """The table of swaps: a row a condition."""
    return next(table.value for table in app.dataframe if {"name", "delta_p"} <= set(table.value.columns))


def well(app: AppTest) -> AppTest:
    assert not app.exception, [e.value for e in [*app.error, *app.warning]]
    assert not app.error, [e.value for e in [*app.error, *app.warning]]
    assert not app.warning, [e.value for e in [*app.error, *app.warning]]
    return app


def told(app: AppTest, *said: str) -> None:
    """One warning a wrong choice, in one line, and the page is there all the same."""
    assert len(app.warning) == len(said)
    assert not app.exception
    assert not app.error
    assert app.metric
    for text in said:
        assert any(text in w.value.replace("\\", "") and "\n" not in w.value for w in app.warning), [
            w.value for w in app.warning
        ]


# -- interventions -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swapped(boxes):
    store = qkstore.open(boxes)
    run = store.run("boxes")
    features = {name: store.feature(run, name) for name in ("order", "lexical")}
    return {
        side: of(run, features, 1, 0)
        for side, of in (("keys", analysis.intervene), ("queries", swaps.intervene_queries))
    }


@pytest.mark.parametrize("side", ["keys", "queries"])
def test_the_side_in_the_address_is_what_is_swapped(show, boxes, swapped, side):
    app = well(show(boxes, "interventions", contrast="order", layer=1, head=0, side=side, **{"and": "lexical"}))
    found = swapped[side].conditions
    rows = conditions(app)
    assert dict(zip(rows["name"], rows["delta_p"])) == pytest.approx({c.name: c.delta_p for c in found}, abs=1e-9)
    assert ("The query takes on the coordinates" in html(app)) == (side == "queries")
    command = next(c.value for c in app.code if "qkstore intervene" in c.value)
    assert ("--side queries" in command) == (side == "queries")
    assert "--and lexical" in command


def test_the_two_sides_are_not_one(swapped):
    assert swapped["keys"].conditions[0].delta_p != pytest.approx(swapped["queries"].conditions[0].delta_p, abs=1e-3)


@pytest.mark.parametrize(("other", "n"), [("none", 2), ("order-centred", 6), ("lexical", 6)])
def test_a_second_contrast_is_the_one_of_the_address(show, boxes, other, n):
    app = well(show(boxes, "interventions", contrast="order", layer=1, head=0, **{"and": other}))
    names = list(conditions(app)["name"])
    assert len(names) == n
    assert (f"order+{other}" in names) == (other != "none")
    command = next(c.value for c in app.code if "qkstore intervene" in c.value)
    assert ("--and" in command) == (other != "none")


def test_wrong_choices_of_interventions_are_told_and_the_defaults_shown(show, boxes):
    default = list(conditions(show(boxes, "interventions", contrast="order", layer=1, head=0))["name"])
    app = show(boxes, "interventions", contrast="order", layer=1, head=0, side="values", **{"and": "lexicl"})
    told(app, "Swap 'values' of the address is not here", "did you mean 'lexical'")
    assert list(conditions(app)["name"]) == default
    told(
        show(boxes, "interventions", contrast="order", layer=1, head=0, **{"and": "order"}),
        "And 'order' of the address is not here",
    )


# -- subspaces ---------------------------------------------------------------------------------------------------


def test_the_contrast_to_compare_with_is_that_of_the_address(show, boxes):
    texts = {}
    for other in ("lexical", "order-centred"):
        app = well(show(boxes, "subspaces", contrast="order", layer=1, head=0, **{"and": other}))
        texts[other] = app.metric[3]
        assert app.metric[3].delta.replace("\\", "").startswith(f"with {other};")
        assert f"Against {other}" in [s.value.replace("\\", "") for s in app.subheader]
    assert texts["lexical"].value != texts["order-centred"].value, (
        "order is nearly order-centred, and not nearly lexical"
    )
    told(
        show(boxes, "subspaces", contrast="order", layer=1, head=0, **{"and": "ordr-centred"}),
        "did you mean 'order-centred'",
    )


def test_the_rank_and_norm_of_subspaces_are_those_of_the_library(show, boxes):
    run = qkstore.open(boxes).run("boxes")
    for name, at in (("order", (1, 0)), ("lexical", (1, 2))):
        fitted = analysis.covariance(run, qkstore.open(boxes).feature(run, name)[0], *at)
        app = well(show(boxes, "subspaces", contrast=name, layer=at[0], head=at[1]))
        assert app.metric[0].value == f"{fitted.subspace.rank} of 8"
        assert app.metric[1].value.startswith(f"{(fitted.delta**2).sum() ** 0.5:.3g}")
        assert (
            f"{fitted.counts.n_q:,} queries, {fitted.counts.n_pos:,} positive and {fitted.counts.n_neg:,} negative"
            in html(app)
        )


# -- heads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", heads.MEASURES)
def test_the_map_is_coloured_and_the_table_sorted_by_the_measure_of_the_address(show, boxes, by):
    app = well(show(boxes, "heads", contrast="order", layer=1, head=0, by=by))
    values = app.dataframe[0].value[by].to_list()
    assert len(values) == 8
    assert values == sorted(values, reverse=by != "p_value"), "the least p comes first"
    assert f"{heads.MEASURES[by][0]}: {heads.MEASURES[by][1]}." in html(app).replace("&gt;", ">").replace("&#x27;", "'")


def test_a_wrong_measure_or_head_is_told(show, boxes):
    told(show(boxes, "heads", contrast="order", by="acuracy", layer=1, head=0), "did you mean 'accuracy'")
    told(
        show(boxes, "heads", contrast="order", layer="-1", head="4"),
        "Layer '-1' of the address",
        "Head '4' of the address",
    )
    told(
        show(boxes, "heads", run="boxs", layer=1, head=0), "Run 'boxs' of the address is not here; did you mean 'boxes'"
    )


def test_the_figures_of_heads_are_those_of_the_scores(show, boxes):
    store = qkstore.open(boxes)
    scores = heads_heads(store.run("boxes"), store.feature(store.run("boxes"), "order")[0])
    app = well(show(boxes, "heads", contrast="order", layer=0, head=3))
    best = heads.best(scores)
    assert app.metric[0].value == str(len(heads.selected(scores)))
    assert app.metric[1].value == f"L{best.layer} H{best.head}"
    assert app.metric[3].value == f"{best.n_queries:,}"
    assert app.subheader[0].value == "Layer 0, head 3"


# -- toy ---------------------------------------------------------------------------------------------------------


def test_the_seed_is_a_choice_where_there_are_several_and_chooses(show, only):
    app = well(show(only, "toy"))
    assert [s.label for s in app.selectbox][:3] == ["Latents", "d_head", "Seed"]
    one = well(show(only, "toy", seed=1))
    run = qkstore.open(only).run(TOY.format("discrete", 2, 3).replace("-short", "") + "-s1-short")
    assert one.metric[2].value == f"{run.measures['accuracy']:.1%}".replace("%", " %")
    assert run.name in html(one)
    assert f"{run.name} on the other pages" not in html(app)


@pytest.mark.parametrize("latent", toy.FACTORS)
@pytest.mark.parametrize("basis", ["trained", "balanced"])
def test_latent_and_basis_of_the_address_are_drawn(show, only, latent, basis, monkeypatch):
    points, asked = results.points, []
    monkeypatch.setattr(results, "points", lambda run, *how: (asked.append(how), points(run, *how))[1])
    app = well(show(only, "toy", latent=latent, basis=basis))
    assert asked[-1] == (latent, basis == "balanced")
    run = qkstore.open(only).run(TOY.format("discrete", 2, 3))
    found = toy_points.points(run, latent, basis == "balanced")
    assert f"{latent}&#x27;s subspace of rank {found.rank}" in html(app)
    assert f"{found.shown:,} of {found.total:,} points" in html(app)
    assert found.rank == {"z1": 2, "z2": 3}[latent]


def test_the_bases_are_two(only):
    run = qkstore.open(only).run(TOY.format("discrete", 2, 3))
    one, other = (toy_points.points(run, "z1", balanced).table for balanced in (False, True))
    assert not one["x"].equals(other["x"])
    assert one["group"].equals(other["group"])


def test_wrong_choices_of_the_toy_page_are_told_each_in_a_line(show, only):
    told(show(only, "toy", latent="z3"), "Latent 'z3' of the address")
    told(show(only, "toy", plot="4d", seed="7"), "Plot '4d' of the address", "Seed '7' of the address")
    told(show(only, "toy", d_head="16"), "d_head '16' of the address")


@pytest.mark.parametrize("page", PAGES)
def test_a_store_of_toy_runs_alone_has_every_page(show, only, page):
    app = well(show(only, page))
    assert [t.value for t in app.title] == [page.capitalize()]
    assert charts(app) + len(app.dataframe) > 0 or page in BARE


@pytest.mark.parametrize("contrast", ["z2", "exact/z1", "exact/z2"])
def test_every_contrast_of_a_continuous_toy_run_shows(show, only, contrast):
    for page in ("heads", "subspaces", "interventions"):
        app = well(show(only, page, run=TOY.format("continuous", 2, 3), contrast=contrast, layer=0, head=0))
        assert app.selectbox(key="url-contrast").value == contrast
        assert len(app.metric) == 4


def test_a_toy_run_has_no_running_model_to_edit(show, only):
    app = well(show(only, "interventions", run=TOY.format("discrete", 2, 3), contrast="z1", layer=0, head=0))
    assert "no language model" in html(app)
    assert not [c for c in app.code if "ingest intervene" in c.value]


@pytest.mark.parametrize("page", PAGES)
def test_a_mixed_store_opens_each_kind_of_run_on_every_page(show, mixed, page):
    for run in ("boxes", "lists", TOY.format("continuous", 2, 3)):
        app = show(mixed, page, run=run)
        assert not app.exception
        assert not app.error
        assert charts(app) + len(app.dataframe) > 0 or page in BARE
        assert page == "contrasts" or not app.warning, "there the checks of a contrast are told"
        if page in ("heads", "subspaces", "interventions", "contrasts"):
            assert app.selectbox(key="url-run").value == run


def test_from_a_toy_run_to_boxes_its_latent_is_dropped_without_a_warning(show, mixed):
    app = well(
        show(mixed, "interventions", run=TOY.format("discrete", 2, 3), contrast="z1", layer=0, head=0, **{"and": "z2"})
    )
    app.selectbox(key="url-run").select("boxes").run()
    well(app)
    assert app.selectbox(key="url-contrast").value == "order"
    assert "contrast" not in app.query_params
    assert "and" not in app.query_params
