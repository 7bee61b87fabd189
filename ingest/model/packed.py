"""A GGUF file: transformers takes the tensors and facts that it has names for, and passes over all others.

Those that decide queries and keys are compared with the model here, so that none is left out without a word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qkstore.errors import ModelError

FOLDER = "give the folder of the model that it was made of"
SHAPES = ("head_count", "head_count_kv", "key_length", "value_length", "layer_norm_epsilon", "layer_norm_rms_epsilon")
READ = {f"attention.{name}" for name in SHAPES} | {"attention.relative_buckets_count", "rope.dimension_sections"}
HEADS = ("output.weight", "output.bias")


def is_gguf(path: Path) -> bool:
    """Whether a path is a GGUF file, by its first bytes."""
    if not path.is_file():
        return False
    with open(path, "rb") as handle:
        return handle.read(4) == b"GGUF"


class Packed:
    """The header of a GGUF file. Raises ModelError for one that is cut short, or one part of several."""

    def __init__(self, path: Path):
        from gguf import GGUFReader

        self.path = path
        try:
            self.reader = GGUFReader(path)
            self.family: str = self.fact("general.architecture", "")
        except Exception as error:  # of numpy, by where the file ends
            raise self.refused(f"the file is damaged or cut short ({type(error).__name__}); copy it again") from None
        parts = self.fact("split.count", 1)
        if parts > 1:
            raise self.refused(f"it is one of {parts} parts: join them first (llama-gguf-split --merge)")

    def fact(self, key: str, missing: Any = None) -> Any:
        field = self.reader.fields.get(key)
        return missing if field is None else field.contents()

    def refused(self, why: str) -> ModelError:
        return ModelError(f"model {str(self.path)!r} cannot be loaded from GGUF: {why}")

    @property
    def quantisation(self) -> str:
        """The number types of its tensors, such as 'F32, Q8_0'."""
        return ", ".join(sorted({tensor.tensor_type.name for tensor in self.reader.tensors}))

    def amend(self, config) -> None:
        """The width of a head, which transformers leaves at its default for some families."""
        width = self.fact(f"{self.family}.attention.key_length")
        if width and hasattr(config, "head_dim"):
            config.head_dim = width

    def check(self, net) -> None:
        """Raise ModelError for tensors and facts of the file that `net`, loaded from it, does not have."""
        unread = [t.name for t in self.reader.tensors if not _read(t.name)]
        unread = sorted(set(unread) - _names(self.family, net))
        if unread:
            raise self.refused(f"transformers leaves out {len(unread)} of its tensors, {unread[0]} for one; {FOLDER}")
        told = {
            key.removeprefix(f"{self.family}."): key for key in self.reader.fields if key.startswith(f"{self.family}.")
        }
        for name, key in sorted(told.items()):
            if name.startswith(("attention.", "rope.", "attn_")) and name not in READ:
                self._check_fact(name, self.fact(key), net)
        scalar, width = (
            getattr(net.config.get_text_config(), name, None) for name in ("query_pre_attn_scalar", "head_dim")
        )
        if scalar and scalar != width:
            raise self.refused(f"heads are {width} wide and the file does not tell how logits are scaled; {FOLDER}")

    def _check_fact(self, name: str, value: Any, net) -> None:
        if self.family == "gpt-oss" and name.startswith("rope.scaling."):
            return  # the one family whose scaling transformers reads
        mine = _of(net, name)
        if not any(_equal(value, own) for own in mine):
            raise self.refused(f"it says {name} {value}, the model made of it {mine[0] if mine else 'none'}; {FOLDER}")

    def scale_rope(self, net) -> None:
        """Divide the frequencies of RoPE by the file's factors (Llama 3.1 and later), which transformers leaves out."""
        factors = next((t.data for t in self.reader.tensors if t.name == "rope_freqs.weight"), None)
        if factors is None or (factors == 1).all():
            return
        ropes = [module for module in net.modules() if hasattr(module, "inv_freq")]
        if len(ropes) != 1 or ropes[0].inv_freq.shape != factors.shape or ropes[0].rope_type != "default":
            raise self.refused(f"its factors of RoPE (rope_freqs) have no place in this family; {FOLDER}")
        for buffer in (ropes[0].inv_freq, ropes[0].original_inv_freq):
            buffer /= buffer.new_tensor(factors)


def _read(tensor: str) -> bool:
    """Whether a tensor needs no name of transformers': read otherwise (experts, RoPE), or of the LM head."""
    return tensor in HEADS or tensor == "rope_freqs.weight" or "_exps." in tensor or "exp_probs_b" in tensor


def _names(family: str, net) -> set[str]:
    """What GGUF calls the weights of `net`."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    arch = next((key for key, name in MODEL_ARCH_NAMES.items() if name == family), None)
    if arch is None:
        return set()
    table, found = get_tensor_name_map(arch, net.config.get_text_config().num_hidden_layers), set()
    for name in net.state_dict():
        stem, _, end = name.rpartition(".")
        for prefix in ("", "model.", f"{net.base_model_prefix}."):
            found.add(f"{table.get_name(prefix + stem)}.{end}")
            found.add(str(table.get_name(prefix + name)))
    return found


def _of(net, name: str) -> list[Any]:
    """What the model has for a fact of a GGUF file; several where kinds of layers differ, none if it knows no such."""
    config = net.config.get_text_config()
    if name.startswith("rope.freq_base"):
        rope = getattr(config, "rope_parameters", None) or {}
        return [
            part["rope_theta"] for part in (rope, *rope.values()) if isinstance(part, dict) and "rope_theta" in part
        ]
    if name.startswith("rope.dimension_count"):
        return [2 * len(b) for key, b in net.named_buffers() if key.endswith("inv_freq")]
    if name == "attention.sliding_window":
        return [getattr(config, "sliding_window", None) or 0]
    if name == "attention.scale":
        return [module.scaling for module in net.modules() if hasattr(module, "scaling")]
    return {
        "rope.scaling.type": ["none"],
        "attention.causal": [True],
        "attn_logit_softcapping": [getattr(config, "attn_logit_softcapping", None) or 0],
    }.get(name, [])


def _equal(value: Any, own: Any) -> bool:
    if isinstance(value, (int, float)) and isinstance(own, (int, float)):
        return abs(value - own) <= 1e-5 * abs(own)  # a file keeps 32 bits
    return value == own
