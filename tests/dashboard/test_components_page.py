"""The page of components: with labels, without, of a head that has none, of hostile text, and what it saves."""

from __future__ import annotations

import re

import pytest
import stores
import synthetic
from test_pages import SCRIPT, html

import qkstore
from dashboard.components import group as groups
from qkstore.analysis.decomposition import kept_study
from qkstore.store.catalog.person import Person
from qkstore.text import head_name

HEAD = {"run": "boxes", "layer": 1, "head": 0}
BARE = {"run": "bare", "layer": 1, "head": 2}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = stores.write(tmp_path_factory.mktemp("components") / "store")
    synthetic.write(path, "bare", stores.bare())
    return path


def well(app):
    assert not app.exception
    assert not app.error
    assert not app.warning
    return app


def table(app):
    return next(d.value for d in app.dataframe if "rho" in d.value.columns)


def test_the_number_stands_with_its_interval_chance_and_queries(show, store):
    app = well(show(store, "components", **HEAD))
    first = app.metric[0]
    assert first.label == f"Components of {head_name(1, 0)}"
    assert first.value == "3 [3, 3]"
    assert "train split" in first.delta
    assert "chance reaches" in first.delta
    gains = app.metric[2].delta
    assert re.search(
        r"of attention \[\d+\.\d, \d+\.\d\], .*random dimensions: \d+\.\d\s% \[", gains.replace("\\", "")
    ), gains
    assert list(table(app)["component"]) == [0, 1, 2]


def test_a_run_without_labels_needs_no_contrast_and_its_components_are_unnamed(show, store):
    app = well(show(store, "components", **BARE))
    assert app.metric[1].value == "4"
    assert set(table(app)["name"]) == {"unnamed"}
    assert html(app).count("qk-query") >= 6, "three prompts at either end"
    assert html(app).count("qk-key") >= 6


def test_a_name_of_noise_is_never_shown_without_that_it_is_not_told_from_chance(show, store):
    """Head 3 is noise; labels of the key name its components, with a p of .01, as they do in any head."""
    app = well(show(store, "components", run="boxes", layer=1, head=3))
    rows = table(app)
    assert set(rows["name"]) == {"entity of the key"}
    assert set(rows["claim"]) == {"not told from chance"}
    assert (app.metric[3].label, app.metric[3].value) == ("Clear of chance", "0")
    shown = [app.selectbox(key="url-component").options, app.multiselect(key="url-group").options]
    assert all(option.endswith("entity of the key, not told from chance") for options in shown for option in options)
    assert any(h.value.endswith("entity of the key, not told from chance") for h in app.subheader)
    assert "as labels name components of random weights, too" in html(app)
    assert f"Of the others {len(rows)} have a name" in html(app)
    told = well(show(store, "components", **HEAD))
    assert set(table(told)["claim"]) == {"clear"}, "the control"
    assert told.metric[3].value == "3"
    assert "not told from chance" not in html(told)


def labels(app):
    return next((d.value for d in app.dataframe if "side" in d.value.columns), None)


def studied(store, run: str, head: int) -> dict:
    """What the store keeps of a head of layer 1."""
    kept = [row["payload"] for row in qkstore.open(store).catalog.results("components", run)]
    return next(study for study in kept if (study["layer"], study["head"]) == (1, head))


def test_what_each_label_explains_of_the_chosen_component(show, store):
    app = well(show(store, "components", **HEAD, component=1))
    study = studied(store, "boxes", 0)
    of = {row["component"]: row["labels"] for row in study["rows"]}
    shown = labels(app)
    assert shown["label"].to_list() == [each["label"] for each in of[1]]
    assert shown["explained"].to_list() == [each["explained"] for each in of[1]]
    assert shown["p"].to_list() == [each["p"] for each in of[1]]
    assert len(shown) == len(study["tried"]), "all that were tried"
    assert set(shown["side"]) == {"query", "key", "both agree"}
    both = shown[shown["side"] == "both agree"]
    assert "q.queried_order = k.order_id" in set(both["label"])
    assert "a label that says nothing is at 0 % on average" in html(app)
    assert f"the share of {study['deals']} deals of the labels to other prompts" in html(app)
    assert f"{study['n_named']} queries of the test split" in html(app)
    other = labels(well(show(store, "components", **HEAD, component=2)))
    assert other["explained"].to_list() == [each["explained"] for each in of[2]]
    assert other["explained"].to_list() != shown["explained"].to_list(), "the control: another component, other shares"


def test_labels_of_one_side_alone_and_those_left_out_with_their_reason(show, store):
    app = well(show(store, "components", **BARE))
    study = studied(store, "bare", 2)
    assert set(labels(app)["side"]) == {"key"}
    assert max(labels(app)["explained"]) < 0.3, "which names none"
    left = next(d.value for d in app.dataframe if "why" in d.value.columns)
    assert dict(zip(left["label"], left["why"], strict=True)) == study["untried"]
    assert left["why"].to_list()[0] == "constant"
    assert f"{len(left)} labels left out" in [e.label for e in app.expander]


def test_without_a_label_there_is_no_table_of_them():
    from dashboard.components import labels as module

    assert module.listed(None, None, {"component": 0, "labels": []}) is None


def test_the_number_and_its_picture_come_before_names_and_swaps(show, store, monkeypatch):
    from dashboard.components import found, rows

    told, later = [], found.found

    def all_of_it(view):
        told.append("found")
        return later(view)

    def first(view, of):
        told.append((of["value"], of["interval"]))

    found._kept().clear()
    found._counted().clear()
    monkeypatch.setattr(rows, "counted", first)
    monkeypatch.setattr(found, "found", all_of_it)
    app = well(show(store, "components", **HEAD))
    assert told == [(3, (3, 3)), "found"]
    well(show(store, "components", **HEAD))
    assert told[2:] == ["found"], "what is found already is shown whole"
    monkeypatch.undo()
    found._kept().clear()
    app = well(show(store, "components", **HEAD))
    assert [m.label for m in app.metric if m.label.startswith("Components of")] == [f"Components of {head_name(1, 0)}"]


def test_unnamed_ones_stand_first(show, store, monkeypatch):
    from dashboard.components import rows

    app = show(store, "components", **HEAD)
    study = qkstore.open(store).catalog.results("components", "boxes")[0]["payload"]
    assert [row["named"] for row in study["rows"]] == sorted(row["named"] for row in study["rows"])
    assert app.selectbox(key=f"url-{rows.CHOSEN}").value == study["rows"][0]["component"]


def test_choices_are_in_the_address_and_another_heads_are_dropped_without_a_word(show, store):
    app = well(show(store, "components", **HEAD, component=2, against=1, q="variant", k="box", group="0,2"))
    assert app.selectbox(key="url-component").value == 2
    assert app.selectbox(key="url-against").value == 1
    assert app.multiselect(key="url-group").value == [0, 2]
    app = well(show(store, "components", **HEAD, component=17, against=17, group="0,17,x"))
    assert app.selectbox(key="url-component").value == 0
    assert app.multiselect(key="url-group").value == [0]


def test_another_head_forgets_what_was_chosen_of_this_one(show, store):
    app = show(store, "components", **HEAD, component=2, against=1, group="0,2", k="box")
    app.selectbox(key="url-head").set_value(1).run()
    assert app.query_params["head"] in ("1", ["1"])
    assert not {"component", "against", "group"} & set(app.query_params)
    assert app.query_params["k"] in ("box", ["box"]), "a label is of the run"


def test_what_a_claim_rests_on_stands_beside_it(show, store):
    rows = table(show(store, "components", **HEAD))
    there = qkstore.open(store)
    low, high = kept_study(there, there.run("boxes"), 1, 0).rows[0]["gap_ci"]
    assert rows["gap_interval"][0] == f"[{low:.2f},\xa0{high:.2f}]"
    told = html(show(store, "components", **HEAD))
    assert rows["gap_interval"][0] in told
    assert "in which both sides agree, names it" in told


@pytest.mark.parametrize("group", ["", ",,,", "9" * 5000, "-1"])
def test_a_group_of_nothing_asks_for_one(show, store, group):
    app = well(show(store, "components", **HEAD, group=group))
    assert "Choose one component or more." in html(app)
    assert not [b for b in app.button if b.label == "Save as a contrast"]


def test_a_head_with_nothing_to_choose_is_one_line_and_a_link(show, store):
    app = well(show(store, "components", run="boxes", layer=0, head=0))
    assert "has no component" in app.info[0].value
    assert not app.dataframe
    next(b for b in app.button if b.label == "Choose another head on the map of all").click()
    app.run()
    assert app.query_params["heads"] in ("all", ["all"])
    assert app.selectbox(key="url-by").value == "number"


def test_texts_of_both_splits_are_told(show, store, tmp_path):
    synthetic.write(tmp_path / "store", "boxes", stores.said_before(30))
    (told,) = show(tmp_path / "store", "components", **HEAD).warning
    assert told.value.startswith("30 of 75 prompts of the test split have the text")
    assert not show(store, "components", **HEAD).warning


def test_token_text_is_no_markup(show, tmp_path):
    data = stores.hostile({0: SCRIPT, 4: "<b>&</b>"})
    synthetic.write(tmp_path / "store", "boxes", data)
    app = well(show(tmp_path / "store", "components", **HEAD))
    assert "<script>" not in html(app)
    assert "<b>" not in html(app)


def save(app, name: str):
    app.text_input(key="group-name").set_value(name)
    next(b for b in app.button if b.label == "Save as a contrast").click()
    return app.run()


def test_a_group_is_saved_and_every_page_takes_it(show, store):
    app = well(save(show(store, "components", **HEAD, group="0,1"), "mine"))
    assert "every page takes it" in app.success[0].value
    assert app.query_params["contrast"] in ("mine@1", ["mine@1"])
    saved = qkstore.open(store).catalog.contrast("mine")
    assert (saved.own.layer, saved.own.head, saved.own.rank) == (1, 0, 2)
    assert saved.positive == "k.order_id = q.queried_order", "that names both"
    for page in ("heads", "head", "subspaces", "projections", "interventions", "attributions", "contrasts"):
        app = show(store, page, run="boxes", contrast="mine@1", layer=1, head=0)
        assert not app.exception, page
        assert not app.error, page
    assert show(store, "interventions", run="boxes", contrast="mine@1").selectbox(key="url-head").value == 0
    carries = f"mine@1 carries a subspace of {head_name(1, 0)}"
    assert carries in html(show(store, "heads", run="boxes", contrast="mine@1"))
    assert "carries a subspace" not in html(show(store, "heads", run="boxes", contrast="order")), "the control"
    other = show(store, "interventions", run="boxes", contrast="mine@1", layer=1, head=1)
    assert "of layer 1 head 0" in other.error[0].value.replace("\\", "")


def test_an_unnamed_group_has_the_keys_that_the_head_chose(show, store):
    app = well(save(show(store, "components", **BARE, group="0,1"), "found"))
    assert "every page takes it" in app.success[0].value
    saved = qkstore.open(store).catalog.contrast("found")
    assert "q.query_row, k.key_row" in saved.positive
    assert "mine@1" not in show(store, "heads", run="bare").selectbox(key="url-contrast").options


def test_a_draft_of_a_saved_group_keeps_its_subspace_unless_its_conditions_change(show, store):
    from test_pages import edit

    well(save(show(store, "components", **HEAD, group="0"), "kept"))
    app = edit(show(store, "contrasts", run="boxes", contrast="kept@1"), "Save as a new version", description="told")
    assert not app.error
    assert qkstore.open(store).catalog.contrast("kept", 2).own is not None
    changed = edit(show(store, "contrasts", run="boxes", contrast="kept@2"), "Preview", positive="k.order_id = 1")
    assert "no subspace of its own" in html(changed)


@pytest.mark.parametrize("name", ["", "order", "a@b", "   "])
def test_a_name_that_cannot_be_is_one_line(show, store, name):
    app = save(show(store, "components", **HEAD), name)
    assert len(app.error) == 1
    assert "choose another" in app.error[0].value
    assert not app.exception


def test_a_viewer_is_told_that_saving_needs_a_role(show, store, monkeypatch):
    app = show(store, "components", **HEAD, group="0")
    monkeypatch.setattr("qkstore.store.catalog.embedded.Embedded.person", lambda _: Person("vera", "viewer"))
    app = save(app, "theirs")
    assert len(app.error) == 1
    assert "editor" in app.error[0].value
    assert not app.exception
    assert "theirs" not in [c.name for c in qkstore.open(store).catalog.contrasts()]


def test_the_group_stands_beside_the_others_and_random_of_its_own_rank(show, store):
    from qkstore.analysis.decomposition import components, swaps

    of = components(qkstore.open(store).run("boxes"), 1, 0)
    paired = swaps(of, {"group": [0, 1], groups.OTHERS: [2]}).paired
    half = len(paired) // 2
    assert [c.name for c in paired[:2]] == ["group", groups.OTHERS]
    assert [c.rank for c in paired[:half]] == [c.rank for c in paired[half:]]
    assert all(c.bases for c in paired[half:])
    assert [c.rank for c in paired[:2]] != sorted(c.rank for c in paired[:2]), "in an order that sorting would spoil"
