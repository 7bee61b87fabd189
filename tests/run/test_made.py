"""The columns of q and k that are made of the tokens: against a loop, on odd texts, and runs that lack them."""

from __future__ import annotations

import unicodedata

import duckdb
import numpy as np
import polars as pl
import pytest
import synthetic
import toys

import qkstore
from qkstore.errors import StoreError
from qkstore.run import Run, manifest, schema, sides
from qkstore.run.incoming import labels

# Tokens of a text as (text, start, end): of a tokenizer that keeps a blank with the word behind it, and of one that
# cuts words anywhere, has a token for a byte, and adds special ones.
TEXT = "Don't stop — l'été, “x_1” = 2.5! 犬が"
KEPT = ["Don", "'t", " stop", " —", " l", "'", "ét", "é", ",", " “", "x", "_1", "”", " =", " ", "2", ".", "5", "!",
        " 犬", "が"]  # fmt: skip
STARTS = {"Don", " stop", " l", "x", "2", "5", " 犬"}  # 5: a full stop ends a word


def tokens(texts: list[str], prompt_id: int = 0, at: int = 0) -> list[dict]:
    rows = []
    for pos, text in enumerate(texts):
        rows.append(dict(prompt_id=prompt_id, pos=pos, text=text, char_start=at, char_end=at + len(text)))
        at += len(text)
    return rows


def data(prompts: list[list[dict]], texts: list[str], stored=lambda row: True, **columns) -> synthetic.Synthetic:
    """A run of these tokens with noise for vectors; every token that is `stored` is a query and a key."""
    made = synthetic.synthetic(8, n_layers=1, n_heads=1, n_kv_heads=1)
    ids: dict[str, int] = {}
    rows = [{"token_id": ids.setdefault(row["text"].strip(), len(ids))} | row for rows in prompts for row in rows]
    made.tokens = pl.DataFrame(rows).with_columns(role=pl.lit(None, pl.String), **columns)
    made.prompts = pl.DataFrame({"prompt_id": range(len(texts)), "text": texts, "split": "train", "variant": "base"})
    places = pl.DataFrame([{n: row[n] for n in ("prompt_id", "pos")} for row in rows if stored(row)])
    made.query_rows, made.key_rows = (places.with_row_index(f"{side}_row") for side in ("query", "key"))
    rng, n = np.random.default_rng(0), len(places)
    made.q, made.k = (rng.normal(size=(1, 1, n, synthetic.D)).astype(np.float32) for _ in "qk")
    made.logsumexp = np.zeros((1, 1, n))
    made.batches = lambda: [(0, np.arange(n), np.arange(n), made.q, made.k, made.logsumexp)]
    return made


def of(path, made: synthetic.Synthetic, side: str = "k") -> pl.DataFrame:
    synthetic.write(path, "a", data=made)
    return pl.from_arrow(qkstore.open(path).run("a").table(f"SELECT * FROM {side} ORDER BY {side}ey_row"))


def by_loop(rows: list[dict], text: str) -> list[dict]:
    """The same columns in Python, from the prompt's text and what Unicode says of its characters."""

    def kind(c: str) -> str:
        return unicodedata.category(c)[0] if c else ""

    out = []
    for i, row in enumerate(rows):
        inner = row["text"].strip()
        first = row["char_start"] + len(row["text"]) - len(row["text"].lstrip())
        before, two = text[max(first - 1, 0) : first], text[max(first - 2, 0) : first]
        inside = (
            kind(before) in ("L", "N", "M")
            or before == "_"
            or (before in ("'", "\u2019") and kind(two[0]) in ("L", "N"))
        )
        shared = i > 0 and rows[i - 1]["char_end"] > first
        written = row["char_end"] > row["char_start"]
        out.append(
            dict(
                text_before=rows[i - 1]["text"] if i else None,
                text_after=rows[i + 1]["text"] if i + 1 < len(rows) else None,
                occurred_before=inner in [r["text"].strip() for r in rows[:i]],
                word_start=bool(written and inner and kind(inner[0]) in ("L", "N") and not inside and not shared),
                punctuation=bool(
                    written and inner and all(kind(c) == "P" or c in "$+<=>^`|~" or c == " " for c in inner)
                ),
            )
        )
    return out


def test_words_and_punctuation_of_odd_texts(tmp_path):
    rows = tokens(KEPT)
    rows[6]["text"], rows[6]["char_end"] = "été", rows[6]["char_start"] + 3  # two tokens of bytes that share an é
    rows[7] |= dict(text="é", char_start=rows[6]["char_start"] + 2, char_end=rows[6]["char_end"])
    found = of(tmp_path, data([rows], [TEXT]))
    assert set(found.filter("word_start")["token"]) == STARTS
    assert set(found.filter("punctuation")["token"]) == {" —", "'", ",", " “", "”", " =", ".", "!"}
    names = list(by_loop(rows, TEXT)[0])
    assert found.select(names).to_dicts() == by_loop(rows, TEXT)
    assert by_loop(rows, TEXT.replace("'", " ")) != by_loop(rows, TEXT)  # the control: in "Don t", t is a word


def test_a_trimming_tokenizer_has_the_same_words(tmp_path):
    kept = [row for row in tokens(KEPT) if row["text"].strip()]
    trimmed = [
        row | dict(text=(word := row["text"].strip()), char_start=row["char_end"] - len(word), pos=i)
        for i, row in enumerate(kept)
    ]
    found = of(tmp_path, data([trimmed], [TEXT]))
    assert set(found.filter("word_start")["token"]) == {word.strip() for word in STARTS}
    untold = [
        row | dict(char_start=0, char_end=0) for row in trimmed
    ]  # the control: it is of characters, not of tokens
    assert not of(tmp_path / "untold", data([untold], [TEXT]))["word_start"].any()


def test_the_special_tokens_of_a_model_are_no_words(tmp_path):
    special = [dict(prompt_id=0, pos=0, text="[CLS]", char_start=0, char_end=0), *tokens(["jam", "!"])]
    special = [row | dict(pos=i) for i, row in enumerate([*special, special[0]])]
    found = of(tmp_path, data([special], ["jam!"]))
    assert found["word_start"].to_list() == [False, True, False, False]
    assert found["punctuation"].to_list() == [False, False, True, False]
    assert found["occurred_before"].to_list() == [False, False, False, True]


def test_neighbours_are_the_prompts_own_also_those_that_are_not_stored(tmp_path):
    prompts = [tokens(["the", " jam", " the", " jam"], 0), tokens([" jam", " hat"], 1)]
    every = data(prompts, ["the jam the jam", " jam hat"])
    some = data(prompts, ["the jam the jam", " jam hat"], stored=lambda row: row["pos"] % 2 == 1)
    found, few = of(tmp_path / "all", every), of(tmp_path / "some", some)
    assert found["text_before"].to_list() == [None, "the", " jam", " the", None, " jam"]
    assert found["text_after"].to_list() == [" jam", " the", " jam", None, " hat", None]
    assert found["token_before"].to_list() == [None, 0, 1, 0, None, 1]
    assert found["token_after"].to_list() == [1, 0, 1, None, 2, None]
    assert found["occurred_before"].to_list() == [False, False, True, True, False, False]
    odd = found.filter(pl.col("pos") % 2 == 1)
    assert few.drop("key_row").equals(odd.drop("key_row"))
    assert few["token_before"].to_list() != few["token_id"].shift(1).to_list()  # the control: of stored rows alone


def test_slices_of_prompts_give_the_same(tmp_path, monkeypatch):
    made = [synthetic.synthetic(24) for _ in range(2)]
    synthetic.write(tmp_path, "one", data=made[0])
    monkeypatch.setattr(labels, "SLICE", 60)
    assert len(list(labels._slices(made[1].tokens))) > 5
    synthetic.write(tmp_path, "many", data=made[1])
    one, many = (qkstore.open(tmp_path).run(name) for name in ("one", "many"))
    for side in "qk":
        assert one.table(f"SELECT * FROM {side}").equals(many.table(f"SELECT * FROM {side}"))
    assert one.content == many.content
    assert len(one.table("SELECT * FROM k")) == one.n_keys  # the control: all that there are
    monkeypatch.setattr(labels, "_slices", lambda tokens: [(0, 3)])
    with pytest.raises(AssertionError, match="q has 4 rows of 24"):
        synthetic.write(tmp_path, "part", data=synthetic.synthetic(24))


@pytest.mark.parametrize("name", ["punctuation", "Punctuation"])
def test_a_label_of_such_a_name_is_kept(tmp_path, name):
    made = data([tokens(["a", " !"])], ["a !"], **{name: pl.Series(["mine", "too"])})
    found = of(tmp_path, made)
    assert found[name].to_list() == ["mine", "too"]
    assert [column for column in found.columns if column.lower() == "punctuation"] == [name]
    run = qkstore.open(tmp_path).run("a")
    assert "punctuation" not in run.manifest.made
    assert set(run.manifest.made) == set(sides.MADE) - {"punctuation"}  # the control: the others are there
    assert not run.changed()


# -- runs that were made before ----------------------------------------------------------------------------------------


def older(path, version: int) -> None:
    """Make a run file what an older qkstore had made."""
    with duckdb.connect(str(path)) as con:
        for side in "qk":
            for name in sides.MADE:
                con.execute(f"ALTER TABLE {side} DROP {name}")
        con.execute(f"UPDATE run SET schema_version = {version}, content = NULL")


@pytest.fixture
def old(tmp_path):
    synthetic.write(tmp_path, "old", data=synthetic.synthetic(8))
    older(tmp_path / "runs/old.duckdb", 1)
    return tmp_path


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_run_is_read(old, version):
    with duckdb.connect(str(old / "runs/old.duckdb")) as con:
        con.execute(f"UPDATE run SET schema_version = {version}")
    run = qkstore.open(old).run("old")
    assert run.manifest.made == ()
    assert not set(sides.MADE) & set(run.columns["k"])
    assert run.keys(0, 0).shape == (32, synthetic.D)
    assert run.labels("k", ["token", "box"], np.arange(3)).num_rows == 3


def test_columns_and_version_belong_together(old, tmp_path):
    """Version 3 without the columns is damaged, and so is an older one that has them."""
    with duckdb.connect(str(old / "runs/old.duckdb")) as con:
        con.execute("UPDATE run SET schema_version = 3")
    with pytest.raises(StoreError, match="column token_before of its table q is not there, not INTEGER"):
        Run(old / "runs/old.duckdb")
    synthetic.write(tmp_path, "new", data=synthetic.synthetic(8))
    with duckdb.connect(str(tmp_path / "runs/new.duckdb")) as con:
        con.execute("UPDATE run SET schema_version = 2")
    with pytest.raises(StoreError, match="holds column .* of table [qk], which no run has") as error:
        Run(tmp_path / "runs/new.duckdb")
    assert "\n" not in str(error.value)


def test_an_older_qkstore_says_that_the_run_is_newer(tmp_path, monkeypatch):
    synthetic.write(tmp_path, "new", data=synthetic.synthetic(8))
    assert Run(tmp_path / "runs/new.duckdb").schema_version == 3
    monkeypatch.setattr(manifest, "NEWEST_VERSION", 2)
    with pytest.raises(StoreError, match="is of version 3, this qkstore reads up to 2: upgrade qkstore"):
        Run(tmp_path / "runs/new.duckdb")


def test_a_toy_run_has_no_vocabulary(tmp_path):
    run = qkstore.open(toys.write(tmp_path, variants=("discrete",), ranks=((2, 3),))).runs()[0]
    found = pl.from_arrow(run.table("SELECT * FROM k"))
    assert found["text_before"].drop_nulls().len() > 0
    assert (
        found.select("token_id", "token_before", "token_after", "occurred_before").null_count().row(0)
        == (len(found),) * 4
    )
    assert not found["punctuation"].any()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_prompts(tmp_path):
    """Half a million tokens in 60 MB, by slices; the control: all at once takes more."""

    def filled(name: str, step: int) -> int:
        config = {"memory_limit": "60MB", "threads": "1", "temp_directory": str(tmp_path / f"{name}-tmp")}
        with duckdb.connect(str(tmp_path / name), config=config) as con:
            for statement in [*schema.run_tables(4, {}, {}), *sides.side_tables({}, {})]:
                con.execute(statement)
            con.execute(
                "INSERT INTO prompt BY NAME SELECT i::INTEGER AS prompt_id, repeat('the jam ', 250) AS text, "
                "'train' AS split FROM range(2000) AS t(i)"
            )
            con.execute(
                "INSERT INTO token BY NAME SELECT (i // 250)::INTEGER AS prompt_id, (i % 250)::INTEGER AS pos, "
                "(hash(i) % 1000)::INTEGER AS token_id, 'jam ' AS text, (i % 250 * 4)::INTEGER AS char_start, "
                "(i % 250 * 4 + 4)::INTEGER AS char_end FROM range(500000) AS t(i)"
            )
            for side in ("query", "key"):
                con.execute(f"INSERT INTO {side}_row SELECT i, i // 250, i % 250 FROM range(500000) AS t(i)")
            con.execute("CHECKPOINT")
            for first in range(0, 2000, step):
                for statement in sides.side_rows([], []):
                    con.execute(statement, {"first": first, "last": first + step - 1})
            return con.execute("SELECT count(*) FROM k").fetchall()[0][0]

    assert filled("slices", labels.SLICE // 250) == 500_000
    with pytest.raises(duckdb.OutOfMemoryException):
        filled("whole", 2000)
