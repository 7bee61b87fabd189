"""Writes setup/hashes/*.txt: every pin of setup/constraints.txt with the SHA-256 of each of its files.

.venv/bin/python setup/hashes.py [WHEEL …]

To be run after a change of setup/constraints.txt or pyproject.toml, in a .venv that has all extras. uv asks the index
that it is set up for; nothing is downloaded. WHEEL: a file of a pinned version that lies elsewhere, such as torch's
build for CPUs; it is hashed here. What was written for a version before stays, so that such files are named once.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from itertools import product
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent
PINS, OUT = ROOT / "setup/constraints.txt", ROOT / "setup/hashes"
PYTHON = "3.11.5"  # the least that every pin allows
SYSTEMS = [{"sys_platform": s, "platform_system": s.capitalize()} for s in ("linux", "darwin")]
VERSIONS = [{"python_version": v, "python_full_version": f"{v}.9"} for v in ("3.11", "3.12", "3.13")]
COMMAND = "# python -m pip install --require-hashes"
CORE = f"""# What shows a store, and what builds the package; made by setup/hashes.py.
{COMMAND} -r setup/hashes/core.txt
# python -m pip install --no-deps --no-build-isolation ."""
EXTRA = f"""# What the extra {{0!r}} needs besides; made by setup/hashes.py.
{COMMAND} -r setup/hashes/{{0}}.txt
-r core.txt"""
TEST = f"""# What only the tests need; made by setup/hashes.py.
{COMMAND} -r setup/hashes/test.txt"""
ALONE = f"""# What is installed without what it says it needs; made by setup/hashes.py.
{COMMAND} --no-deps -r setup/hashes/alone.txt"""

Hashes = dict[str, set[str]]  # {requirement, name==version: the SHA-256 of its files}


def pins() -> dict[str, str]:
    """{package: name==version} of the constraints."""
    return {canonicalize_name(line.split("==")[0]): line for line in PINS.read_text().split()}


def asked() -> Hashes:
    """The hashes of every pin's files, from the index."""
    if not (uv := shutil.which("uv")):
        sys.exit("uv is needed, to ask the index: python -m pip install uv")
    command = [uv, "pip", "compile", PINS, "--no-deps", "--universal", "--python-version", PYTHON, "--quiet"]
    command += ["--generate-hashes", "--no-annotate", "--no-header", "--no-cache"]
    return read(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def read(text: str) -> Hashes:
    """The hashes in a requirements file, by requirement with its package's usual name."""
    lines = (line for line in text.replace("\\\n", " ").splitlines() if "==" in line and not line.startswith("#"))
    found = {line.split()[0]: set(re.findall(r"--hash=sha256:([0-9a-f]{64})", line)) for line in lines}
    return {f"{canonicalize_name(name)}=={v}": found[f"{name}=={v}"] for name, v in (r.split("==") for r in found)}


def merged(*several: Hashes) -> Hashes:
    return {one: set().union(*(hashes.get(one, ()) for hashes in several)) for hashes in several for one in hashes}


def wheel(path: Path) -> Hashes:
    """The hash of a file of a pinned version; a build of it, such as +cpu, is of that version."""
    name, version, *_ = parse_wheel_filename(path.name)
    with open(path, "rb") as file:
        return {f"{name}=={version.public}": {hashlib.file_digest(file, "sha256").hexdigest()}}


def needed(names: list[str]) -> set[str]:
    """The packages that some need, with their needs, on any system and Python that qkstore is for."""
    found, left = set(), [(canonicalize_name(name), "") for name in names]
    where = [default_environment() | system | version for system, version in product(SYSTEMS, VERSIONS)]
    while left:
        if (one := left.pop()) in found:
            continue
        found.add(one)
        for need in map(Requirement, requires(one[0])):
            if not need.marker or any(need.marker.evaluate(env | {"extra": one[1]}) for env in where):
                left += [(canonicalize_name(need.name), extra) for extra in ("", *need.extras)]
    return {name for name, _ in found}


def requires(name: str) -> list[str]:
    """What a package says that it needs; nothing where it is not installed, as for another system."""
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []


def files() -> dict[str, tuple[str, set[str]]]:
    """{file: (its head, its packages)}: the core, what each extra needs besides, the tests, and what stands alone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    builds = [Requirement(need).name for need in project["build-system"]["requires"]]
    core = needed(project["project"]["dependencies"] + builds)
    found = {"core": (CORE, core)}
    for extra in (name for name in extras if name != "dev"):
        found[extra] = (EXTRA.format(extra), needed(extras[extra]) - core)
    alone = {r.split("==")[0] for file in ROOT.glob("requirements-*.txt") for r in read(file.read_text())}
    rest = set(pins()) - set().union(*(packages for _, packages in found.values())) - alone
    found["test"] = ("\n".join([TEST, *(f"-r {name}.txt" for name in found)]), rest)
    found["alone"] = (ALONE, alone)
    return found


def write(known: Hashes) -> None:
    for name, (head, packages) in files().items():
        lines = [head]
        for package in sorted(packages & set(pins())):
            pinned = f"{package}=={pins()[package].split('==')[1]}"
            lines.append(" ".join([pinned, *(f"--hash=sha256:{digest}" for digest in sorted(known[pinned]))]))
        (OUT / f"{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    before = merged({}, *(read(path.read_text()) for path in OUT.glob("*.txt")))
    write(merged(asked(), before, *(wheel(Path(name)) for name in sys.argv[1:])))
