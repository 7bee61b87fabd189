"""The commands of one head print what the library says; mistakes are one line and exit code 2."""

from __future__ import annotations

import json

import pytest
from stores import boxes
from synthetic import write

import qkstore
from qkstore.__main__ import main
from qkstore.analysis import heads
from qkstore.analysis.heads.sweep import Sweep
from qkstore.analysis.pairs import nearest, strongest
from qkstore.contrast import Contrast

PREDICATES = {
    "where": "k.prompt_id = q.prompt_id",
    "positive": "k.order_id = q.queried_order",
    "negative": "k.order_id <> q.queried_order",
}
ASKED = [text for name, sql in PREDICATES.items() for text in (f"--{name}", sql)]
HEAD = ["--layer", 1, "--head", 0]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    write(path, n=256)
    write(path, "boxes", boxes(256))
    write(path, "more", boxes(320, seed=1))
    return path


@pytest.fixture
def cli(store, capsys):
    def call(*arguments, code=0):
        run = [] if "--run" in arguments else ["--run", "synthetic"]
        assert main([arguments[0], "--store", str(store), *run, *map(str, arguments[1:])]) == code
        out = capsys.readouterr()
        return out.err if code else out.out

    return call


@pytest.fixture(scope="module")
def run(store):
    return qkstore.open(store).run("synthetic")


@pytest.mark.parametrize("by", ["logit", "attention", "moved", "errors"])
def test_the_strongest_pairs_as_json_are_those_of_the_library(cli, run, by):
    told = json.loads(cli("strongest", *ASKED, "--layer", 1, "--head", 3, "--by", by, "--top", 3, "--json"))
    found = strongest(run, (Contrast(**PREDICATES),), 1, 3, by, most=3)
    assert told == json.loads(json.dumps(found.to_dict()))
    assert len(told["pairs"]) == 3
    assert told["n"] > 3


def test_the_strongest_pairs_as_a_table(cli):
    lines = cli("strongest", *ASKED, *HEAD, "--among", "all", "--split", "train", "--top", 2).splitlines()
    assert lines[0].split() == ["prompt", "query", "key", "sign", "logit", "attention"]
    assert lines[-1] == "2 of 768 stored pairs of a query and a key that it sees on the train split, by logit."
    lines = cli("strongest", *ASKED, *HEAD, "--by", "moved", "--most", 20, "--top", 2).splitlines()
    assert "other" in lines[0]
    assert lines[-1].startswith("2 of 20 queries of the test split, by what the swap moves to their target key;")


def test_the_nearest_heads(cli, run):
    told = json.loads(cli("nearest", *ASKED, *HEAD, "--layers", "1", "--most", 100, "--json"))
    found = nearest(run, (Contrast(**PREDICATES),), 1, 0, layers=[1], most=100)
    assert told == json.loads(json.dumps(found.to_dict()))
    assert (told["heads"][0]["layer"], told["heads"][0]["head"]) == (1, 1)
    lines = cli("nearest", *ASKED, *HEAD).splitlines()
    assert lines[0].split()[:3] == ["layer", "head", "angle"]
    assert len(lines) == 9
    assert "64 queries" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["strongest", *HEAD, "--by", "moved", "--among", "all"], "'moved' ranks no other pairs"),
        (["strongest", *HEAD, "--by", "size"], "invalid choice: 'size'"),
        (["strongest", *HEAD, "--top", "0"], "'0' is not a whole number from 1"),
        (["strongest", "--layer", 1, "--head", 7], "no head 7"),
        (["nearest", "--layer", 5, "--head", 0], "no layer 5"),
        (["nearest", *HEAD, "--layers", "1-"], "write numbers and ranges"),
        (["nearest", *HEAD, "--layers", "4"], "no layer 4"),
    ],
)
def test_mistakes_are_one_line(cli, arguments, said):
    told = cli(arguments[0], *ASKED, *arguments[1:], code=2)
    assert said in told
    assert told.count("\n") == 1


# -- heads: two contrasts compared ---------------------------------------------------------------------------------


def test_two_contrasts_compared_as_json_are_those_of_the_library(cli, store):
    told = json.loads(cli("heads", "--run", "boxes", "--contrast", "order", "--compare-with", "lexical", "--json"))
    there = qkstore.open(store)
    run = there.run("boxes")
    order, lexical = (there.feature(run, name)[0] for name in ("order", "lexical"))
    found = heads.compared(there, (run, order), (run, lexical))
    assert told == json.loads(json.dumps(found.to_dict()))
    assert len(told["heads"]) == 8
    assert told["first"]["contrast"] == "order"


def test_two_contrasts_compared_as_a_table_with_what_it_means(cli):
    lines = cli(
        "heads", "--run", "boxes", "--contrast", "order", "--compare-with", "lexical", "--by", "selectivity", "--top", 3
    ).splitlines()
    assert lines[0].split() == ["layer", "head", "first", "second", "difference", "low", "high", "clear"]
    assert len(lines) == 6
    assert "Selectivity of order less that of lexical, head by head" in lines[-1]


def test_a_p_that_is_the_least_of_its_deals_is_told_with_the_scores(cli):
    assert "19 deals of signs give no p below 0.05" in cli("heads", *ASKED)
    assert "9 deals of signs give no p below 0.1" in cli("heads", *ASKED, "--nulls", 9)
    told = cli("heads", *ASKED, "--nulls", 0)
    assert "No null of ‖ΔC‖ was drawn, so no head has a p-value." in told
    assert "by chance alone" not in told


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--contrast", "order", "--compare-with", "order"], "compared with itself"),
        (["--contrast", "order", "--compare-with", "lexica"], "did you mean 'lexical'"),
        (["--contrast", "order", "--compare-run", "nope"], "no run 'nope'"),
        (["--contrast", "order", "--compare-with", "lexical", "--by", "acuracy"], "did you mean 'accuracy'"),
        (["--contrast", "order", "--by", "rank"], "--by names what to compare"),
    ],
)
def test_what_cannot_be_compared_is_one_line(cli, given, said):
    told = cli("heads", *given, code=2)
    assert said in told
    assert len(told.strip().splitlines()) == 1


# -- heads: several runs under several contrasts -------------------------------------------------------------------

BOTH = ["--contrast", "order", "lexical"]


def test_every_run_under_every_contrast_is_what_each_is_alone(cli, store):
    told = json.loads(cli("heads", "--run", "boxes", "--run", "more", *BOTH, "--json"))
    asked = [(run, name) for run in ("boxes", "more") for name in ("order", "lexical")]
    assert [(one["run"], one["contrast"]) for one in told] == asked
    for one in told:
        alone = json.loads(cli("heads", "--run", one["run"], "--contrast", one["contrast"], "--json"))
        assert one["heads"] == alone
    assert len({json.dumps(one["heads"]) for one in told}) == 4, "the control: they differ"
    there = qkstore.open(store)
    scores = heads.heads(there.run("more"), there.feature(there.run("more"), "lexical")[0])
    assert {row["accuracy"] for row in told[3]["heads"]} == {s.accuracy for s in scores}


def test_tables_stand_under_their_run_and_contrast(cli):
    said = cli("heads", "--run", "boxes", *BOTH, "--top", 2)
    first, second = said.split("\n\n")
    for name, part in (("order", first), ("lexical", second)):
        assert part.startswith(f"boxes under {name}\nlayer  head")
        alone = cli("heads", "--run", "boxes", "--contrast", name, "--top", 2)
        assert part.partition("\n")[2].strip() == alone.strip()
    assert "under" not in alone


def test_what_is_named_twice_is_scored_once(cli):
    once = cli("heads", "--run", "boxes", "--contrast", "order", "--json")
    assert cli("heads", "--run", "boxes", "boxes", "--contrast", "order", "--contrast", "order", "--json") == once


def test_predicates_are_of_every_run(cli):
    told = json.loads(cli("heads", "--run", "boxes", "synthetic", *ASKED, "--json"))
    assert [(one["run"], one["contrast"]) for one in told] == [("boxes", "inline"), ("synthetic", "inline")]


def test_one_pool_does_all_of_them(cli, monkeypatch):
    from qkstore.cli.heads import score

    pools, plain = [], score.workers
    monkeypatch.setattr(score, "workers", lambda options: pools.append(plain(options)) or pools[-1])
    asked = ["--run", "boxes", "more", *BOTH, "--nulls", 2, "--json"]
    by_two = cli("heads", *asked, "--workers", 2)
    assert len(pools) == 1
    assert not pools[0].here
    assert json.loads(cli("heads", *asked)) == json.loads(by_two)


LATE = ["--where", "k.prompt_id = q.prompt_id and q.prompt_id >= 200", *ASKED[2:]]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--run", "boxes", "nope", *BOTH], "no run 'nope'"),
        (["--run", "boxes", "more", "--contrast", "order", "lexica"], "; 'lexica' on 'more': no contrast"),
        (["--run", "boxes", "--contrast", "a", "b", "c", "d", "order"], "; 'c' on 'boxes': no contrast"),
        (["--run", "boxes", "--contrast", "a", "b", "c", "d", "order"], "; 1 more\n"),
        (["--run", "more", "boxes", *LATE], "qkstore: 'inline' on 'boxes': "),
        (["--run", "more", "boxes", *BOTH, *ASKED], "is a whole contrast; leave out --where"),
        (["--run", "boxes", *BOTH, "--compare-with", "lexical"], "give one --run and one --contrast"),
        (["--run", "boxes", "more", "--contrast", "order", "--compare-run", "more"], "give one --run"),
        (["--run", "boxes", *BOTH, "--by", "rank"], "--by names what to compare"),
    ],
)
def test_mistakes_of_any_are_told_before_anything_is_scored(cli, monkeypatch, given, said):
    monkeypatch.setattr(Sweep, "table", lambda *_: pytest.fail("work began"))
    told = cli("heads", *given, "--nulls", 3, code=2)
    assert said in told
    assert len(told.strip().splitlines()) == 1


def test_the_control_of_mistakes_is_scored(cli):
    assert "more" in cli("heads", "--run", "more", "boxes", *ASKED, "--nulls", 3)
    assert json.loads(cli("heads", "--run", "more", *LATE, "--nulls", 3, "--json"))
