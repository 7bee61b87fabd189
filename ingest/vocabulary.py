"""The demo's tokenizer: one token a word, with the characters each token came from."""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from ingest.prompts import boxes, lists
from ingest.prompts.passage import PUNCTUATION
from ingest.prompts.words import BOXES, CATEGORIES, ENTITIES, ORDINALS, PLURALS

PAD, BOS, UNKNOWN = "<pad>", "<bos>", "<unk>"


def words() -> list[str]:
    """Every word of the prompts and training texts, in a fixed order; its index is its token id."""
    phrases = [*boxes.clause("", ""), *boxes.ask("ent", "", 0), *lists.ask(next(iter(PLURALS))), *lists.listing([])]
    said = {*phrases, *PUNCTUATION, *ENTITIES, *BOXES, *ORDINALS, *PLURALS.values()}
    said |= {item for items in CATEGORIES.values() for item in items}
    return [PAD, BOS, UNKNOWN, *sorted(said - {""})]


def tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer with offsets, that begins each text with one BOS token."""
    ids = {word: i for i, word in enumerate(words())}
    inner = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()  # splits punctuation off as well
    inner.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, ids[BOS])])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        bos_token=BOS,
        unk_token=UNKNOWN,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
