"""The command `discover`: its table, its JSON, what it saves, and mistakes in one line."""

from __future__ import annotations

import json

import pytest
import stores
import synthetic
from planted import PLANTED, planted

import qkstore
from qkstore.__main__ import main
from qkstore.analysis import discovery
from qkstore.errors import ContrastError

NAME = "found-order_id-queried_order-box-apart"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = stores.write(tmp_path_factory.mktemp("found") / "store", n=600)
    synthetic.write(path, "text", data=planted(80))
    return path


@pytest.fixture
def cli(store, capsys):
    def call(*arguments, code=0, run="boxes"):
        assert main(["discover", "--store", str(store), "--run", run, *map(str, arguments)]) == code
        out = capsys.readouterr()
        return out.err if code else out.out

    return call


def test_the_table_names_feature_head_and_what_may_be_saved(cli):
    lines = cli().splitlines()
    assert lines[0].split()[:3] == ["feature", "layer", "head"]
    assert all("k.order_id = q.queried_order (box keys)" in line and NAME in line for line in lines[1:3])
    assert "6 label pairs × 8 heads = 48 tests" in lines[3]
    assert "allows p-values that depend on each other positively" in lines[3]


def test_json_has_what_was_tried_refused_and_found(cli):
    told = json.loads(cli("--json"))
    assert {(row["layer"], row["head"]) for row in told["found"]} == {(1, 0), (1, 1)}
    assert len(told["matches"]) == 6
    assert ["q.pos", "it has one value"] in told["refused"]


def test_what_is_left_out_is_printed_where_it_is_asked_for(cli):
    assert "left out: q.pos: it has one value" in cli("--refused")
    assert "left out: " not in cli()


@pytest.mark.parametrize(
    "command",
    [
        ["heads"],
        ["rank", "--layer", "1", "--head", "0"],
        ["intervene", "--layer", "1", "--head", "0", "--and", "lexical"],
        ["intervene", "--layer", "1", "--head", "0", "--contrast", "lexical", "--and", NAME],
    ],
)
def test_a_name_that_nobody_has_saved_is_a_contrast_of_every_command(tmp_path, capsys, command):
    store = stores.write(tmp_path / "store", n=600)
    asked = [command[0], "--store", str(store), "--run", "boxes", "--contrast", NAME, *command[1:]]
    assert main(asked) == 0
    assert capsys.readouterr().out
    assert [c.name for c in qkstore.open(store).catalog.contrasts()] == [], "and stays so"
    asked[asked.index(NAME)] = "found-order_id-nothing"  # the control
    if "--contrast" not in command:
        assert main(asked) == 2
        told = capsys.readouterr().err
        assert "discover --run boxes --save found-order_id-nothing saves it, if it was found" in told
        assert told.count("\n") == 1


def test_the_python_of_an_unsaved_name_says_how_it_is_saved(tmp_path):
    made = qkstore.open(stores.write(tmp_path / "store", n=600))
    with pytest.raises(ContrastError, match=f"no contrast '{NAME}'.*discover --run boxes --save {NAME} saves it"):
        made.feature(made.run("boxes"), NAME)
    (found,) = discovery.named(made, made.run("boxes"), NAME)
    assert found.name == NAME
    assert discovery.named(made, made.run("boxes"), "order") == made.feature(made.run("boxes"), "order")


def test_a_contrast_is_saved_by_its_name(cli, store):
    assert f"saved '{NAME}', version 1" in cli("--save", NAME)
    (contrast,) = qkstore.open(store).feature(qkstore.open(store).run("boxes"), NAME)
    assert contrast.centring == "queries"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--save", "found-nothing"], "nothing of the name 'found-nothing' was found"),
        (["--labels", "oder_id"], "did you mean 'order_id'"),
        (["--fdr", "0.9"], "a rate of false discoveries is above 0 and 0.2 at most, not 0.9"),
        (["--type", "induction"], "no match of run 'boxes' is of a known type 'induction'; there are: order"),
        (["--fdr", "many"], "'many' is no number"),
        (["--labels", "pos", "token_id"], "has no two labels that can match"),
    ],
)
def test_mistakes_are_one_line(cli, given, says):
    told = cli(*given, code=2)
    assert says in told
    assert told.count("\n") == 1


def test_a_rate_that_cannot_be_asked_for_is_told_before_the_search(cli, monkeypatch):
    def never(*_, **__):
        raise AssertionError("nothing has to be searched to know this")

    monkeypatch.setattr("qkstore.analysis.discovery.kept", never)
    assert "above 0 and 0.2 at most, not 2" in cli("--fdr", 2, code=2)
    with pytest.raises(AssertionError, match="to know this"):  # the control: another rate is searched for
        cli("--fdr", 0.2)


def test_rows_beyond_the_top_are_counted(cli):
    assert "and 1 more (--top)" in cli("--top", 1)


def test_known_types_stand_first_with_their_heads_and_what_is_beyond_them_apart(cli):
    lines = cli(run="text").splitlines()
    assert lines[0].split() == ["type", "heads", "strong", "strongest"]
    rows = {line.split()[0]: line for line in lines[1 : lines.index("")]}
    assert set(rows) == {*PLANTED, "first-token"}
    assert all(f"L0 H{head} " in rows[name] and rows[name].split()[1] == "1" for name, head in PLANTED.items())
    assert lines[lines.index("") + 1 :][:2] == ["Beyond known types:", "none"]


def test_the_heads_of_one_type_are_asked_for_by_its_name(cli):
    lines = cli("--type", "induction", run="text").splitlines()
    assert lines[1].startswith("induction: k.token_before = q.token_id")
    assert "label pairs × 4 heads" in lines[2]
    told = json.loads(cli("--json", run="text"))
    assert {(row["type"], row["head"]) for row in told["found"]} == set(PLANTED.items())
    assert [row["type"] for row in told["types"]][-1] == "first-token"
    assert "did you mean 'induction'" in cli("--type", "inducton", run="text", code=2)


def test_a_type_is_any_known_name_that_the_listing_shows(tmp_path, capsys):
    asked = ["discover", "--store", str(stores.write_lists(tmp_path / "store")), "--run", "lists"]
    assert main(asked) == 0
    listed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("category: k.category = ")]
    assert listed
    assert main([*asked, "--type", "category"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].split()[:2] == ["feature", "layer"]
    assert [line.split() for line in told[1:-1]] == [line.split() for line in listed], "these and no others"
    assert main([*asked, "--type", "category", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["found"]) == len(listed)
    for wrong in ("categry",):
        assert main([*asked, "--type", wrong]) == 2
        assert "there are: category" in capsys.readouterr().err
