"""`python -m ingest paper`: the paper's runs for one model, whole or scaled, resumed, and every mistake in one line."""

from __future__ import annotations

from collections import Counter

import models
import numpy as np
import pytest
import torch

import qkstore
from ingest import job, paper
from ingest.__main__ import main
from ingest.prompts import boxes, lists
from qkstore.contrast import builtin, pairs
from qkstore.errors import PromptError, RunError

torch.set_num_threads(1)
TEXT = [p.text for p in (*boxes.build(40, "both", 0, n_test=20), *lists.build(40, 0, n_test=20))]


def asked(store, where, *more) -> list[str]:
    return ["paper", "--store", str(store), "--model", str(where), "--scale", "0.05", *more]


def counts(run) -> dict[tuple[str, str], int]:
    return Counter((r["split"], r["variant"]) for r in run.table("SELECT split, variant FROM prompt").to_pylist())


# -- the programme ---------------------------------------------------------------------------------------------------


def test_the_papers_sizes():
    listed, *boxed = paper.parts("demo")
    assert [p.run for p in (listed, *boxed)] == [
        "demo-paper-lists",
        "demo-paper-boxes-ent",
        "demo-paper-boxes-ord",
        "demo-paper-boxes-both",
    ]
    assert (listed.n, listed.n_test) == (2000, 1000)
    assert {(p.n, p.n_test) for p in boxed} == {(3000, 1000)}
    of = Counter((p.split, p.variant) for p in boxed[0].prompts().prompts)
    train = {("train", v): 3000 for v in ("base", "counterfactual", "reflexive", "fixed")}
    assert of == train | {("test", v): 1000 for v in ("base", "counterfactual", "reflexive")}
    prompts = listed.prompts().prompts
    words = {
        s: {x.labels["item"] for p in prompts if p.split == s for x in p.spans if x.role == "item"}
        for s in ("train", "test")
    }
    assert len({p.labels["queried_category"] for p in prompts}) == 13
    assert not words["train"] & words["test"]
    assert len(prompts) == 3000


def test_other_models_have_one_kind_of_question_and_their_own_names():
    for where, name in (
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b-instruct"),
        ("./My Model/", "my-model"),
        ("...", "paper"),
    ):
        assert [p.run for p in paper.parts(where)] == [f"{name}-lists", f"{name}-boxes-ent"]
    assert [p.run for p in paper.parts("x/y", "mine", ("ord", "both", "ord"))] == [
        "mine-lists",
        "mine-boxes-ord",
        "mine-boxes-both",
    ]


@pytest.mark.parametrize(
    ("scale", "n"), [(0.1, (200, 300, 100)), (0.0501, (101, 151, 51)), (0.07, (140, 210, 70)), (2, (4000, 6000, 2000))]
)
def test_a_scale_rounds_up(scale, n):
    listed, boxed = paper.parts("x/y", scale=scale)
    assert (listed.n, boxed.n, boxed.n_test) == n
    assert listed.n_test == boxed.n_test


@pytest.mark.parametrize("scale", [0.049, 0, -1, float("nan"), float("inf")])
def test_too_few_prompts_are_refused(scale):
    with pytest.raises(PromptError, match=r"^scale \S+: 0.05 is the least, which leaves 50 test prompts a run"):
        paper.parts("x/y", scale=scale)


# -- from folders as they are downloaded -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    path = tmp_path_factory.mktemp("downloads")
    return {
        f: models.download(path / f"{f}-tiny", f, TEXT, sharded=f == "llama", jinja=f == "qwen") for f in models.MARKS
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory, folders):
    """Both families, Llama in bfloat16 and Qwen in float32."""
    path = tmp_path_factory.mktemp("store")
    assert main(asked(path, folders["llama"], "--dtype", "bfloat16", "--batch-size", "64")) == 0
    assert main(asked(path, folders["qwen"], "--dtype", "float32", "--layers", "1", "--batch-size", "64")) == 0
    return qkstore.open(path)


def test_the_command_makes_the_runs_of_a_downloaded_model(store):
    assert [r.name for r in store.runs()] == [
        "llama-tiny-boxes-ent",
        "llama-tiny-lists",
        "qwen-tiny-boxes-ent",
        "qwen-tiny-lists",
    ]
    run = store.run("llama-tiny-boxes-ent")
    assert (run.dtype, run.n_heads, run.n_kv_heads, list(run.layers)) == ("bfloat16", 6, 2, [0, 1])
    assert counts(run) == {("train", v): 150 for v in ("base", "counterfactual", "reflexive", "fixed")} | {
        ("test", v): 50 for v in ("base", "counterfactual", "reflexive")
    }
    assert list(store.run("qwen-tiny-lists").layers) == [1]
    assert store.run("qwen-tiny-lists").dtype == "float32"


@pytest.mark.parametrize(("family", "dtype"), [("llama", "float32"), ("qwen", "bfloat16")])
def test_the_other_dtype_of_either_family_gives_the_same_prompts(store, folders, tmp_path, family, dtype):
    assert main(asked(tmp_path, folders[family], "--dtype", dtype, "--layers", "1", "--batch-size", "64")) == 0
    for part in ("lists", "boxes-ent"):
        run, other = qkstore.open(tmp_path).run(f"{family}-tiny-{part}"), store.run(f"{family}-tiny-{part}")
        assert run.dtype == dtype != other.dtype
        assert run.table("SELECT * FROM token").equals(other.table("SELECT * FROM token"))
        q, q_other = run.queries(1, 0), other.queries(1, 0)
        # rounded otherwise, and no more
        assert np.abs(q - q_other).max() < 0.05 * np.abs(q).max()
        assert not np.array_equal(q, q_other)


@pytest.mark.parametrize(("run", "bos"), [("llama-tiny-boxes-ent", "template"), ("qwen-tiny-boxes-ent", "none")])
def test_prompts_stand_in_the_chat_template_once(store, run, bos):
    run = store.run(run)
    text = run.table("SELECT text FROM prompt").column("text").to_pylist()
    assert run.bos == bos
    assert run.chat_template
    assert all(t.endswith("Answer: box") and t.count("user") == 1 for t in text)
    assert all(t.count("<|begin_of_text|>") == (bos == "template") for t in text)


def test_every_built_in_contrast_has_both_sides_on_both_splits(store):
    """Entities fall into several tokens, boxes into one with its blank; pairs are as many as the prompts say."""
    run = store.run("llama-tiny-boxes-ent")
    for name, (train, test) in {
        "order": ((150, 8 * 150), (50, 8 * 50)),
        "lexical": ((150,) * 2, (50,) * 2),
        "reflexive": ((150,) * 2, (50,) * 2),
    }.items():
        for split, (n_pos, n_neg) in (("train", train), ("test", test)):
            (contrast,) = builtin.feature(run, name)
            assert pairs(run, contrast, split).counts[2:] == (n_pos, n_neg)
    several = run.table(
        "SELECT max(n) AS n FROM (SELECT count(*) AS n FROM token WHERE role = 'entity' GROUP BY prompt_id, span)"
    ).to_pylist()
    assert several[0]["n"] > 1, "the control: this tokenizer does cut entities"
    listed = store.run("llama-tiny-lists")
    assert len(store.feature(listed, "category:*")) == 13
    assert pairs(listed, builtin.CATEGORY, "test").counts[2:] == (5 * 50, 20 * 50)


def test_what_is_there_is_skipped_and_what_is_missing_made(store, folders, capsys, monkeypatch, tmp_path):
    where = tmp_path / "s"
    again = asked(where, folders["llama"], "--dtype", "bfloat16", "--batch-size", "64")
    assert main(again) == 0
    assert "was there" not in capsys.readouterr().out
    path = where / "runs" / "llama-tiny-boxes-ent.duckdb"
    before = path.read_bytes()
    (where / "runs" / "llama-tiny-lists.duckdb").unlink()
    assert main(again) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("llama-tiny-lists.duckdb")
    assert second.endswith("boxes-ent.duckdb (was there)")
    assert path.read_bytes() == before
    monkeypatch.setattr(paper.model, "load", lambda *_: pytest.fail("nothing is missing, so no model is loaded"))
    assert main(again) == 0


def test_an_interrupted_programme_goes_on_where_it_stopped(tmp_path, folders):
    class Stop(Exception):
        pass

    def stop(stage, done, total, now=""):
        if stage == "qwen-tiny-boxes-ent: capture" and done == 3:
            raise Stop

    programme, options = paper.parts(str(folders["qwen"]), scale=0.05), job.Options(batch_size=64)
    with pytest.raises(Stop):
        paper.build(tmp_path, str(folders["qwen"]), programme, options, progress=stop)
    assert [r.name for r in qkstore.open(tmp_path).runs()] == ["qwen-tiny-lists"]
    stages = []
    made = paper.build(
        tmp_path,
        str(folders["qwen"]),
        programme,
        options,
        progress=lambda stage, *_, **__: stages.append(stage),
    )
    assert made == ["qwen-tiny-boxes-ent"]
    assert "qwen-tiny-lists: capture" not in stages


def test_the_demo_model_goes_through_the_same_command(tmp_path):
    assert main(asked(tmp_path, "demo", "--questions", "both", "--prefix", "p", "--batch-size", "128")) == 0
    runs = {r.name: r for r in qkstore.open(tmp_path).runs()}
    assert set(runs) == {"p-lists", "p-boxes-both"}
    assert {r.model for r in runs.values()} == {"demo"}
    assert runs["p-boxes-both"].chat_template is None
    assert "reflexive" in qkstore.open(tmp_path).features(runs["p-boxes-both"])


# -- mistakes --------------------------------------------------------------------------------------------------------

MISTAKES = {  # what is wrong: (options, what the one line says)
    "a scale below the least": (["--scale", "0.01"], "scale 0.01: 0.05 is the least"),
    "a scale that is no number": (["--scale", "small"], "'small' is no number"),
    "a question that is none": (["--questions", "ent,od"], "no question 'od': did you mean 'ord'"),
    "no question at all": (["--questions", ","], "no question; there are: both, ent, ord"),
    "a prefix that names no run": (["--prefix", "a/b"], "run name 'a/b-lists'"),
    "layers that are not there": (["--layers", "1-7"], "there is no layer 2; the model has layers 0-1"),
    "a device that is not there": (["--device", "cuda:99"], "device 'cuda:99': this machine"),
    "a model that is nowhere": (["--model", "./nowhere"], "there is no model folder ./nowhere"),
    "memory without a unit": (["--limit-memory", "8"], "such as 8GB"),
    "a dtype that is none": (["--dtype", "int8"], "invalid choice: 'int8'"),
}


@pytest.mark.parametrize(("options", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_makes_nothing(tmp_path, folders, capsys, options, says):
    assert main(asked(tmp_path, folders["qwen"], *options)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert says in error
    assert not list(tmp_path.glob("runs/*.duckdb"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (dict(scale=0.06), "number of prompts is 150, not 180"),
        (dict(dtype="bfloat16"), "dtype is float32, not bfloat16"),
        (dict(other=True), "weights' hash"),
    ],
)
def test_a_run_of_that_name_that_holds_something_else_is_not_taken_for_it(store, folders, tmp_path, change, says):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "x-lists.duckdb").symlink_to(store.path / "runs" / "qwen-tiny-lists.duckdb")
    where = str(folders["llama" if "other" in change else "qwen"])
    programme = paper.parts(where, "x", scale=change.get("scale", 0.05))
    with pytest.raises(RunError, match=f"run 'x-lists' is in the store already, and its {says}.*another --prefix"):
        paper.build(tmp_path, where, programme, dtype=change.get("dtype", "float32"))
