"""Tiny random models of any type of transformers: its own config, with every size made small."""

from __future__ import annotations

import contextlib

import torch
import transformers as tf
from torch import nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

LAYERS, MOST = 4, 20_000_000  # layers; parameters of a model that is small enough
ROPE = 16  # where LongRoPE changes its factors; other thresholds are below it
SIZES = {  # {attribute: value}, set where a config has it as a whole number
    **dict.fromkeys("hidden_size d_model n_embd dim embed_dim word_embed_proj_dim embedding_size".split(), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers"), LAYERS),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_encoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys("num_attention_heads n_head num_heads n_heads encoder_attention_heads".split(), 4),
    **dict.fromkeys(("decoder_attention_heads", "num_decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "multi_query_group_num"), 2),
    **dict.fromkeys(("head_dim", "d_kv", "kv_channels", "attention_head_dim", "v_head_dim", "global_head_dim"), 16),
    **dict.fromkeys(
        "intermediate_size ffn_dim d_ff n_inner encoder_ffn_dim decoder_ffn_dim ffn_hidden_size".split(), 96
    ),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "moe_ffn_hidden_size"), 32),
    **dict.fromkeys("num_experts num_local_experts n_routed_experts moe_num_experts num_routed_experts".split(), 4),
    **dict.fromkeys("num_experts_per_tok num_experts_per_token moe_topk moe_top_k moe_k top_k".split(), 2),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "n_group", "topk_group"), 1),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "adapter_rank", "hidden_size_per_layer_input"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "index_head_dim"), 16),
    **dict.fromkeys(("sliding_window", "attention_window_size", "local_attention", "window_size"), 6),
    **dict.fromkeys(("attention_chunk_size", "index_topk"), 8),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length"), 64),
    **dict.fromkeys(
        ("mamba_d_state", "ssm_state_size", "state_size", "mamba_n_groups", "mamba_ngroups", "n_groups"), 4
    ),
    **dict.fromkeys(("mamba_num_heads", "n_mamba_heads", "mamba_n_heads", "linear_num_value_heads"), 4),
    **dict.fromkeys(("mamba_head_dim", "mamba_headdim", "mamba_d_head", "linear_key_head_dim"), 32),
    **dict.fromkeys(("linear_value_head_dim",), 32),
    **dict.fromkeys(("linear_num_key_heads", "index_n_heads"), 2),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input", "padded_vocab_size"), 128),
    **dict.fromkeys(("image_size",), 32),
    **dict.fromkeys(("patch_size",), 16),
    **dict.fromkeys(("num_kv_shared_layers", "first_k_dense_replace", "num_nextn_predict_layers"), 1),
    **dict.fromkeys(("attn_layer_period", "global_attn_every_n_layers", "full_attention_interval"), 2),
    **dict.fromkeys(("attn_layer_offset",), 1),
    **dict.fromkeys(("pad_token_id",), 0),
    **dict.fromkeys(("bos_token_id", "cls_token_id"), 1),
    **dict.fromkeys(("eos_token_id", "sep_token_id", "decoder_start_token_id"), 2),
}

MROPE = {"rope_parameters": dict(rope_type="default", rope_theta=1e4, mrope_section=[2, 3, 3])}
PART = {
    "rope_parameters": dict(rope_type="default", rope_theta=1e4, mrope_section=[1, 1, 2], partial_rotary_factor=0.5)
}
WIDE, PARTLY = {"head_dim": 16}, {"rotary_dim": 8}
KINDS = ("full_attention", "sliding_attention")
EXPERTS = {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1}
CHANGES = {  # {type: what it needs beside SIZES, as whole numbers without a default and lists that add up}
    **dict.fromkeys(("hunyuan_v1_dense", "hunyuan_v1_moe", "hunyuan_vl_text", "ministral"), WIDE),
    **dict.fromkeys(("qwen2_vl_text", "qwen2_5_vl_text", "paddleocr_vl_text"), MROPE),
    **dict.fromkeys(("glm4v_text", "glm4v_moe_text", "glm_image_text", "glm_ocr_text"), PART),
    **dict.fromkeys(("gptj", "codegen"), PARTLY),
    "bamba": {"attn_layer_indices": [1, 3]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "deepseek_v2": EXPERTS,
    "dots1": EXPERTS | {"n_routed_experts": 4, "n_shared_experts": 1},
    "esm": {"vocab_size": 128, "pad_token_id": 1, "mask_token_id": 4},
    "mistral4": {"head_dim": 32},
    "luke": {"entity_vocab_size": 8},
    "cohere_compass_text": {
        "rope_parameters": {kind: dict(rope_type="default", rope_theta=1e4) for kind in KINDS},
    },
    "nemotron": {"num_key_value_heads": 2},
    "falcon_h1": {"mamba_d_ssm": 128},
}

FACTORS = dict(short_factor=[1.0] * 8, long_factor=[4.0] * 8, original_max_position_embeddings=ROPE)
VARIANTS = {  # {name: (type, what is changed)}
    "llama, MQA": ("llama", {"num_key_value_heads": 1}),
    "llama, YaRN": ("llama", {"rope_parameters": dict(rope_type="yarn", rope_theta=1e4, factor=4.0)}),
    "llama, dynamic NTK": (
        "llama",
        {"max_position_embeddings": ROPE, "rope_parameters": dict(rope_type="dynamic", rope_theta=1e4, factor=4.0)},
    ),
    "phi3, LongRoPE": (
        "phi3",
        {
            "original_max_position_embeddings": ROPE,
            "rope_parameters": dict(rope_type="longrope", rope_theta=1e4, factor=4.0, **FACTORS),
        },
    ),
}


def net(name: str) -> nn.Module:
    """The base model of a type or variant in float64, with weights large enough for attention to be far from uniform.

    Raises whatever the type raises: where it cannot be built small, and where it does not run on a text by itself.
    """
    kind, changes = VARIANTS.get(name, (name, {}))
    config = small(CONFIG_MAPPING[kind](), changes)
    with torch.device("meta"):
        size = sum(p.numel() for p in tf.AutoModel.from_config(config).parameters())
    if size > MOST:
        raise ValueError(f"{size:,} parameters are left when every known size is small")
    torch.manual_seed(0)
    made = tf.AutoModel.from_config(config).double().eval()
    if made.config.is_encoder_decoder and hasattr(made, "get_encoder"):
        made = made.get_encoder()
    for module in made.modules():
        if isinstance(module, tf.PreTrainedModel):  # the grouped kernels of experts know no float64
            module.config._experts_implementation_internal = "eager"
    with torch.no_grad():
        for key, parameter in made.named_parameters():
            if parameter.dim() > 1 and "norm" not in key:
                parameter.normal_(0, 0.2)
            elif parameter.abs().sum() == 0 or key.endswith("sinks"):
                parameter.normal_(0, 0.5)
        made(input_ids=torch.tensor([ids(5, made)]))
    return made


def ids(length: int, net: nn.Module) -> list[int]:
    """A prompt of that many tokens, none of them special."""
    known, dice = net.get_input_embeddings().weight.shape[0], torch.Generator().manual_seed(length)
    return torch.randint(3, min(128, known), (length,), generator=dice).tolist()


def small(config, changes: dict | None = None):
    """A config of the same type with every known size small, made anew so that what follows from sizes does, too."""
    changes = CHANGES.get(config.model_type, {}) | (changes or {})
    sizes = {n: v for n, v in SIZES.items() if _number(_whole(config, n))}
    if _number(_whole(config, "kv_lora_rank")):
        sizes |= {n: 4 for n in ("num_key_value_heads",) if n in sizes}  # latent attention has a key a head
    before = _whole(config, "num_hidden_layers")
    for name, value in vars(config).items():
        if isinstance(value, (list, tuple)) and before and len(value) == before:
            sizes[name] = type(value)(_cut(list(value)))
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if part is not None:
            sizes[name] = small(part).to_dict()
    try:
        return type(config)(**sizes | changes)
    except Exception:  # checks of sizes against each other, which the type's own then pass
        for name, value in (sizes | changes).items():
            if name not in config.sub_configs:
                _set(config, name, value)
        for name in config.sub_configs:
            if getattr(config, name, None) is not None:
                _set(config, name, small(getattr(config, name)))
        return config


def _whole(config, name: str):
    """An attribute of the config as a whole, None where there is none or it differs from layer to layer."""
    try:
        return getattr(config, name, None)
    except Exception:  # transformers' own, of attributes that each layer has
        return vars(config).get(name)


def _number(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _cut(values: list) -> list:
    """LAYERS values that hold one of each kind, where there are few kinds."""
    kinds = list(dict.fromkeys(map(repr, values)))
    first = [values[list(map(repr, values)).index(kind)] for kind in kinds][:LAYERS]
    return (first * LAYERS)[:LAYERS]


def _set(config, name: str, value) -> None:
    with contextlib.suppress(AttributeError, ValueError, TypeError, NotImplementedError):  # what follows from others
        setattr(config, name, value)
