"""The commands of what a team leaves in a catalogue: versions, forks, archive, notes, roles, history."""

from __future__ import annotations

import json

import pytest
import stores
from test_cli import PREDICATES

import qkstore
from qkstore.__main__ import main


@pytest.fixture
def store(tmp_path):
    return stores.write(tmp_path / "store", n=80)


@pytest.fixture
def cli(store, capsys):
    def call(*arguments, code=0):
        assert main([arguments[0], "--store", str(store), *map(str, arguments[1:])]) == code
        out = capsys.readouterr()
        assert code == 0 or len(out.err.strip().splitlines()) == 1
        return out.err if code else out.out

    return call


def test_a_saved_contrast_is_checked_on_a_run_and_its_versions_tell_what_changed(cli, store):
    cli("contrasts", "--save", "mine", *PREDICATES, "--run", "boxes", "--author", "ann")
    cli("contrasts", "--save", "mine", *PREDICATES, "--centring", "queries", "--author", "bob")
    first, second = json.loads(cli("contrasts", "--history", "mine", "--json"))
    assert (first["author"], first["version"], first["changed"]) == ("ann", 1, [])
    assert first["checked"]["content"] == qkstore.open(store).run("boxes").digest
    assert first["checked"]["counts"]["n_pos"] > 0
    assert second["checked"] is None
    assert second["changed"] == [{"field": "centring", "before": "none", "after": "queries"}]
    lines = cli("contrasts", "--history", "mine@1").splitlines()
    assert lines[0].endswith("by ann")
    assert lines[1].startswith("  checked on run boxes (")
    assert lines[-1] == "  centring: none  ->  queries"
    assert "no saved contrast 'nine'; did you mean 'mine'" in cli("contrasts", "--history", "nine", code=2)
    assert "needed" in cli("contrasts", "--save", "bad", "--positive", "k.pos = -1", "--negative", "k.pos = 1",
                           "--run", "boxes", code=2)  # fmt: skip
    assert [c["name"] for c in json.loads(cli("contrasts", "--json"))] == ["mine"], "what fails there is not saved"


@pytest.mark.parametrize("side", ["where", "positive", "negative"])
@pytest.mark.parametrize("on", [("contrasts", "--save", "x"), ("contrasts", "--save", "x", "--run", "boxes"),
                                ("rank", "--run", "boxes", "--layer", "1", "--head", "0")])  # fmt: skip
def test_a_condition_that_is_none_is_named(cli, side, on):
    given = dict(zip(PREDICATES[::2], PREDICATES[1::2], strict=True))
    broken = given | {f"--{side}": given[f"--{side}"] + " and"}
    told = cli(*on, *(part for pair in broken.items() for part in pair), code=2)
    assert told.startswith(f"qkstore: {side}: syntax error at end of input")


def test_a_fork_starts_from_a_version_and_takes_what_is_given(cli, store):
    catalog = qkstore.open(store).catalog
    cli("contrasts", "--save", "mine", *PREDICATES)
    cli("contrasts", "--save", "mine", *PREDICATES, "--weighting", "query")
    cli("contrasts", "--fork", "mine@1", "--save", "own", "--positive", "k.order_id = 1")
    own = catalog.contrast("own")
    assert (own.positive, own.negative, own.weighting) == ("k.order_id = 1", PREDICATES[5], "pair")
    assert catalog.history("own")[0].forked == "mine@1"
    cli("contrasts", "--fork", "order", "--run", "boxes", "--save", "of-built-in", "--centring", "queries")
    assert catalog.history("of-built-in")[0].forked == "order"
    assert catalog.contrast("of-built-in").centring == "queries"
    cli("contrasts", "--fork", "own", "--save", "whole", "--pairs", "select query_row, key_row, 1 as sign from q, k")
    assert catalog.contrast("whole").positive is None
    cli("contrasts", "--fork", "whole", "--save", "parts", "--positive", "k.pos = 1", "--negative", "k.pos = 2")
    assert catalog.contrast("parts").pairs is None
    cli("contrasts", "--save", "weighted", *PREDICATES, "--weighting", "query", "--centring", "queries")
    cli("contrasts", "--fork", "weighted", "--save", "plain", "--weighting", "pair", "--centring", "none")
    assert (catalog.contrast("plain").weighting, catalog.contrast("plain").centring) == ("pair", "none")
    cli("contrasts", "--fork", "mine@1", "--save", "mine", "--description", "of itself")
    cli("contrasts", "--fork", "mine", "--save", "anywhere", "--where", "")
    assert catalog.contrast("anywhere").where is None, "an empty condition is none"
    assert catalog.contrast("anywhere").description == "of itself", "what is not given stays"
    cli("contrasts", "--fork", "mine", "--save", "anywhere", "--description", "")
    assert (catalog.contrast("anywhere").where, catalog.contrast("anywhere").description) == (PREDICATES[1], "")
    cli("contrasts", "--save", "everywhere", *PREDICATES[2:], "--where", "")
    assert catalog.contrast("everywhere").key == catalog.contrast("anywhere").replace(where=None).key
    assert catalog.history("mine")[-1].forked is None
    assert "'lexical' is built in for some runs; name one of them with --run" in cli(
        "contrasts", "--fork", "lexical", "--save", "x", code=2
    )
    assert "no saved contrast 'mine' of version 9; its versions: 1, 2, 3" in cli(
        "contrasts", "--history", "mine@9", code=2
    )
    at = ("--run", "boxes", "--layer", "1", "--head", "0")
    assert "no saved contrast 'mine' of version 9; its versions: 1, 2, 3" in cli(
        "rank", *at, "--contrast", "mine@9", code=2
    ), "also where a run is asked"
    assert "'order' is built in and has no versions" in cli("rank", *at, "--contrast", "order@2", code=2)
    assert "did you mean 'mine'?" in cli("rank", *at, "--contrast", "nine@1", code=2), "the control"
    assert "name it with --save" in cli("contrasts", "--fork", "mine", code=2)
    assert "no saved contrast 'none'" in cli("contrasts", "--fork", "none", "--save", "x", code=2)
    assert "not allowed with argument" in cli("contrasts", "--archive", "mine", "--restore", "mine", code=2)


def test_a_version_is_a_contrast_of_every_command(cli):
    cli("contrasts", "--save", "mine", *PREDICATES)
    cli("contrasts", "--save", "mine", *PREDICATES, "--centring", "queries")
    old, new = (json.loads(cli("heads", "--run", "boxes", "--contrast", c, "--json")) for c in ("mine@1", "mine"))
    assert [r["delta_norm"] for r in old] != [r["delta_norm"] for r in new]
    assert "no saved contrast 'mine' of version 3; its versions: 1, 2" in cli(
        "heads", "--run", "boxes", "--contrast", "mine@3", code=2
    )


def test_archive_and_restore(cli):
    cli("contrasts", "--save", "mine", *PREDICATES)
    assert cli("contrasts", "--archive", "mine") == "archived 'mine'\n"
    assert json.loads(cli("contrasts", "--json")) == []
    assert cli("contrasts", "--archived") == "mine\n"
    assert "is archived already" in cli("contrasts", "--archive", "mine", code=2)
    assert len(json.loads(cli("heads", "--run", "boxes", "--contrast", "mine@1", "--json"))) > 0
    assert cli("contrasts", "--restore", "mine") == "restored 'mine'\n"
    assert json.loads(cli("contrasts", "--archived", "--json")) == []


def test_rename(cli):
    cli("contrasts", "--save", "mine", *PREDICATES)
    said = cli("contrasts", "--rename", "mine", "порядок")
    assert said == "renamed 'mine' to 'порядок'; links to the old name go on\n"
    assert [c["name"] for c in json.loads(cli("contrasts", "--json"))] == ["порядок"]
    assert cli("contrasts", "--history", "mine").startswith("called mine before\nversion 1")
    assert len(json.loads(cli("heads", "--run", "boxes", "--contrast", "mine@1", "--json"))) > 0
    assert "is taken by a built-in contrast" in cli("contrasts", "--rename", "mine", "order", code=2)
    assert "no saved contrast 'mien'" in cli("contrasts", "--rename", "mien", "x", code=2)
    assert "renamed to порядок contrast mine" in " ".join(cli("history").split())


def test_notes(cli):
    made = json.loads(cli("notes", "--run", "boxes", "--layer", 1, "--head", 2, "--add", "binds", "--json"))
    assert (made["run"], made["subject"], made["text"]) == ("boxes", "L1 H2", "binds")
    cli("notes", "--run", "boxes", "--add", "of the run")
    cli("notes", "--contrast", "order", "--add", "=of a contrast")
    assert [n["text"] for n in json.loads(cli("notes", "--json"))] == ["=of a contrast", "of the run", "binds"]
    assert [n["text"] for n in json.loads(cli("notes", "--run", "boxes", "--json"))] == ["of the run", "binds"]
    assert "=of a contrast" in cli("notes", "--contrast", "order")
    assert cli("notes", "--withdraw", made["note_id"]) == f"withdrew {made['note_id']}\n"
    assert len(json.loads(cli("notes", "--json"))) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--add", "x"), "a note is on something: name a --run"),
        (("--run", "boxes", "--layer", 1, "--add", "x"), "needs both --layer and --head"),
        (("--run", "boxes", "--layer", 9, "--head", 0, "--add", "x"), "has no layer 9; there are: 0, 1"),
        (("--run", "boxes", "--layer", 0, "--head", 99, "--add", "x"), "no head 99"),
        (("--layer", 0, "--head", 0), "name it with --run"),
        (("--run", "boxs", "--add", "x"), "no run 'boxs' in the store; did you mean 'boxes'"),
        (("--run", "boxes", "--contrast", "order", "--add", "x"), "belongs to no run"),
        (("--contrast", "nine", "--add", "x"), "no saved contrast 'nine'"),
        (("--run", "boxes", "--add", " "), "the note is empty"),
        (("--withdraw", "nothing"), "no note 'nothing'"),
    ],
)
def test_a_note_on_nothing_is_one_line(cli, options, said):
    assert said in cli("notes", *options, code=2)
    assert json.loads(cli("notes", "--json")) == []


def test_people_and_the_history_of_it_all(cli):
    assert json.loads(cli("people", "--json")) == []
    cli("people", "--set", "Ann@example.org", "editor")
    assert [(p["email"], p["role"]) for p in json.loads(cli("people", "--json"))] == [("ann@example.org", "editor")]
    assert "role 'king': there are" in cli("people", "--set", "ann@example.org", "king", code=2)
    cli("contrasts", "--save", "mine", *PREDICATES, "--author", "bob")
    told = json.loads(cli("history", "--json"))
    assert [(row["act"], row["subject"]) for row in told] == [
        ("saved", "contrast mine@1"),
        ("gave the role editor to", "ann@example.org"),
    ]
    assert told[0]["who"] == "bob"
    assert len(json.loads(cli("history", "--most", 1, "--json"))) == 1
    assert "gave the role editor to" in cli("history")
