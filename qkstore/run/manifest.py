"""A run's manifest: what the one row of its table `run` says of the model, the prompts and the file."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from datetime import datetime

from qkstore.errors import StoreError
from qkstore.run.schema import NEWEST_VERSION
from qkstore.run.sides import made


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The columns of table `run` (docs/storage.md says what each is); every one is an attribute of a Run too.

    A field with a default may be empty (NULL) in the file.
    """

    schema_version: int
    run: str
    model: str
    revision: str | None = None
    weights_hash: str = ""
    architecture: str = ""
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    dtype: str
    task: str
    prompt_template: str | None = None
    chat_template: str | None = None
    bos: str | None = None
    positions: str | None = None
    query_roles: list[str] | None = None
    seed: int | None = None
    code_version: str | None = None
    libraries: str | None = None
    plan: str
    created: datetime
    n_prompts: int
    n_tokens: int
    n_queries: int
    n_keys: int
    token_labels: list[str]
    prompt_labels: list[str]
    content: str | None = None
    quantisation: str | None = None
    store_dtype: str = "float32"
    origin: str | None = None

    @property
    def rounding(self) -> str:
        """What is said of the stored vectors wherever the run is named; '' where they are as the model had them."""
        return "vectors rounded to 16 bits" if self.store_dtype == "int16" else ""

    @property
    def made(self) -> tuple[str, ...]:
        """The columns of q and k that publication made of the tokens: those of sides.MADE that this run has."""
        return made([*self.token_labels, *self.prompt_labels], self.schema_version)

    @classmethod
    def of(cls, row: dict, file: str) -> Manifest:
        """From {column: value}, the row as it stands in `file`.

        Columns that are not known here are left out: a newer qkstore may add some without a new version. Raises
        StoreError for a newer version, and where a column that cannot be empty is missing or NULL.
        """
        check_version(row.get("schema_version"), f"run file {file}")
        given = {f.name: row[f.name] for f in fields(cls) if row.get(f.name) is not None}
        missing = [f.name for f in fields(cls) if f.default is MISSING and f.name not in given]
        if missing:
            raise StoreError(f"run file {file} is damaged: its manifest has no {missing[0]}")
        return cls(**given)


def check_version(version: object, what: str) -> None:
    """Raise StoreError for a version that this qkstore does not read, and where there is none."""
    if not isinstance(version, int):
        raise StoreError(f"{what} was not made by qkstore: its manifest has no version")
    if version > NEWEST_VERSION:
        raise StoreError(f"{what} is of version {version}, this qkstore reads up to {NEWEST_VERSION}: upgrade qkstore")
    if version < 1:
        raise StoreError(f"{what} is damaged: its version is {version}; possible is 1 to {NEWEST_VERSION}")
