"""A user's JSONL: what it gives, and that a broken line is named by its number."""

from __future__ import annotations

import json

import pytest

from ingest.prompts import Prompt, Span, check, read_jsonl
from qkstore.errors import PromptError

GOOD = {
    "text": "the lime is a fruit",
    "split": "train",
    "queried_category": "fruit",
    "spans": [{"start": 4, "end": 8, "role": "item", "category": "fruit", "rank": 1}],
}


def write(path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "prompts.jsonl"


def test_a_line_becomes_a_prompt(file):
    line = GOOD | {"id": 7, "variant": "shuffled", "answer": "lime", "weight_kg": 0.5, "known": True, "note": None}
    (prompt,) = read_jsonl(write(file, line))
    assert prompt == Prompt(
        "the lime is a fruit",
        (Span(4, 8, "item", {"category": "fruit", "rank": 1}),),
        id="7",
        variant="shuffled",
        answer="lime",
        labels={"queried_category": "fruit", "weight_kg": 0.5, "known": True},
    )


def test_blank_lines_a_byte_order_mark_and_unicode_pass(file):
    file.write_bytes(
        "\ufeff".encode()
        + b"\n"
        + json.dumps({"text": "東京 ☃"}, ensure_ascii=False).encode()
        + b"\r\n\n"
        + b'{"text": "b"}\n'
    )
    assert [p.text for p in read_jsonl(file)] == ["東京 ☃", "b"]


def test_messages_give_the_last_ones_content(file):
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "a lime"}]
    (prompt,) = read_jsonl(write(file, {"messages": messages, "spans": [{"start": 2, "end": 6, "role": "item"}]}))
    assert prompt.text == "a lime"
    assert prompt.messages == tuple(messages)


def test_counterfactuals_may_come_before_what_they_are_of(file):
    prompts = read_jsonl(write(file, {"text": "a", "counterfactual_of": 2}, {"text": "b", "id": 2}))
    assert prompts[0].counterfactual_of == "2"
    assert prompts[1].id == "2"


def test_labels_are_typed_by_their_values():
    prompts = [
        Prompt("abc", (Span(0, 1, "x", {"n": 1, "f": 1, "s": "a"}),), labels={"b": True}),
        Prompt("abc", (Span(0, 1, "x", {"f": 0.5}),)),
    ]
    types = check(prompts)
    assert types.token == {"n": int, "f": float, "s": str}
    assert types.prompt == {"b": bool}


SPAN = {"start": 4, "end": 8, "role": "item"}
BROKEN = {  # name: (a line that is wrong, what the error says of it)
    "not JSON": ('{"text": "a", ', "is not JSON"),
    "a label of 5,000 digits": ('{"text": "a", "n": ' + "9" * 5000 + "}", "a number of 5,000 digits"),
    "an id of 5,000 digits": ('{"text": "a", "id": -' + "9" * 5000 + "}", "a number of 5,001 digits"),
    "a span from 50 digits": ('{"text": "a", "spans": [{"start": ' + "9" * 50 + "}]}", "a number of 50 digits"),
    "not an object": ('["a"]', "a prompt is an object"),
    "a field twice": ('{"text": "a", "x": 1, "x": 2}', "the field 'x' stands there twice"),
    "no text": ({"spans": []}, "there is no 'text'"),
    "empty text": ({"text": ""}, "the text is empty"),
    "text of another type": ({"text": 3}, "'text' is text, this is 3"),
    "text and messages": ({"text": "a", "messages": [{"role": "user", "content": "a"}]}, "exclude each other"),
    "no message": ({"messages": []}, "'messages' is a list"),
    "a message without content": ({"messages": [{"role": "user"}]}, "a text 'content'"),
    "a split of its own": ({"text": "a", "split": "validation"}, "split 'validation'; there are: test, train"),
    "an answer that is no text": ({"text": "a", "answer": 3}, "'answer' is text, this is 3"),
    "spans that are no list": (GOOD | {"spans": {"start": 1}}, "'spans' is a list"),
    "a span that is no object": (GOOD | {"spans": [4]}, "a span is an object"),
    "a span without an end": (GOOD | {"spans": [{"start": 4, "role": "item"}]}, "'end' is a whole number"),
    "a span at a fraction": (GOOD | {"spans": [SPAN | {"start": 1.5}]}, "'start' is a whole number"),
    "a span at true": (GOOD | {"spans": [SPAN | {"start": True}]}, "'start' is a whole number"),
    "a span without a role": (GOOD | {"spans": [{"start": 4, "end": 8}]}, "the span 4–8 has no role"),
    "a span of nothing": (GOOD | {"spans": [SPAN | {"end": 4}]}, "start < end"),
    "a span before its text": (GOOD | {"spans": [SPAN | {"start": -1}]}, "start < end, from 0"),
    "a span outside its text": (
        GOOD | {"spans": [SPAN | {"end": 99}]},
        "the span 4–99 lies outside its text of 19 characters",
    ),
    "a reserved span label": (GOOD | {"spans": [SPAN | {"pos": 3}]}, "span label 'pos' is a name the store uses"),
    "a reserved label, in capitals": (GOOD | {"Layer": 3}, "prompt label 'Layer' is a name the store uses"),
    "a label that is no column": (GOOD | {"my label": 1}, "'my label' cannot be a column"),
    "a label that differs in case": (GOOD | {"Queried_Category": "fruit"}, "differ in case only"),
    "a label that is a list": (GOOD | {"topic": ["a"]}, r"prompt label 'topic' is \['a'\]"),
    "a number too large": (GOOD | {"big": 2**70}, "more than 64 bits"),
    "NaN": ('{"text": "a", "x": NaN}', "NaN is not a value of JSON"),
    "a number beyond all": ('{"text": "a", "x": 1e999}', "'x' is inf, which is no number"),
    "half a character": ('{"text": "a\\ud83c"}', "half of a character"),
    "another type than before": (
        GOOD | {"queried_category": 3},
        "'queried_category' is 3, a whole number; before it was text",
    ),
    "true where a number was": (
        GOOD | {"spans": [SPAN | {"rank": True}]},
        "'rank' is True, true or false; before it was a whole number",
    ),
    "the id of another": (GOOD | {"id": "first"}, "the id 'first' is that of line 1 already"),
    "a counterfactual of nothing": (
        GOOD | {"counterfactual_of": "frist"},
        "'frist' is no prompt's id; did you mean 'first'",
    ),
    "a counterfactual of itself": (GOOD | {"id": "x", "counterfactual_of": "x"}, "a counterfactual of itself"),
}


@pytest.mark.parametrize(("line", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_line_is_named_by_its_number(file, line, says):
    good = GOOD | {"id": "first"}
    assert len(read_jsonl(write(file, good, "", GOOD))) == 2
    with pytest.raises(PromptError, match=says) as raised:
        read_jsonl(write(file, good, "", line))
    assert str(raised.value).startswith("line 3")
    assert "\n" not in str(raised.value)


def test_a_label_on_spans_and_on_prompts_is_refused(file):
    with pytest.raises(PromptError, match="label 'category' is on spans and on prompts"):
        read_jsonl(write(file, GOOD | {"category": "fruit"}))


def test_a_file_that_is_not_there_or_empty_or_no_text(file):
    with pytest.raises(PromptError, match="cannot be read: No such file"):
        read_jsonl(file)
    with pytest.raises(PromptError, match=f"prompt file {file} has no prompts"):
        read_jsonl(write(file, "", ""))
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PromptError, match="cannot be read"):
        read_jsonl(file)


def test_check_names_prompts_by_their_id():
    with pytest.raises(PromptError, match="^prompt 'ent-7': the span 0–9 lies outside"):
        check([Prompt("abc"), Prompt("abc", (Span(0, 9, "x"),), id="ent-7")])
    with pytest.raises(PromptError, match="^prompt 1: split"):
        check([Prompt("abc"), Prompt("abc", split="dev")])
