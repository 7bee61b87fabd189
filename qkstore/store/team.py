"""A team's store: one small TOML file that says where the catalogue and the runs are.

    catalogue = "postgresql://alice@db.example.org/qkstore"   # no password: PGPASSWORD or ~/.pgpass has it
    runs = "/shared/lab/store"                                # a folder that all see; its runs/ holds the run files

or, with the runs on S3-compatible storage, of which each machine keeps copies:

    runs = "s3://lab/qkstore"
    endpoint = "https://s3.example.org"                       # of a server that is not Amazon's
    cache = "~/.cache/qkstore"                                # where copies are kept
    cache_size = "20GB"                                       # of which parts of shards may take so much
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from qkstore.errors import QKStoreError, StoreError, near
from qkstore.sql.memory import bytes_of
from qkstore.store.bucket import MOST_BYTES, SCHEME, Bucket

SUFFIX = ".toml"
NEEDED, MORE = ("catalogue", "runs"), ("endpoint", "cache", "cache_size")
CACHE = "~/.cache/qkstore"
SCHEMES = ("postgresql", "postgres")
EXAMPLES = {
    "catalogue": "such as postgresql://alice@db.example.org/qkstore",
    "runs": "such as /shared/lab/store, a folder that all see, or s3://lab/qkstore",
    "endpoint": "such as https://s3.example.org",
    "cache": f"such as {CACHE}",
    "cache_size": "such as 20GB",
}


@dataclass(frozen=True)
class Team:
    """What the file says.

    catalogue: a URL of PostgreSQL. runs: the folder of runs/, or of copies of what is in the bucket.
    """

    file: Path
    catalogue: str
    runs: Path
    bucket: Bucket | None = None

    @classmethod
    def read(cls, file: str | Path) -> Team:
        """Raises StoreError, which names the field, for a file that is none."""
        file = Path(file)
        given = _fields(file)
        url, runs = _url(file, given["catalogue"]), given["runs"]
        if not runs.startswith(f"{SCHEME}:"):
            return cls(file, url, _place(file, runs))
        if not urlsplit(runs).netloc:
            raise StoreError(f"store file {file.name}: runs {runs!r} names no bucket; {EXAMPLES['runs']}")
        copies = _place(file, given.get("cache", CACHE)) / hashlib.sha256(runs.encode()).hexdigest()[:12]
        most = _bytes(file, given["cache_size"]) if "cache_size" in given else MOST_BYTES
        return cls(file, url, copies, Bucket(runs, copies, given.get("endpoint"), most))


def _fields(file: Path) -> dict[str, str]:
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(f"store file {file.name} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"store file {file.name} is not TOML: {error}") from None
    for name in given:
        if name not in (*NEEDED, *MORE):
            raise StoreError(f"store file {file.name} has a field {name!r}; {near(name, (*NEEDED, *MORE))}")
    for name in (*NEEDED, *(more for more in MORE if more in given)):
        if not isinstance(given.get(name), str) or not given[name].strip():
            raise StoreError(f'store file {file.name} has no {name}: write {name} = "…"; {EXAMPLES[name]}')
    return given


def _place(file: Path, folder: str) -> Path:
    """A folder, as seen from the one of the file."""
    return (file.parent / Path(folder).expanduser()).resolve()


def _bytes(file: Path, size: str) -> int:
    try:
        return bytes_of(size)
    except QKStoreError:
        said = f"cache_size {size!r} is no size; write one {EXAMPLES['cache_size']}"
        raise StoreError(f"store file {file.name}: {said}") from None


def _url(file: Path, url: str) -> str:
    try:
        parts = urlsplit(url)
        password, scheme = parts.password, parts.scheme
    except ValueError as error:
        raise StoreError(f"store file {file.name}: catalogue is no URL: {error}") from None
    if password is not None:
        raise StoreError(
            f"store file {file.name}: the catalogue's URL holds a password, which all who read the file would know; "
            "leave it out, and put it into ~/.pgpass or PGPASSWORD"
        )
    if scheme not in SCHEMES:
        raise StoreError(f"store file {file.name}: catalogue {url!r} is no URL of PostgreSQL; {EXAMPLES['catalogue']}")
    return url
