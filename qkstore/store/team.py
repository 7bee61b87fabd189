"""A team's store: one small TOML file that says where the catalogue and the runs are.

catalogue = "postgresql://alice@db.example.org/qkstore"   # no password: PGPASSWORD or ~/.pgpass has it
runs = "/shared/lab/store"                                # a folder that all see; its runs/ holds the run files
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from qkstore.errors import StoreError, near

SUFFIX = ".toml"
FIELDS = ("catalogue", "runs")
SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True)
class Team:
    """What the file says. catalogue: a URL of PostgreSQL. runs: a folder."""

    file: Path
    catalogue: str
    runs: Path

    @classmethod
    def read(cls, file: str | Path) -> Team:
        """Raises StoreError, which names the field, for a file that is none."""
        file = Path(file)
        try:
            given = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise StoreError(f"store file {file.name} cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise StoreError(f"store file {file.name} is not TOML: {error}") from None
        for name in given:
            if name not in FIELDS:
                raise StoreError(f"store file {file.name} has a field {name!r}; {near(name, FIELDS)}")
        for name in FIELDS:
            if not isinstance(given.get(name), str) or not given[name].strip():
                raise StoreError(f'store file {file.name} has no {name}: write {name} = "…"; {EXAMPLES[name]}')
        return cls(file, _url(file, given["catalogue"]), (file.parent / Path(given["runs"]).expanduser()).resolve())


EXAMPLES = {
    "catalogue": "such as postgresql://alice@db.example.org/qkstore",
    "runs": "such as /shared/lab/store, a folder that all see",
}


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
