"""The contrasts of known head types are the pairs of a loop over tokens, on runs that have a key at every token."""

from __future__ import annotations

from pathlib import Path

import duckdb
import models
import pytest
import synthetic
from test_builtin import by_loop, found

import qkstore
from ingest import job, model
from ingest.job import Options
from ingest.prompts import Prompt
from ingest.prompts.corpus import EVERY, Sample
from qkstore import __main__ as cli
from qkstore.contrast import Contrast, builtin, known
from qkstore.contrast.fit import misfit
from qkstore.errors import ContrastError, GuardError
from qkstore.run import sides

TEXTS = ("jam hat jam hat hat pen jam", "pen cup pen cup key", "hat jam jam jam", "cup")
NAMES = ["previous-token", "same-token", "induction", "first-token"]


def prompts(**labels) -> list[Prompt]:
    return [
        Prompt(text, id=f"p{i}", split="test" if i == 2 else "train", labels=labels) for i, text in enumerate(TEXTS)
    ]


@pytest.fixture(scope="module")
def made() -> dict[str, model.Model]:
    tokenizer = models.word_tokenizer(models.words(prompts()))
    return {name: model.wrap(models.net(name), tokenizer, "tiny") for name in ("llama", "bert")}


@pytest.fixture(scope="module")
def store(made, tmp_path_factory):
    """Runs: every token a query and a key; keys at every token, few queries; labelled tokens; an encoder's; old."""
    path = tmp_path_factory.mktemp("store")
    every, few = Options(positions="all"), Options(positions="all", queries=(EVERY,), sample=Sample(2, 0))
    for name, of, options in (("all", "llama", every), ("few", "llama", few), ("encoder", "bert", every)):
        job.ingest(path, name, made[of], prompts(), options, task="mine")
    job.ingest(path, "labelled", made["llama"], prompts(), task="mine")
    job.ingest(path, "own", made["llama"], prompts(occurred_before="yes"), every, task="mine")
    job.ingest(path, "old", made["llama"], prompts(), every, task="mine")
    older(path / "runs/old.duckdb")
    return qkstore.open(path)


def older(path: Path) -> None:
    path.chmod(0o644)
    with duckdb.connect(str(path)) as con:
        for side in "qk":
            for name in sides.MADE:
                con.execute(f"ALTER TABLE {side} DROP {name}")
        con.execute("UPDATE run SET schema_version = 1, content = NULL")


def rule(run, name: str):
    """The sign of a pair by the tokens of its prompt, looked up one by one."""
    tokens = run.table("SELECT prompt_id, pos, token_id FROM token").to_pylist()
    ids = {(t["prompt_id"], t["pos"]): t["token_id"] for t in tokens}

    def sign(q, k):
        p, i, j = q["prompt_id"], q["pos"], k["pos"]
        if k["prompt_id"] != p or j >= i or i < (2 if name == "first-token" else 3):
            return None
        if name == "first-token":
            return 1 if j == 0 else -1
        if j == 0 or (name != "previous-token" and ids[p, i] not in [ids[p, n] for n in range(i)]):
            return None
        wanted = {
            "previous-token": j + 1 == i,
            "same-token": ids[p, j] == ids[p, i],
            "induction": ids[p, j - 1] == ids[p, i],
        }
        return 1 if wanted[name] else -1

    return sign


@pytest.mark.parametrize("run", ["all", "few", "encoder"])
@pytest.mark.parametrize("name", NAMES)
def test_their_pairs_are_those_of_a_loop(store, run, name):
    here = store.run(run)
    (contrast,) = store.feature(here, name)
    expected = by_loop(here, rule(here, name))
    assert {sign for *_, sign in expected} == {1, -1}
    assert found(here, contrast) == expected
    other = "induction" if name != "induction" else "same-token"
    assert found(here, contrast) != by_loop(here, rule(here, other))


def test_self_and_the_first_token_are_left_out(store):
    run = store.run("all")
    places = run.query_places[1], run.key_places[1]
    for name in NAMES:
        pairs = found(run, known.BY_NAME[name])
        assert all(places[1][k] < places[0][q] for q, k, _ in pairs)
        at_first = {sign for q, k, sign in pairs if places[1][k] == 0}
        assert at_first == ({1} if name == "first-token" else set())


def test_each_query_counts_the_same(store):
    """By pairs, late queries would be most of the negative side, and their position the feature."""
    run = store.run("all")
    for contrast in known.contrasts(run):
        pairs = qkstore.contrast.pairs(run, contrast)
        both = set(pairs.query[pairs.sign > 0]) & set(pairs.query[pairs.sign < 0])
        of = {(q, s): pairs.weight[(pairs.query == q) & (pairs.sign == s)].sum() for q in both for s in (1, -1)}
        assert max(abs(w - min(of.values())) for w in of.values()) < 1e-9
    plain = qkstore.contrast.pairs(run, known.PREVIOUS.replace(weighting="pair"))
    assert len({(plain.query == q).sum() for q in plain.query}) > 1  # the control


def test_they_are_listed_where_every_token_has_a_key_and_nowhere_else(store, tmp_path):
    for name in ("all", "few", "encoder"):
        assert list(store.features(store.run(name))) == NAMES
    assert not set(NAMES) & set(store.features(store.run("labelled")))
    assert list(store.features(store.run("old"))) == ["previous-token", "first-token"]  # which need no new column
    synthetic.write(tmp_path, "boxes", n=16)
    boxes = qkstore.open(tmp_path)
    assert not set(NAMES) & set(boxes.features(boxes.run("boxes")))


@pytest.mark.parametrize(
    ("run", "name", "says"),
    [
        (
            "labelled",
            "induction",
            "it needs a key at every token, and of 17 tokens 4 have one: ingest .* --positions all",
        ),
        ("labelled", "first-token", "it needs a key at every token"),
        ("old", "induction", "it was made before runs had the column token_before: ingest it anew"),
        ("old", "same-token", "it was made before runs had the column occurred_before: ingest it anew"),
        ("own", "induction", "a label of its data set is called occurred_before, and stands in that column's place"),
    ],
)
def test_what_a_run_lacks_for_one_is_told_in_a_line(store, run, name, says):
    with pytest.raises(ContrastError, match=f"contrast '{name}' does not fit run '{run}': {says}") as error:
        store.feature(store.run(run), name)
    assert "\n" not in str(error.value)


def test_a_run_whose_own_label_has_such_a_name_has_the_others(store):
    run = store.run("own")
    assert run.values("occurred_before", "q") == ["yes"]
    assert list(store.features(run)) == ["previous-token", "first-token"]


def test_a_contrast_of_ones_own_says_that_an_ingest_anew_helps(store):
    mine = Contrast(positive="k.word_start", negative="not k.word_start")
    own = Contrast(pairs="select query_row, key_row, 1 as sign from q, k where k.word_start")
    for contrast in (mine, own):
        assert misfit(store.run("all"), contrast) is None
        assert misfit(store.run("old"), contrast).endswith("made before runs had the column word_start: ingest it anew")
    assert "anew" not in misfit(store.run("old"), mine.replace(positive="k.nope = 1"))  # the control
    for contrast in (mine, own):
        with pytest.raises(GuardError, match="made before runs had the column word_start: ingest it anew") as error:
            qkstore.contrast.pairs(store.run("old"), contrast)
        assert "\n" not in str(error.value)
    with pytest.raises(GuardError) as error:
        qkstore.contrast.pairs(store.run("old"), mine.replace(positive="k.nope = 1", negative="k.nope = 2"))
    assert "anew" not in str(error.value)


def test_one_that_was_saved_under_such_a_name_is_still_asked(store):
    """A catalogue may be older than the built-in; what stands in it under the name goes on working."""
    mine = Contrast("induction", positive="k.pos = 1", negative="k.pos = 2")
    for name in ("all", "labelled"):
        assert builtin.feature(store.run(name), "induction", [mine]) == (mine,)
    assert builtin.feature(store.run("all"), "induction") == (known.INDUCTION,)
    assert all(builtin.taken(name) for name in NAMES)
    assert not builtin.taken("induction of mine")


def test_they_read_back_and_are_described_in_a_sentence(store):
    for contrast in known.contrasts(store.run("all")):
        assert contrast.sentence().startswith("Queries whose pos is above")
        assert contrast.description.count(".") == 1
        assert contrast.description.endswith(".")


def test_the_command_lists_them(store, capsys):
    assert cli.main(["contrasts", "--store", str(store.path), "--run", "all"]) == 0
    told = capsys.readouterr().out
    assert all(f"{name}: Queries whose" in told for name in NAMES)
    assert cli.main(["contrasts", "--store", str(store.path), "--run", "labelled"]) == 0
    assert "induction" not in capsys.readouterr().out
