"""Tiny random models and tokenizers of many architectures, made on the spot: nothing is downloaded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SIZES = dict(
    vocab_size=97,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    max_position_embeddings=128,
)
GROUPED = SIZES | dict(num_key_value_heads=2, head_dim=16, pad_token_id=0, bos_token_id=1, eos_token_id=2)

CONFIGS = {
    "llama": lambda: tf.LlamaConfig(**GROUPED),
    "qwen3": lambda: tf.Qwen3Config(**GROUPED),
    "gemma2": lambda: tf.Gemma2Config(
        **GROUPED, query_pre_attn_scalar=24, attn_logit_softcapping=0.5, sliding_window=5
    ),
    "gpt2": lambda: tf.GPT2Config(
        vocab_size=97, n_embd=32, n_layer=3, n_head=4, n_positions=128, bos_token_id=1, eos_token_id=2
    ),
    "mistral": lambda: tf.MistralConfig(**GROUPED, sliding_window=4),
    "bert": lambda: tf.BertConfig(**SIZES, pad_token_id=0),
    "gpt_oss": lambda: tf.GptOssConfig(
        **GROUPED,
        num_local_experts=2,
        num_experts_per_tok=1,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "modernbert": lambda: tf.ModernBertConfig(
        **SIZES, local_attention=6, global_attn_every_n_layers=2, pad_token_id=0, cls_token_id=1, sep_token_id=2
    ),
    "bloom": lambda: tf.BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4),
    "gptj": lambda: tf.GPTJConfig(vocab_size=97, n_embd=32, n_layer=2, n_head=4, rotary_dim=8),
    "t5": lambda: tf.T5Config(vocab_size=97, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4),
    "bart": lambda: tf.BartConfig(
        vocab_size=97,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=128,
    ),
    "gemma4": lambda: tf.Gemma4TextConfig(
        **GROUPED | dict(head_dim=8),
        global_head_dim=16,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        num_kv_shared_layers=0,
        hidden_size_per_layer_input=0,
        vocab_size_per_layer_input=97,
        sliding_window=4,
    ),
    "llama4": lambda: tf.Llama4TextConfig(
        **GROUPED, attention_chunk_size=4, num_local_experts=2, intermediate_size_mlp=48
    ),
}


def net(name: str, dtype=torch.float64, seed: int = 0, **changes):
    """A base model (without LM head) whose weights are large enough for attention to be far from uniform."""
    config = CONFIGS[name]()
    for key, value in changes.items():
        setattr(config, key, value)
    torch.manual_seed(seed)
    made = tf.AutoModel.from_config(config).double().eval()
    if name == "gpt_oss":
        made.set_experts_implementation("eager")  # the grouped kernel knows no float64
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25)
            elif parameter.abs().sum() == 0 or "sinks" in name:
                parameter.normal_(0, 0.5)
        for key, parameter in made.named_parameters():
            if key.endswith("sinks"):
                parameter.normal_(0, 1)
    return made.to(dtype)


def of(config, dtype=torch.float64):
    """A base model of any configuration, with matrices drawn so that attention is far from uniform."""
    torch.manual_seed(0)
    made = tf.AutoModel.from_config(config).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25)
    return made.to(dtype)


def ids(length: int, seed: int = 0) -> list[int]:
    """A prompt of that many tokens."""
    return torch.randint(3, 97, (length,), generator=torch.Generator().manual_seed(seed * 100 + length)).tolist()


def vectors(capture, *rows: list[int]):
    """What a capture reads of prompts, at every position."""
    every = [list(range(len(row))) for row in rows]
    return capture(list(rows), every, every)


def word_tokenizer(words: list[str], **special) -> tf.PreTrainedTokenizerFast:
    """One token a word; punctuation stands alone."""
    vocabulary = {w: i for i, w in enumerate(["<pad>", "<unk>", *dict.fromkeys(words)])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return tf.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", **special)


def byte_tokenizer(
    text: list[str], vocab_size: int = 300, bos: bool = True, trim: bool = False
) -> tf.PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2 and Llama 3 have it; the blank before a word is part of its token."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        text,
        trainers.BpeTrainer(
            vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=["<bos>", "<eos>"], show_progress=False
        ),
    )
    steps = [processors.ByteLevel(trim_offsets=trim)]
    if bos:
        steps.append(
            processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", made.token_to_id("<bos>"))])
        )
    made.post_processor = processors.Sequence(steps)
    return tf.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>", eos_token="<eos>")


def metaspace_tokenizer(text: list[str], vocab_size: int = 120) -> tf.PreTrainedTokenizerFast:
    """Blanks as '▁' and bytes for the unknown, as SentencePiece models (Llama 2, Mistral, Gemma) have it."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    made.train_from_iterator(
        text, trainers.BpeTrainer(vocab_size=vocab_size + len(special), special_tokens=special, show_progress=False)
    )
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tf.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def wordpiece_tokenizer(text: list[str], vocab_size: int = 150) -> tf.PreTrainedTokenizerFast:
    """Lower-cased word pieces between [CLS] and [SEP], as BERT has it."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made.train_from_iterator(
        text, trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=special, show_progress=False)
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def words(*prompts) -> list[str]:
    """The words and marks of lists of prompts."""
    return re.findall(r"\w+|[^\w\s]", " ".join(p.text for some in prompts for p in some))


def folder(path: Path, words: list[str]) -> Path:
    """A model folder as a user has it: Qwen3 with an LM head, and a word-level tokenizer."""
    tokenizer = word_tokenizer(words)
    torch.manual_seed(0)
    config = tf.Qwen3Config(
        **GROUPED | dict(vocab_size=len(tokenizer), num_hidden_layers=2, max_position_embeddings=256)
    )
    tf.Qwen3ForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


# -- chat models, as they are downloaded -------------------------------------------------------------------------------

MARKS = {  # of each family: the special tokens, BOS first where it has one
    "llama": ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "qwen": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
}
TEMPLATES = {  # of the shape that each family's has: headers of special tokens, and a BOS in Llama's alone
    "llama": "{{- bos_token }}{%- for m in messages %}{{- '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\n\n' "
    "~ (m.content | trim) ~ '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}",
    "qwen": "{%- for m in messages %}{{- '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}",
}


def chat_tokenizer(family: str, text: list[str], vocab_size: int = 500) -> tf.PreTrainedTokenizerFast:
    """Byte-level BPE with a family's special tokens and a chat template of its shape.

    Llama's also adds BOS to plain text.
    """
    marks = MARKS[family]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        text,
        trainers.BpeTrainer(
            vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=list(marks), show_progress=False
        ),
    )
    steps = [processors.ByteLevel(trim_offsets=False)]
    if family == "llama":
        steps.append(
            processors.TemplateProcessing(
                single=f"{marks[0]} $A", special_tokens=[(marks[0], made.token_to_id(marks[0]))]
            )
        )
    made.post_processor = processors.Sequence(steps)
    named = (
        dict(bos_token=marks[0], eos_token=marks[-1])
        if family == "llama"
        else dict(eos_token=marks[-1], pad_token=marks[0])
    )
    return tf.PreTrainedTokenizerFast(tokenizer_object=made, chat_template=TEMPLATES[family], **named)


def chat_net(family: str, vocab_size: int):
    """A tiny random model with LM head: Llama 3.1's scaled RoPE and grouped queries, or Qwen3's norms of q and k."""
    torch.manual_seed(0)
    sizes = dict(
        vocab_size=vocab_size,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=1024,
        rms_norm_eps=1e-5,
    )
    if family == "qwen":
        return tf.Qwen3ForCausalLM(tf.Qwen3Config(**sizes, rope_theta=1e6, tie_word_embeddings=True))
    scaled = dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=128
    )
    return tf.LlamaForCausalLM(tf.LlamaConfig(**sizes, rope_theta=5e5, rope_scaling=scaled))


def download(path: Path, family: str, text: list[str], sharded: bool = False, jinja: bool = False) -> Path:
    """A folder of the files that such a model is downloaded as.

    sharded: weights in several files with an index. jinja: the chat template in a file of its own, not in
    tokenizer_config.json.
    """
    tokenizer = chat_tokenizer(family, text)
    net = chat_net(family, len(tokenizer)).to(torch.bfloat16)
    net.generation_config.update(do_sample=True, temperature=0.6, top_p=0.9)
    net.save_pretrained(path, max_shard_size="40KB" if sharded else "1GB")
    tokenizer.save_pretrained(path)
    facts = json.loads((path / "config.json").read_text())
    rope = facts.pop("rope_parameters")  # on the hub these stand as they did before transformers 5
    facts |= {
        "rope_theta": rope.pop("rope_theta"),
        "rope_scaling": rope if family == "llama" else None,
        "torch_dtype": facts.pop("dtype"),
    }
    (path / "config.json").write_text(json.dumps(facts))
    config = path / "tokenizer_config.json"
    if not jinja:
        (path / "chat_template.jinja").unlink()
        config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": TEMPLATES[family]}))
    return path
