"""The files of a model folder: which of them hold its weights, what is wrong with them, and which were not used."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from qkstore.errors import ModelError

POINTER = b"version https://git-lfs"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
READ = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json")
ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
OF_A_SET = re.compile(r"(model|pytorch_model)(-\d+-of-\d+)?(\.safetensors|\.bin)")
MERGE = "merge it into its base model first (peft's merge_and_unload, then save_pretrained) and give that folder"

MOST_LAYERS = (
    10_000  # of a config.json: transformers makes as many modules, one after another, before it reads a weight
)
EXTRA_LAYERS = ("num_nextn_predict_layers", "mtp_num_hidden_layers")  # behind the last one, and not run here
COMPUTED = (  # ends of names of what is computed, or of what only training reads
    *(".attn.bias", ".masked_bias", ".attention.bias", ".inv_freq", ".position_ids"),
    *(".cos_cached", ".sin_cached", "._extra_state"),
)
OTHERS = re.compile("vision|visual|image|video|audio|speech")  # parts that no text goes through
EVERYWHERE = re.compile("embed|norm|wpe|wte|ln_")  # beside the layers, what every token goes through
UNUSED = ("pooler",)  # weights that a base model has, a checkpoint may lack, and no attention layer reads


def weights(folder: Path) -> list[Path]:
    """The weight files that transformers loads of a folder, by name; others may lie beside them.

    What config.json names goes first, one file before shards that an index names, safetensors before pickles. Empty
    where there are none. Raises ModelError for an index that names no files.
    """
    named = _facts(folder / "config.json").get("transformers_weights")
    if named and not _is_name(named):
        raise ModelError(f"{folder / 'config.json'} names weights that are no file of its folder; copy it again")
    first = next((folder / name for name in ([named] if named else WEIGHTS) if (folder / name).exists()), None)
    if first is None or first.suffix != ".json":
        return [first] if first else []
    names = _facts(first).get("weight_map")
    if not isinstance(names, dict) or not names or not all(map(_is_name, names.values())):
        raise ModelError(f"{first} names no weight files (weight_map); copy it again")
    return [folder / name for name in sorted(set(names.values()))]


def _is_name(name: object) -> bool:
    """Whether it is the name of a file, and no path to elsewhere."""
    return isinstance(name, str) and Path(name).name == name


def check(folder: Path) -> None:
    """Raise ModelError, in one line, for a folder that holds no whole model, or more than one."""
    if found := [name for name in ADAPTER if (folder / name).exists()]:
        raise ModelError(f"folder {folder} holds an adapter ({found[0]}), which would not be used: {MERGE}")
    if not (folder / "config.json").is_file():
        if packed := sorted(folder.glob("*.gguf")):
            names = ", ".join(file.name for file in packed)
            raise ModelError(f"folder {folder} holds no model, but {names}: give that file, --model {packed[0]}")
        raise ModelError(f"folder {folder} holds no model: there is no config.json in it")
    for file in sorted({*folder.glob("*.json"), *(folder / name for name in (*TOKENIZER, "merges.txt"))}):
        if file.is_file():
            check_pointer(file)
            if file.name in READ:
                _facts(file)
    _check_layers(folder / "config.json")
    _check_weights(folder)
    if not any((folder / name).exists() for name in TOKENIZER):
        raise ModelError(
            f"folder {folder} holds no tokenizer (none of {', '.join(TOKENIZER[:3])}, …): copy it beside the weights"
        )


def _check_layers(file: Path) -> None:
    """Raise ModelError for more layers than any model has, of the whole or of a part."""
    facts = _facts(file)
    for part in (facts, *(value for value in facts.values() if isinstance(value, dict))):
        for name, value in part.items():
            if "layers" in name and isinstance(value, int) and value > MOST_LAYERS:
                raise ModelError(f"{file} says {name} {value}; possible are {MOST_LAYERS:,}; copy it again")


def _check_weights(folder: Path) -> None:
    """Raise ModelError for weight files that are missing or pointers, and for a second set of them beside the first."""
    loaded = weights(folder)
    for file in loaded:
        if not file.is_file():
            raise ModelError(f"folder {folder} lacks {file.name}, which its index names: copy the whole model")
        check_pointer(file)
        if not file.stat().st_size:
            raise ModelError(f"{file} is empty; copy it again")
    kinds, names = {file.suffix for file in loaded}, {file.name for file in loaded}
    beside = [f.name for f in sorted(folder.iterdir()) if f.suffix in kinds and OF_A_SET.fullmatch(f.name)]
    if left := [name for name in beside if name not in names]:
        raise ModelError(
            f"folder {folder} holds two sets of weights: {loaded[0].name} would be loaded and {left[0]} not; "
            "move the one that is not meant elsewhere"
        )


def _facts(file: Path) -> dict:
    """The JSON object in a file, {} where there is no such file."""
    if not file.is_file():
        return {}
    check_pointer(file)
    try:
        found = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        broken = "no UTF-8" if isinstance(error, UnicodeDecodeError) else "a number too long or lists too deep"
        place = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else broken
        raise ModelError(f"{file} is not JSON ({place}); copy it again") from None
    if not isinstance(found, dict):
        raise ModelError(f"{file} is no JSON object, but a {type(found).__name__}; copy it again")
    return found


def check_all_used(where: str, net, report: dict) -> None:
    """Raise ModelError where files and model differ: weights that are not there, or that no part of it takes."""
    missing = sorted(k for k in report["missing_keys"] if not any(part in k for part in UNUSED))
    unexpected = sorted(report["unexpected_keys"])
    if lora := [key for key in unexpected if "lora_" in key]:
        raise ModelError(f"model {where!r}: its files hold an adapter ({lora[0]}), which would not be used: {MERGE}")
    if missing:
        raise ModelError(
            f"model {where!r}: {len(missing)} weights are not in its files, {missing[0]} for one; "
            "copy the whole model, and the config.json that belongs to it"
        )
    config = net.config.get_text_config()
    total = getattr(config, "num_hidden_layers", 0) + sum(getattr(config, name, None) or 0 for name in EXTRA_LAYERS)
    unused = [k for k in unexpected if _belongs(k, _places(net), net.base_model_prefix, total)]
    if unused:
        raise ModelError(
            f"model {where!r}: its files hold {len(unused)} weights that its config.json leaves no place for, "
            f"{unused[0]} for one; the two do not belong together"
        )


def _places(net) -> set[str]:
    """The names of a model's modules, with and without the prefix that a model with a head puts before them."""
    return {name for name, _ in net.named_modules()} | {
        f"{net.base_model_prefix}.{name}" for name, _ in net.base_model.named_modules() if name
    }


def _belongs(key: str, there: set[str], prefix: str, total: int) -> bool:
    """Whether a weight that was not used belongs to a part that is run.

    It does inside a module that is `there`, in a layer too many behind those that are, and beside the layers if by its
    name every token goes through it. Heads and other models' parts stand elsewhere; what old files keep of masks and
    frequencies is computed.
    """
    if key.endswith(COMPUTED) or OTHERS.search(key):
        return False
    steps = key.split(".")[:-1]
    inside = next((n for n in range(len(steps), 0, -1) if ".".join(steps[:n]) in there), 0)
    if inside < len(steps) and steps[inside].isdigit():
        return int(steps[inside]) >= total
    if steps[:inside] in ([], [prefix]):
        return steps[:1] == [prefix] and bool(EVERYWHERE.search(steps[1] if len(steps) > 1 else ""))
    return True


def check_pointer(file: Path) -> None:
    with open(file, "rb") as handle:
        if handle.read(len(POINTER)) == POINTER:
            raise ModelError(
                f"{file} is a git-lfs pointer and not the file itself: fetch it with `git lfs pull` in that folder"
            )


def check_file(file: Path) -> None:
    """Raise ModelError for a path that is neither a folder nor a GGUF file."""
    if file.is_file():
        check_pointer(file)
        if file.suffix == ".gguf":
            raise ModelError(f"{file} is no GGUF file (it does not begin with 'GGUF'); copy it again")
        raise ModelError(f"{file} is a file; give the folder that holds config.json, the weights and the tokenizer")
    if file.suffix == ".gguf":
        raise ModelError(f"there is no file {file}; give the path of the GGUF file")


def sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest(folder: Path) -> str:
    """SHA-256 over the content of the weight files that are loaded, in the order of their names.

    Raises ModelError where there are none: all such folders would have the same hash.
    """
    made, loaded = hashlib.sha256(), weights(folder)
    if not loaded:
        raise ModelError(f"folder {folder} holds no weights ({WEIGHTS[0]} or {WEIGHTS[2]}); copy them there")
    for file in loaded:
        made.update(bytes.fromhex(sha256(file)))
    return made.hexdigest()
