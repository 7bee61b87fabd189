"""A model and its tokenizer, from a local folder or a hub id, with the facts that identify them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import transformers
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import cached_file

from ingest.model.attention import KERNELS
from ingest.model.packed import Packed, is_gguf
from ingest.model.weights import files, placement
from ingest.model.weights.placement import Memory, Placement
from qkstore.errors import ModelError, near

Dtype = Literal["float32", "bfloat16", "float64"]
DTYPES: dict[Dtype, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
HUB_SECONDS = 10  # for the one question whether the hub is there; its own downloads retry for longer
MAKE_FAST = (
    "there is no tokenizer.json in its folder: load the tokenizer where sentencepiece and tiktoken are installed, "
    "save_pretrained it, and copy the tokenizer.json of that here"
)
ACTS = {  # {what transformers and its helpers say: what it means, and what to do}
    "deserializing header": "a weight file is damaged or cut short; copy it again",
    "not a valid JSON": "its config.json is not JSON; copy it again",
    "Should have a `model_type` key": "its config.json names no model_type; copy the model's own",
    "Weights only load failed": "a weight file (pytorch_model.bin) is damaged, or holds more than weights; "
    "copy it again, or save the model as safetensors",
    "`tiktoken` is required": MAKE_FAST,
    "does not recognize this architecture": f"transformers {transformers.__version__} does not know its model_type; "
    "it needs a newer one, or is no model of transformers",
    "contains custom code": "it brings code of its own, which is not run; use one that transformers knows",
    "ignore_mismatched_sizes": "its weights have other shapes than its config.json says: they do not belong together",
    "Cannot build a tokenizer from a GGUF": f"the file holds no tokenizer that transformers {transformers.__version__} "
    "reads; give the folder of the model that it was made of",
    "is not supported yet": f"transformers {transformers.__version__} does not read its family from GGUF; "
    "give the folder of the model that it was made of",
    "No space left": "what of its weights does not fit into memory does not fit into the folder for temporary files "
    "either; set TMPDIR to a larger one",
    "no file named": "there are no weights in its folder (model.safetensors or pytorch_model.bin); copy them there",
}


@dataclass(frozen=True)
class Model:
    """A model ready to run, without its LM head unless that was asked for, its tokenizer, and where both came from."""

    net: transformers.PreTrainedModel
    tokenizer: transformers.PreTrainedTokenizerBase
    name: str
    weights_hash: str
    revision: str | None = None
    quantisation: str | None = None
    spread: str | None = None

    @property
    def architecture(self) -> str:
        return (self.net.config.architectures or [type(self.net).__name__])[0]

    @property
    def dtype(self) -> str:
        return str(self.net.dtype).removeprefix("torch.")

    @property
    def device(self) -> str:
        """The kind of device that it lies on, or what its layers are spread over: 'cuda', 'auto: cuda x2, cpu'."""
        return self.spread or self.net.device.type

    @property
    def answers(self) -> bool:
        """Whether it has its LM head."""
        return self.net.base_model is not self.net and self.net.get_output_embeddings() is not None

    @property
    def n_layers(self) -> int:
        return self.net.config.get_text_config().num_hidden_layers


def load(
    where: str,
    dtype: Dtype = "float32",
    device: str = "cpu",
    answers: bool | None = False,
    memory: Memory | None = None,
) -> Model:
    """The model in the folder `where`, or of that hub id; an encoder-decoder gives its encoder.

    device: 'cpu', 'cuda', a GPU by number ('cuda:1'), or 'auto', which spreads the layers of a model that is larger
    than one GPU over all of this machine, then over memory, then over disk. memory: at most so much of each, of 'auto'.
    answers: with the LM head, so that its logits of the next token can be read; None: where it has one.
    Raises ModelError, in one line, for a folder or id that is not there or not allowed, a hub that does not answer,
    a tokenizer without offsets, and a device that this machine does not have.
    """
    check_device(dtype, device, auto=True)
    where, place = os.path.expanduser(where), Placement(device, memory)
    if is_gguf(Path(where)):
        return _load_file(Path(where), dtype, place, answers)
    local, revision = _find(where)
    found = {"revision": revision, "local_files_only": local, "trust_remote_code": False}
    doing = "cannot be loaded"
    try:
        config = transformers.AutoConfig.from_pretrained(where, **found)
        doing = "has a tokenizer that cannot be built"
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, **found)
        if not set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids):
            raise ValueError("it knows no words, as if its files were those of another kind")
        doing = "cannot be loaded"
        answers = _speaks(config) if answers is None else answers
        kind = transformers.AutoModelForCausalLM if answers else transformers.AutoModel
        net, report = kind.from_pretrained(
            where, config=_readable(config), dtype=DTYPES[dtype], output_loading_info=True, **found, **place.given
        )
        folder = Path(cached_file(where, "config.json", revision=revision, local_files_only=True)).parent
    except Exception as error:  # a dozen kinds, by what is wrong with the files; none of them is a bug of ours to trace
        raise ModelError(_why(where, doing, error, local)) from None
    files.check_all_used(where, net, report)
    whole, net = net, place.put(net, net if answers else _encoder(net))
    revision = revision or (None if Path(where).is_dir() else getattr(net.config, "_commit_hash", None))
    made = wrap(net, tokenizer, _name(where), files.digest(folder), revision, answers)
    return replace(made, spread=placement.spread(whole))


def _load_file(path: Path, dtype: Dtype, place: Placement, answers: bool | None) -> Model:
    """The model in a GGUF file, its weights dequantised; such a file has its LM head."""
    packed, answers = Packed(path), answers is not False
    found = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
    kind = transformers.AutoModelForCausalLM if answers else transformers.AutoModel
    try:
        config = transformers.AutoConfig.from_pretrained(path.parent, **found)
        packed.amend(config)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, **found)
        net, report = kind.from_pretrained(
            path.parent, config=config, dtype=DTYPES[dtype], output_loading_info=True, **found, **place.given
        )
    except Exception as error:  # as above
        raise ModelError(_why(str(path), "cannot be loaded from GGUF", error, True)) from None
    files.check_all_used(str(path), net, report)
    packed.check(net)
    packed.scale_rope(net)
    whole, net = net, place.put(net, net if answers else _encoder(net))
    made = wrap(net, tokenizer, _name(str(path)), files.sha256(path), None, answers)
    return replace(made, quantisation=packed.quantisation, spread=placement.spread(whole))


def wrap(
    net, tokenizer, name: str, weights_hash: str | None = None, revision: str | None = None, answers: bool = False
) -> Model:
    """A model in memory, for scripts and training; it is hashed by its weights.

    Its LM head, if any, is left out unless `answers`.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"the tokenizer of {name!r} gives no character offsets; a fast tokenizer is needed (tokenizer.json)"
        )
    return Model(
        (net if answers else _encoder(net.base_model)).eval(),
        tokenizer,
        name,
        weights_hash or _hash_weights(net),
        revision,
    )


def check_device(dtype: Dtype | str, device: str, auto: bool = False) -> None:
    """Raise ModelError for a dtype that is none of DTYPES, and for a device that this machine does not have.

    auto: 'auto', which is for models alone, is one.
    """
    if dtype not in DTYPES:
        raise ModelError(f"no dtype {dtype!r}; {near(dtype, DTYPES)}")
    placement.check(device, auto)


def _readable(config):
    """A config that asks for a kernel whose attention cannot be read leaves the choice to transformers."""
    for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        if part is not None and part._attn_implementation_internal not in (None, *KERNELS):
            part._attn_implementation_internal = None
    return config


def _name(where: str) -> str:
    """A model's name: that of its folder or file, which is a path of somebody's disk, or its hub id."""
    return Path(where).resolve().name if Path(where).exists() else where


def _speaks(config) -> bool:
    """Whether a model was saved as one that says the next token."""
    return bool(set(config.architectures or ()) & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()))


def _encoder(net):
    return net.get_encoder() if net.config.is_encoder_decoder and hasattr(net, "get_encoder") else net


def _find(where: str) -> tuple[bool, str | None]:
    """Whether only files of this machine may be used, and the hub's commit of the model.

    One short question tells whether the hub answers. Its downloads would ask, wait and ask again for every file.
    """
    path = Path(where)
    if path.is_dir():
        files.check(path)
        return True, None
    files.check_file(path)
    if path.exists() or where.startswith((".", "/")) or where.count("/") > 1:
        raise ModelError(f"there is no model folder {where}")
    try:
        info = HfApi().model_info(where, timeout=HUB_SECONDS)
    except HFValidationError:
        raise ModelError(f"model {where!r} is neither a folder here nor a hub id (owner/name)") from None
    except RepositoryNotFoundError:
        raise ModelError(
            f"model {where!r} is neither a folder here nor on the hub (or it is private: log in with 'hf auth login')"
        ) from None
    except Exception:  # the transport's own errors, which change with its versions: no network, or told to be offline
        return True, None  # what was downloaded before will do
    if any(file.rfilename == "adapter_config.json" for file in info.siblings or ()):
        raise ModelError(f"model {where!r} is an adapter (adapter_config.json): {files.MERGE}")
    return False, info.sha


def _why(where: str, doing: str, error: Exception, local: bool) -> str:
    """One line for a model that could not be loaded."""
    causes, cause = [], error
    while cause is not None:
        causes, cause = [*causes, cause], cause.__cause__
    if any(isinstance(c, GatedRepoError) for c in causes):
        return f"model {where!r} is gated: accept its terms on its hub page, then log in with 'hf auth login'"
    if local and not Path(where).exists():
        return (
            f"model {where!r} is neither a folder nor downloaded here before, "
            "and the hub cannot be reached (no network)"
        )
    said = " ".join(str(error).split())
    act = next((act for words, act in ACTS.items() if words in said), None)
    told = f"{type(error).__name__}: {said[:300]}{'…' * (len(said) > 300)}"
    return f"model {where!r} {doing}: " + (act or (told if "pip install" in told else f"{told}; {_next(where, doing)}"))


def _next(where: str, doing: str) -> str:
    """What to do about an error that no line of ACTS knows."""
    if "tokenizer" not in doing:
        return "correct its config.json, or copy the model again"
    if Path(where).is_dir() and not (Path(where) / "tokenizer.json").exists():
        return MAKE_FAST
    return "copy its tokenizer.json and tokenizer_config.json again"


def _hash_weights(net) -> str:
    digest = hashlib.sha256()
    for name, weight in sorted(net.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def most_tokens(net) -> int | None:
    """How many tokens a model takes at most.

    RoBERTa and its kin number positions from behind their padding token; dynamic NTK is there for longer texts.
    """
    config, embeddings = net.config.get_text_config(), getattr(net.base_model, "embeddings", None)
    limit, rope = getattr(config, "max_position_embeddings", None), getattr(config, "rope_parameters", None) or {}
    if limit and "dynamic" in str(rope.get("rope_type")):
        return int(limit * (rope.get("factor") or 1))
    if limit and hasattr(embeddings, "create_position_ids_from_input_ids"):
        return limit - (getattr(embeddings, "padding_idx", None) or 0) - 1
    return limit
