"""The files of a model folder: which of them hold its weights, and what is wrong with them, before any is loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from qkstore.errors import ModelError

POINTER = b"version https://git-lfs"
INDEXED = (("model.safetensors", "model.safetensors.index.json"), ("pytorch_model.bin", "pytorch_model.bin.index.json"))
TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
MERGE = "merge it into its base model first (peft's merge_and_unload, then save_pretrained) and give that folder"


def weights(folder: Path) -> list[Path]:
    """The weight files that transformers loads of a folder, by name; others may lie beside them.

    One file goes before shards that an index names, safetensors before pickles. Empty where there are none.
    """
    for whole, index in INDEXED:
        if (folder / whole).exists():
            return [folder / whole]
        if (folder / index).exists():
            names = json.loads((folder / index).read_text())["weight_map"].values()
            return [folder / name for name in sorted(set(names))]
    return []


def check(folder: Path) -> None:
    """Raise ModelError, in one line, for a folder that holds no whole model, or more than one."""
    if (folder / "adapter_config.json").exists():
        raise ModelError(f"folder {folder} holds an adapter (adapter_config.json), which would not be used: {MERGE}")
    if not (folder / "config.json").is_file():
        if packed := sorted(folder.glob("*.gguf")):
            names = ", ".join(file.name for file in packed)
            raise ModelError(f"folder {folder} holds no model, but {names}: give that file, --model {packed[0]}")
        raise ModelError(f"folder {folder} holds no model: there is no config.json in it")
    for file in (*sorted(folder.glob("*.json")), *weights(folder)):
        if not file.is_file():
            raise ModelError(f"folder {folder} lacks {file.name}, which its index names: copy the whole model")
        check_pointer(file)
    if not any((folder / name).exists() for name in TOKENIZER):
        raise ModelError(
            f"folder {folder} holds no tokenizer (none of {', '.join(TOKENIZER[:3])}, …): copy it beside the weights"
        )


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
    """SHA-256 over the content of the weight files that are loaded, in the order of their names."""
    made = hashlib.sha256()
    for file in weights(folder):
        with open(file, "rb") as handle:
            made.update(hashlib.file_digest(handle, "sha256").digest())
    return made.hexdigest()
