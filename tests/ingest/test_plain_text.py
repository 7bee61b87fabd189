"""Plain text as a task: the pieces are the text, each tokenised as it is there, and the splits meet in one place."""

from __future__ import annotations

from itertools import pairwise

import models
import pytest
import torch
from conftest import ROOT

import qkstore
from ingest.__main__ import main
from ingest.prompts import task, text
from qkstore.errors import PromptError

torch.set_num_threads(1)
TEXT = "\n".join(
    (ROOT / "docs" / name).read_text() for name in ("deploy.md", "security.md")
)  # words, marks, code, tables
ODD = "été \u2019 犬が好き, naïve…\n\n\t— “x”  don't " * 40
TOKENIZERS = {
    "bytes": lambda t: models.byte_tokenizer([t]),
    "trimmed bytes": lambda t: models.byte_tokenizer([t], bos=False, trim=True),
    "metaspace": lambda t: models.metaspace_tokenizer([t]),
    "word pieces": lambda t: models.wordpiece_tokenizer([t]),
    "words": lambda t: models.word_tokenizer(t.split()),
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param](TEXT + ODD)


def alone(tokenizer, piece: str) -> list[int]:
    return tokenizer(piece, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("said", [TEXT, ODD], ids=["docs", "odd"])
@pytest.mark.parametrize("most", [8, 33, 128])
def test_the_pieces_are_the_text_and_have_no_more_tokens_than_was_said(tokenizer, said, most):
    pieces = [p.text for p in text.build(said.strip(), tokenizer, most, "t")]
    assert "".join(pieces) == said.strip()
    lengths = [len(tokenizer(piece)["input_ids"]) for piece in pieces]  # with special tokens
    assert max(lengths) <= most
    if said is TEXT and most == 128:
        assert sorted(lengths)[1] > most // 2, "all but the last are full"


@pytest.mark.parametrize("name", ["bytes", "words"])
def test_a_piece_alone_is_tokenised_as_it_is_in_the_text(name):
    made = TOKENIZERS[name](TEXT)
    pieces = text.cut(TEXT.strip(), made, 64)
    assert [i for piece in pieces for i in alone(made, piece)] == alone(made, TEXT.strip())
    blind = [TEXT.strip()[i : i + 200] for i in range(0, len(TEXT.strip()), 200)]  # the control: cut by characters
    assert [i for piece in blind for i in alone(made, piece)] != alone(made, TEXT.strip())


def test_no_word_is_cut(tokenizer):
    pieces = text.cut(TEXT.strip(), tokenizer, 64)
    cut = [a.split()[-1] + b.split()[0] for a, b in pairwise(pieces) if a[-1].isalnum() and b[0].isalnum()]
    assert all(len(alone(tokenizer, word)) > 32 for word in cut), "but one that is longer than half a piece"
    assert len(pieces) > 20


def test_the_test_split_is_the_last_quarter_and_meets_train_in_one_place():
    prompts = text.build(TEXT.strip(), TOKENIZERS["bytes"](TEXT), 32, "t")
    splits = [p.split for p in prompts]
    assert splits == sorted(splits, reverse=True)
    assert splits.count("test") == len(splits) // 4
    assert [p.id for p in prompts] == [f"piece-{i}" for i in range(len(prompts))]
    neighbours = sum(a != b for a, b in pairwise(splits))
    interleaved = ["test" if i % 4 == 3 else "train" for i in range(len(splits))]  # the control
    assert neighbours == 1 < sum(a != b for a, b in pairwise(interleaved))


MISTAKES = {
    "empty": (b" \n\t ", "is empty"),
    "no UTF-8": (b"jam \xff hat", "is not UTF-8: byte 4 is 0xff"),
    "UTF-16": ("jam".encode("utf-16"), "is not UTF-8: byte 0 is 0xff"),
    "JSON lines": (b'{"text": "the jam"}\n{"text": "the hat"}\n', r"holds lines of JSON: call it mine\.jsonl"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_file_that_is_no_text_is_one_line(tmp_path, what):
    content, says = MISTAKES[what]
    (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(PromptError, match=says) as error:
        task.of(str(tmp_path / "mine.txt"), 1, 1, None, 0)
    assert "\n" not in str(error.value)
    (tmp_path / "mine.txt").write_bytes(b'{"not": "a prompt"} and more')  # the control
    assert task.of(str(tmp_path / "mine.txt"), 1, 1, None, 0).cut


def test_a_file_that_is_not_there_or_too_large_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(PromptError, match=r"no\.txt cannot be read: No such file"):
        text.read(tmp_path / "no.txt")
    (tmp_path / "large.txt").write_text("jam " * 100)
    assert text.read(tmp_path / "large.txt")
    monkeypatch.setattr(text, "MOST_BYTES", 99)
    with pytest.raises(PromptError, match="has more than 0 MB; take a part of it"):
        text.read(tmp_path / "large.txt")


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (7, "pieces of 7 tokens: give --tokens 8 or more"),
        (10**9, "text t has 1 pieces of 1000000000 tokens; 4 are needed, the last for the test split"),
        (400, "text t has 3 pieces of 400 tokens; 4 are needed"),
    ],
)
def test_a_number_of_tokens_that_cannot_be_is_one_line(tokens, says):
    with pytest.raises(PromptError, match=says) as error:
        text.build("jam hat " * 500, models.word_tokenizer(["jam", "hat"]), tokens, "t")
    assert "\n" not in str(error.value)
    assert len(text.build("jam hat " * 500, models.word_tokenizer(["jam", "hat"]), 250, "t")) == 4  # the control


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return models.folder(tmp_path_factory.mktemp("model"), ["the", "jam", "is", "in", "hat", "."])


def ingest(store, folder, *more: str, run: str = "a") -> int:
    return main(["model", "--store", str(store), "--run", run, "--model", str(folder), *more])


def test_a_text_is_a_run_of_keys_at_every_token_and_a_sample_of_queries(tmp_path, folder):
    (tmp_path / "mine.txt").write_text("the jam is in the hat . " * 40)
    assert ingest(tmp_path, folder, "--task", str(tmp_path / "mine.txt"), "--tokens", "20", "--sample", "5") == 0
    run = qkstore.open(tmp_path).run("a")
    assert (run.task, run.positions, run.query_roles) == ("mine.txt", "all", ["all"])
    assert run.settings["sample"] == {"n": 5, "seed": 0}
    assert run.n_keys == run.n_tokens == 280
    assert run.n_queries == 5 * run.n_prompts == 5 * 14
    assert run.splits == ["train", "test"]
    assert (run.token_labels, run.prompt_labels) == ([], []), "nobody's labels, and no answers"
    assert "induction" in qkstore.open(tmp_path).features(run)


def test_what_the_command_refuses_is_one_line(tmp_path, folder, capsys):
    (tmp_path / "short.txt").write_text("the jam")
    for more, says in (
        (("--task", str(tmp_path / "short.txt")), "text short.txt has 1 pieces of 128 tokens"),
        (("--task", "boxes", "--tokens", "9"), "--tokens 9 is of repeats and of a text file, and --task is boxes"),
        (("--task", "repeats", "--tokens", "1"), "0 words, said twice: possible are 2 to 98"),
        (("--task", "repeats", "--tokens", "99999"), "49,999 words, said twice: possible are 2 to 98"),
        (("--task", "repeats", "--positions", "labelled"), "no token has a role, so no key would be stored"),
    ):
        assert ingest(tmp_path / "store", folder, *more) == 2
        told = capsys.readouterr().err
        assert says in told
        assert "Traceback" not in told
    assert not list((tmp_path / "store" / "runs").glob("*.duckdb"))
