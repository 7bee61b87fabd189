"""The source that computes: a key of it, so that no kept result outlives a change of its formula."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path


@lru_cache(maxsize=8)  # a process asks for two sets of packages
def code_key(*packages: str) -> str:
    """A hash of every source file of the packages (qkstore when none is named), sub-packages too; taken once a process.

    A package is found as an import would find it, in a checkout or installed; one that is not there adds nothing.
    """
    digest = hashlib.sha256()
    for package in packages or ("qkstore",):
        for name, text in sorted(_sources(package).items()):
            digest.update(f"{name} {len(text)}\n".encode() + text)
    return digest.hexdigest()


def _sources(package: str) -> dict[str, bytes]:
    """{package/path.py: text} of a package's source files."""
    spec = find_spec(package)
    folders = [Path(place) for place in spec.submodule_search_locations or ()] if spec else []
    return {
        f"{package}/{file.relative_to(folder).as_posix()}": file.read_bytes()
        for folder in folders
        for file in folder.rglob("*.py")
        if file.is_file()
    }
