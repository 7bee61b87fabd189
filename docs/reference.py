"""The API reference: a page for every module of qkstore and ingest, from their docstrings, into build/docs.

    make docs    or    python docs/reference.py [FOLDER]

It imports every module, so it needs the extras `ingest` and `dev`. Open build/docs/index.html.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("qkstore", "ingest")


def modules() -> list[str]:
    """Every module that has a page, by name: a facade's __all__ would hide the files behind it."""
    names = list(PACKAGES)
    for package in map(importlib.import_module, PACKAGES):
        inside = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        names += [module.name for module in inside if not module.name.endswith("__main__")]
    return sorted(names)


def write(folder: Path, names: list[str]) -> None:
    """Write the pages of these modules, with an index and a search, into a folder."""
    import pdoc

    import qkstore

    for name in qkstore.__all__:  # loaded on first use, and pdoc only looks
        setattr(qkstore, name, getattr(qkstore, name))
    pdoc.render.configure(show_source=False, footer_text=f"qkstore {qkstore.__version__}")
    warnings.filterwarnings("ignore", "The module specification")  # a package brings its modules along
    warnings.filterwarnings("ignore", "Error parsing type annotation")  # of a NamedTuple, which keeps them as text
    pdoc.pdoc(*names, output_directory=folder)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs"
    write(folder, modules())
    print(folder / "index.html")
