"""Whether a run file has the tables, the numbers of rows and the ranges of values that a run has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from math import isfinite
from pathlib import Path

import duckdb

from qkstore.errors import StoreError
from qkstore.run import schema, sides
from qkstore.run.layer import Layer
from qkstore.run.manifest import Manifest
from qkstore.sql.trust import short

Range = tuple[float | None, float | None, bool]  # least, most, whether it has to be there
Ranges = dict[str, Range]  # of columns
Tables = dict[str, dict[str, str]]  # {table: {column: its DuckDB type}}

MOST = {"n_layers": 10_000, "n_heads": 10_000, "n_kv_heads": 10_000, "d_head": 100_000}
MOST_HEADS = 200_000  # in all stored layers together; the largest models have 16,000
MOST_ROWS = 2**31 - 1  # row numbers are 32-bit
MOST_LABELS = 1000
MOST_TEXT = 1 << 20  # bytes of a label, a prompt or a text of the manifest
MOST_PLAN = 16 << 20
# A small file may say that it has many rows, and what is read is as large as it says. Vectors hardly compress, so those
# of one head take no more than their file; labels compress well, to no less than a 16th of a byte a row.
SLACK_BYTES, SLACK_ROWS, ROWS_A_BYTE = 64 << 20, 1_000_000, 16
FIRST, LAST = datetime(1970, 1, 1), datetime(2200, 1, 1)  # a manifest's date; polars and plotly know no year 290000

PLAIN = re.compile(r"(INTEGER|BIGINT|DOUBLE|FLOAT|BOOLEAN|VARCHAR|TIMESTAMP)(\[\])?")  # what the manifest may hold
SINCE = ("weight", "measure", "shard")  # tables that older runs, or runs without shards, lack
ANSWERS = {"answer_rank": "BIGINT", "answer_probability": "DOUBLE", "answered": "BOOLEAN", "answer_chance": "DOUBLE"}
# What DuckDB says of a column, read from its end: the first and the last text stand in it as the file has them.
NULLS = r"\[Has Null: (?P<nulls>true|false), Has No Null: (?:true|false)\](?:\[Approx Unique: \d+\])?"
NUMBERS = re.compile(rf"\[Min: (?P<least>-?\d+), Max: (?P<most>-?\d+)\]{NULLS}")
TEXTS = re.compile(rf".*Max String Length: (?P<length>\d+)\]{NULLS}", re.DOTALL)
DIGEST = re.compile(r"[0-9a-f]{64}")


def check_manifest_types(columns: dict[str, str], what: str) -> None:
    """Raise StoreError unless table `run` can be read as a manifest; a newer qkstore's may have more columns."""
    for name, kind in columns.items():
        if kind != schema.MANIFEST.get(name, kind) or not PLAIN.fullmatch(kind):
            raise StoreError(f"{what} is damaged: column {name} of its manifest is {kind}, not {_should(name)}")


def _should(name: str) -> str:
    return schema.MANIFEST.get(name, "a number, a text, a date or a list of them")


def check_numbers(manifest: Manifest, what: str) -> None:
    """Raise StoreError where the manifest says what no run can be."""
    for name, most in MOST.items():
        _within(what, name, getattr(manifest, name), 1, most)
    if manifest.store_dtype not in schema.STORE_DTYPES:
        raise StoreError(
            f"{what} is damaged: it says store_dtype {short(manifest.store_dtype)}; possible is "
            f"{' or '.join(schema.STORE_DTYPES)}"
        )
    for name in ("n_prompts", "n_tokens", "n_queries", "n_keys"):
        _within(what, name, getattr(manifest, name), 0, MOST_ROWS)
    if manifest.n_heads % manifest.n_kv_heads:
        raise StoreError(
            f"{what} is damaged: its manifest has n_heads {manifest.n_heads} and n_kv_heads {manifest.n_kv_heads}, "
            "which does not divide it"
        )
    for name in ("token_labels", "prompt_labels", "query_roles"):
        if None in (getattr(manifest, name) or []):
            raise StoreError(f"{what} is damaged: {name} of its manifest holds a NULL")
    if not isinstance(read_json(manifest.plan, f"{what}: plan of its manifest"), dict):
        raise StoreError(f"{what}: plan of its manifest is no JSON object; it says how the run was made")


def _within(what: str, name: str, value: float | None, least: float, most: float) -> None:
    if value is None or not least <= value <= most:
        raise StoreError(f"{what} is damaged: it says {name} {value}; possible is {least:,} to {most:,}")


def read_json(value: str, what: str) -> object:
    """The value of a JSON text; raises StoreError where it is none."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise StoreError(f"{what} is no JSON: {short(value)}") from None


def check_tables(tables: Tables, manifest: Manifest, what: str) -> None:
    """Raise StoreError unless the file has a run's tables, with these columns and types and the labels it names."""
    token = _labels(tables, "token", schema.TOKEN, manifest.token_labels, what)
    prompt = _labels(tables, "prompt", schema.PROMPT, manifest.prompt_labels, what)
    expected = schema.run_columns(manifest.d_head, token, prompt, manifest.store_dtype)
    expected |= sides.side_columns(token, prompt, manifest.schema_version) | {"shard": schema.SHARD}
    for table, columns in expected.items():
        if table not in tables and table in SINCE:
            continue
        if table not in tables:
            raise StoreError(f"{what} cannot be read: it has no table {table}")
        for name, kind in columns.items():
            if tables[table].get(name) != kind:
                there = tables[table].get(name, "not there")
                raise StoreError(f"{what} cannot be read: column {name} of its table {table} is {there}, not {kind}")
    for table, columns in tables.items():
        more = sorted(columns.keys() - expected.get(table, columns).keys())
        if more or table not in {*expected, "run"}:
            thing = f"column {more[0]} of table {table}" if more else f"table {table}"
            raise StoreError(f"{what} holds {thing}, which no run has; it is not opened")


def _labels(tables: Tables, table: str, own: dict[str, str], named: list[str], what: str) -> dict[str, str]:
    """{label: its type} of a table's label columns: those that the manifest names, of names and types possible."""
    found = {name: kind for name, kind in tables.get(table, {}).items() if name not in own}
    if table in tables and (len(named) > MOST_LABELS or sorted(found) != sorted(named)):
        odd = sorted(found.keys() ^ set(named)) or named
        raise StoreError(
            f"{what} is damaged: label {short(odd[0])} stands in its manifest or in its table {table}, not in both once"
        )
    for name, kind in found.items():
        possible = [ANSWERS[name]] if table == "prompt" and name in ANSWERS else schema.DUCKDB_TYPE.values()
        if name.lower() in schema.RESERVED or kind not in possible:
            raise StoreError(
                f"{what} cannot be read: its label {name} of {table} cannot be called so, or not be {kind}"
            )
    return found


def check_rows(cursor: duckdb.DuckDBPyConnection, tables: Tables, manifest: Manifest, path: Path) -> list[Layer]:
    """The layers of a run of which every table has its number of rows, and no row or prompt number that is not there.

    Raises StoreError for another.

    DuckDB answers these questions from what it knows of each column, without a scan, where all is well. That no row
    number stands twice is looked at where rows are read.
    """
    what, ranges = f"run file {path.name}", _ranges(tables, manifest)
    _check_size(manifest, what, path.stat().st_size, "shard" in tables)
    counts = " UNION ALL ".join(f"SELECT '{table}', count(*) FROM {table}" for table in ranges)
    for table, there in cursor.execute(counts).fetchall():
        if there != ranges[table][0]:
            raise StoreError(f"run {path.stem!r}: {table} has {there} rows of {ranges[table][0]}; its file is damaged")
    known = _known(cursor, tables, ranges)
    for table, (_, own) in ranges.items():
        kinds, said = tables[table], known.get(table, {})
        doubted = {name: own[name] for name in own if not _surely_inside(kinds[name], said.get(name, ""), own[name])}
        if doubted:
            _check_inside(cursor, table, doubted, what)
        for name in (name for name, kind in kinds.items() if kind == "VARCHAR"):
            _check_length(cursor, table, name, said.get(name, ""), what)
    return _layers(cursor, manifest, what)


def _known(cursor: duckdb.DuckDBPyConnection, tables: Tables, ranges: dict[str, tuple[int, Ranges]]) -> dict:
    """{table: {column: what DuckDB says of its values}} of columns with a range and of texts, without a scan."""
    asked = {
        table: [name for name, kind in tables[table].items() if name in own or kind == "VARCHAR"]
        for table, (_, own) in ranges.items()
    }
    sql = " UNION ALL ".join(
        f"(SELECT '{table}', [{', '.join(f'stats({schema.quoted(name)})' for name in names)}] FROM {table} LIMIT 1)"
        for table, names in asked.items()
    )
    return {table: dict(zip(asked[table], said, strict=True)) for table, said in cursor.execute(sql).fetchall()}


def _surely_inside(kind: str, said: str, allowed: Range) -> bool:
    """Whether DuckDB knows that the values of a column are possible; of fractions it does not say enough."""
    least, most, filled = allowed
    found = (TEXTS if kind == "VARCHAR" else NUMBERS).fullmatch(said)
    if not found or kind == "DOUBLE" or (filled and found["nulls"] == "true"):
        return False
    return least is None or (most is not None and least <= int(found["least"]) and int(found["most"]) <= most)


def _outside(name: str, allowed: Range) -> str:
    """The SQL condition that a column is outside its range."""
    least, most, filled = allowed
    conditions = [f"{name} IS NULL"] if filled else []
    return " OR ".join(conditions + ([] if least is None else [f"{name} < {least} OR {name} > {most}"]))


def _check_inside(cursor: duckdb.DuckDBPyConnection, table: str, ranges: Ranges, what: str) -> None:
    """Raise StoreError that names the first column with a value outside its range."""
    any_outside = " OR ".join(map(_outside, ranges, ranges.values()))
    found = cursor.execute(f"SELECT 1 FROM {table} WHERE {any_outside} LIMIT 1").fetchall()
    for name, allowed in ranges.items() if found else ():
        row = cursor.execute(f"SELECT {name}::VARCHAR FROM {table} WHERE {_outside(name, allowed)} LIMIT 1").fetchone()
        if row:
            possible = "" if allowed[0] is None else f"; possible is {allowed[0]} to {allowed[1]}"
            raise StoreError(f"{what} is damaged: {table}.{name} is {row[0] or 'NULL'}{possible}")


def _check_length(cursor: duckdb.DuckDBPyConnection, table: str, name: str, said: str, what: str) -> None:
    """Raise StoreError for a text that is longer than any run's: a page would show it."""
    known, column = TEXTS.fullmatch(said), schema.quoted(name)
    sql = f"SELECT coalesce(max(strlen({column})), 0) FROM {table}"
    length = int(known["length"]) if known else cursor.execute(sql).fetchall()[0][0]
    if length > MOST_TEXT:
        raise StoreError(
            f"{what} holds a text of {length:,} bytes in column {column} of {table}; possible are {MOST_TEXT:,}"
        )


def _check_size(manifest: Manifest, what: str, size: int, sharded: bool) -> None:
    rows, vector = max(manifest.n_queries, manifest.n_keys), schema.vector_bytes(manifest.d_head, manifest.store_dtype)
    if (not sharded and rows * vector > size + SLACK_BYTES) or max(
        rows, manifest.n_prompts, manifest.n_tokens
    ) > ROWS_A_BYTE * size + SLACK_ROWS:
        raise StoreError(
            f"{what} is damaged: {size:,} bytes cannot hold {manifest.n_tokens:,} tokens and "
            f"{rows:,} vectors of {manifest.d_head} a head"
        )


def _ranges(tables: Tables, manifest: Manifest) -> dict[str, tuple[int, Ranges]]:
    """{table: (rows, {column: (least, most, whether it has to be there)})}."""
    prompts = (0, manifest.n_prompts - 1)
    place: Ranges = {"prompt_id": (*prompts, True), "pos": (0, manifest.n_tokens - 1, True)}
    partner: Ranges = {"counterfactual_id": (*prompts, False)}
    text: Ranges = {"text": (None, None, True)}
    split: Ranges = {"split": (None, None, True)}
    possible: Ranges = {
        "answer_probability": (0, 1, False),
        "answer_chance": (0, 1, False),
        "answer_rank": (0, MOST_ROWS, False),
    }
    answers: Ranges = {name: limits for name, limits in possible.items() if name in tables["prompt"]}
    query: Ranges = {"query_row": (0, manifest.n_queries - 1, True)} | place
    key: Ranges = {"key_row": (0, manifest.n_keys - 1, True)} | place
    return {
        "prompt": (manifest.n_prompts, {"prompt_id": (*prompts, True)} | partner | split | text | answers),
        "token": (manifest.n_tokens, place | text),
        "query_row": (manifest.n_queries, query),
        "key_row": (manifest.n_keys, key),
        "q": (manifest.n_queries, query | partner | split),
        "k": (manifest.n_keys, key | partner | split),
    }


def _layers(cursor: duckdb.DuckDBPyConnection, manifest: Manifest, what: str) -> list[Layer]:
    sql = 'SELECT layer, scaling, softcap, "window", causal FROM layer LIMIT ?'
    rows = cursor.execute(sql, [manifest.n_layers + 1]).fetchall()
    numbers = [row[0] for row in rows]
    if len(set(numbers)) != len(rows) or not set(numbers) <= set(range(manifest.n_layers)):
        raise StoreError(f"{what} is damaged: its table layer has a number twice, or none of 0 to n_layers - 1")
    if len(rows) * manifest.n_heads > MOST_HEADS:
        raise StoreError(f"{what} has {len(rows) * manifest.n_heads:,} heads; possible are {MOST_HEADS:,}")
    for number, scaling, softcap, window, causal in rows:
        for wrong in _wrong(scaling, softcap, window, causal):
            raise StoreError(f"{what} is damaged: layer {number} has {wrong}")
    _check_content(manifest, numbers, what)
    return [Layer(*row) for row in sorted(rows)]


def _wrong(scaling: float | None, softcap: float | None, window: int | None, causal: bool | None) -> Iterator[str]:
    if scaling is None or not isfinite(scaling) or scaling == 0:
        yield f"the scaling {scaling}"
    if softcap is not None and not (isfinite(softcap) and softcap > 0):
        yield f"the softcap {softcap}"
    if window is not None and window < 1:
        yield f"the window {window}"
    if causal is None:
        yield "no word on whether it is causal"


def _check_content(manifest: Manifest, layers: list[int], what: str) -> None:
    """Raise StoreError unless there is a digest of all that is in the run: what has none could not be checked."""
    if manifest.content is None:  # a run made before there were digests
        return
    found = read_json(manifest.content, f"{what}: content of its manifest")
    wanted = {"labels", *(f"layer {n}" for n in layers)}
    if not isinstance(found, dict) or found.keys() != wanted:
        raise StoreError(f"{what} is damaged: its manifest does not have a digest of its labels and of each layer")
    for name, digest in found.items():
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise StoreError(f"{what} is damaged: its digest of {name} is no SHA-256")
