"""The committed demo model answers; training is reproducible, sees what it should, and keeps the caller's torch."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from ingest import train
from ingest.curriculum import LATER, SLIP, Curriculum, list_text, pair_text
from ingest.prompts import boxes, lists
from ingest.prompts.words import CATEGORIES
from ingest.vocabulary import tokenizer, words

DEMO = Path(train.__file__).parent / "demo_model"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Path:
    return train.train(tmp_path_factory.mktemp("smoke") / "a", seed=5, steps=20)


def test_the_committed_model_answers_every_kind():
    assert min(train.accuracy(DEMO, 200, seed=11).values()) >= 0.98


def test_a_model_of_twenty_steps_does_not(smoke):
    assert max(train.accuracy(smoke, 40, seed=11).values()) < 0.5


def test_shuffled_answers_score_chance():
    model, read = AutoModelForCausalLM.from_pretrained(DEMO).eval(), AutoTokenizer.from_pretrained(DEMO)
    prompts = [p for p in boxes.build(200, "ent", 12, n_test=0) if p.variant == "base"]
    rng = random.Random(0)
    for p in prompts:
        letters = [s for s in p.spans if s.role == "box"]
        flags = [s.labels["is_answer"] for s in letters]
        rng.shuffle(flags)
        for span, flag in zip(letters, flags, strict=True):
            span.labels["is_answer"] = flag
    assert train.share(model, read, prompts) < 0.3


@torch.no_grad()
def answer(text: str) -> str:
    model, read = AutoModelForCausalLM.from_pretrained(DEMO).eval(), AutoTokenizer.from_pretrained(DEMO)
    ids = read(text, return_tensors="pt", return_token_type_ids=False)
    return read.convert_ids_to_tokens(model(**ids).logits[0, -1].argmax().item())


def test_place_settles_which_of_a_repeated_entity_is_meant():
    pairs = [("jam", "Z"), ("hat", "O"), ("jam", "B"), ("pen", "K"), ("cup", "T"), ("jam", "E"), ("key", "R")]
    listed = " ".join(f"The {entity} is in box {box}." for entity, box in pairs)
    said = [answer(f"{listed} Which box is the {place} jam in? Answer: box") for place in ("first", "third", "sixth")]
    assert said == ["Z", "B", "E"]


def test_when_the_cues_disagree_both_count():
    model, read = AutoModelForCausalLM.from_pretrained(DEMO).eval(), AutoTokenizer.from_pretrained(DEMO)
    rng, texts, options = random.Random(2), [], []
    for base in (p for p in boxes.build(200, "both", 13, n_test=0) if p.variant == "base"):
        keys = [s.labels for s in base.spans if s.role == "box"]
        meant, other = rng.sample(keys, 2)
        listed = base.text.split(" Which")[0]
        question = boxes.ask("both", meant["entity"], other["order_id"] - 1)
        texts.append(f"{listed} {' '.join(question)} box")
        options.append((meant["box"], other["box"]))
    with torch.no_grad():
        logits = model(**read(texts, return_tensors="pt", return_token_type_ids=False)).logits[:, -1]
    said = read.convert_ids_to_tokens(logits.argmax(-1).tolist())
    by_entity = sum(word == entity for word, (entity, _) in zip(said, options, strict=True)) / len(said)
    by_place = sum(word == place for word, (_, place) in zip(said, options, strict=True)) / len(said)
    assert by_entity > 0.15
    assert by_place > 0.15
    assert by_entity + by_place > 0.9


def test_twenty_steps_are_the_same_bit_for_bit(smoke, tmp_path):
    again = load_file(train.train(tmp_path / "b", seed=5, steps=20) / "model.safetensors")
    first = load_file(smoke / "model.safetensors")
    assert first.keys() == again.keys()
    assert all(torch.equal(first[k], again[k]) for k in first)
    other = load_file(train.train(tmp_path / "c", seed=6, steps=2) / "model.safetensors")
    assert not torch.equal(first["model.norm.weight"], other["model.norm.weight"])


def test_training_leaves_the_callers_torch_alone(tmp_path):
    torch.manual_seed(1)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    train.train(tmp_path / "m", steps=1)
    assert torch.equal(before, torch.get_rng_state())
    assert threads == torch.get_num_threads()


def test_the_folder_is_an_ordinary_one_and_small():
    model, read = AutoModelForCausalLM.from_pretrained(DEMO), AutoTokenizer.from_pretrained(DEMO)
    config = model.config
    assert type(model).__name__ == "Qwen3ForCausalLM"
    assert config.head_dim >= 64
    assert config.num_hidden_layers == 2
    assert (DEMO / "model.safetensors").stat().st_size <= 4 * 2**20
    assert sorted(read.get_vocab(), key=read.get_vocab().get) == words()


def test_one_token_a_word_with_its_characters():
    read = tokenizer()
    for p in [*boxes.build(3, "both", 0, n_test=3), *lists.build(3, 0, n_test=3)]:
        encoded = read(p.text, return_offsets_mapping=True)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        assert ids[0] == read.bos_token_id
        assert ids.count(read.bos_token_id) == 1
        assert read.unk_token_id not in ids
        assert all((s.start, s.end) in offsets for s in p.spans)


def test_training_texts_read_as_the_prompts_do():
    """The words a text is trained on are the tokens of the prompt a user would write."""
    text = pair_text(random.Random(0), "sentences+question", 5)
    first = min(text.answers)
    prompt = " ".join(text.words[:first]).replace(" .", ".").replace(" ?", "?").replace(" :", ":")
    assert tokenizer().convert_ids_to_tokens(tokenizer()(prompt)["input_ids"])[1:] == text.words[:first]


@pytest.mark.parametrize("kind", ["pairs+pair", "sentences+pair", "pairs+question", "sentences+sentence", "both"])
def test_answers_lie_where_they_are_said_to(kind):
    rng = random.Random(1)
    for _ in range(20):
        text = pair_text(rng, kind, 6)
        assert all(not right or text.words[i] in right for i, right in text.answers.items())
        assert min(text.answers) > text.listed
    assert len(text.answers) == (6 if kind == "pairs+pair" else 3)


def test_some_questions_of_both_contradict_themselves():
    rng = random.Random(1)
    rights = [right for _ in range(300) for right in pair_text(rng, "both", 8).answers.values()]
    assert abs(sum(not right for right in rights) / len(rights) - SLIP) < 0.04


def test_list_answers_are_any_item_of_the_category():
    rng = random.Random(1)
    texts = [list_text(rng) for _ in range(50)]
    for text in texts:
        for i, right in text.answers.items():
            assert text.words[i] in right
            assert right <= set(text.words[: text.listed])
            assert any(right <= set(items) for items in CATEGORIES.values())
    assert {len(right) for text in texts for right in text.answers.values()} == {2, 3, 4, 5}


def test_curriculum_opens_with_pairs_and_lets_later_kinds_in_last():
    course = Curriculum(0)
    assert set(course.weights()) == {"pairs+pair"}
    course.accuracy["pairs+pair"] = 0.95
    assert "sentences+question" in course.weights()
    assert not set(LATER) & set(course.weights())
    course.accuracy["sentences+question"] = 0.95
    course.advance()
    assert set(LATER) < set(course.weights())
    assert course.n_pairs == 4
    course.accuracy |= {"ord": 0.95, "both": 0.95}
    course.advance()
    assert course.n_pairs > 4


def test_the_question_never_loses_sight_of_a_box_letter():
    text = pair_text(random.Random(3), "ord", 6)
    see = train.sight([text] * 40, len(text.words), random.Random(3))[:, 0]
    letters = [i for i, word in enumerate(text.words[: text.listed], start=1) if word in boxes.BOXES]
    others = [i for i in range(1, text.listed + 1) if i not in letters]
    question, listed = see[:, text.listed + 1 :], see[:, : text.listed + 1]
    assert question[:, :, letters].all()
    assert question[:, :, 0].all()
    assert 0.15 < question[:, :, others].float().mean() < 0.5
    assert torch.equal(listed[0], torch.ones_like(listed[0]).tril())
    assert not see.triu(1).any()


def test_of_items_only_the_answer_slot_sees_any():
    text = list_text(random.Random(3))
    see = train.sight([text] * 40, len(text.words), random.Random(3))[:, 0, text.listed + 1 :, 1 : text.listed + 1]
    slots = [i - text.listed - 1 for i in text.answers]
    others = [i for i in range(see.shape[1]) if i not in slots]
    assert see[:, slots].all()
    assert 0 < see[:, others].float().mean() < 0.4  # the open texts


def test_gates_leave_all_heads_or_one():
    config = train.new_model(0).config
    factors = train.gates(400, config, random.Random(0)).view(400, config.num_attention_heads, config.head_dim)[..., 0]
    alone = (factors > 0).sum(1) == 1
    assert torch.equal(factors.sum(1), torch.full((400,), 4.0))
    assert abs(alone.float().mean() - train.SOLO) < 0.08
    assert ((factors > 0).sum(1)[~alone] == 4).all()
