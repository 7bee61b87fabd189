"""Run files as a machine would spoil them: their tables by SQL, their bytes, or bytes under checksums made anew.

The last are read in a process of its own (`python fuzzed_files.py FOLDER SEED FIRST`), which DuckDB may end.
"""

from __future__ import annotations

import faulthandler
import random
import re
import struct
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
import spoilt
import test_hostile_files
import test_hostile_rows

VALUES = (
    "NULL", "-1", "0", "1", "7", "8", "0.5", "1e300", "2147483647", "-2147483648", "9223372036854775807", "'nan'",
    "'inf'", "'-inf'", "'x'", "''", "'2262-05-01'", "'infinity'", "'[1]'", "'{}'", "'null'", "true", "[NULL]", "[]",
    "['a', 'a']", "repeat('x', 2000000)", "'a\nb'", "chr(8238)", "'train'", "'box'", "'=1+1'", "[1, 2, 3]", "chr(0)",
    "[1, 2, 3, 4, 5, 6, 7, 'nan'::FLOAT]", "list_resize([1.0], 8, 1e30)", "'1e5'::DOUBLE", "'\\xAA'::BLOB",
)  # fmt: skip
TYPES = (
    "VARCHAR", "DOUBLE", "BIGINT", "BLOB", "INTEGER[]", "BOOLEAN", "TIMESTAMP", "FLOAT[8]", "HUGEINT", "UUID", "FLOAT",
    "FLOAT[]", "DOUBLE[8]", "FLOAT[7]", "VARCHAR[]", "DATE", "INTERVAL", "DECIMAL(18, 3)", "TINYINT", "UBIGINT", "BIT",
    "STRUCT(a INTEGER)", "MAP(VARCHAR, INTEGER)", "UNION(a INTEGER, b VARCHAR)", "ENUM('a', 'b')", "TIMESTAMPTZ",
)  # fmt: skip
CHANGES = (
    "UPDATE {table} SET {column} = {value}",
    "UPDATE {table} SET {column} = {value} WHERE rowid % 3 = 1",
    "UPDATE {table} SET {column} = {value} WHERE rowid = 0",
    "UPDATE {table} SET {column} = (SELECT {column} FROM {table} LIMIT 1)",
    "UPDATE {table} SET {column} = {other}",
    "UPDATE {table} SET {column} = {column} + 1",
    "UPDATE {table} SET {column} = -{column}",
    "UPDATE {table} SET {column} = json_merge_patch({column}, '{{\"run\": {value}}}')",
    "DELETE FROM {table}",
    "DELETE FROM {table} WHERE rowid % 5 = 2",
    "INSERT INTO {table} SELECT * FROM {table} LIMIT 3",
    "INSERT INTO {table} SELECT * FROM {table} ORDER BY rowid DESC",
    "INSERT INTO {table} ({column}) VALUES ({value})",
    "ALTER TABLE {table} ALTER COLUMN {column} TYPE {kind} USING TRY_CAST({column} AS {kind})",
    "ALTER TABLE {table} ALTER COLUMN {column} TYPE {kind}",
    "ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {value}",
    "ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL",
    "ALTER TABLE {table} DROP COLUMN {column}",
    "ALTER TABLE {table} RENAME COLUMN {column} TO other",
    "ALTER TABLE {table} RENAME COLUMN {column} TO {other}2",
    "ALTER TABLE {table} ADD COLUMN more {kind} DEFAULT {value}",
    "ALTER TABLE {table} ADD COLUMN more {kind}; UPDATE run SET token_labels = token_labels || ['more']",
    "ALTER TABLE {table} RENAME TO other",
    "DROP TABLE {table}",
    "CREATE OR REPLACE TABLE {table} AS SELECT * REPLACE ({value} AS {column}) FROM {table}",
    "CREATE OR REPLACE TABLE {table} AS SELECT * FROM {table} ORDER BY random()",
    "CREATE OR REPLACE TABLE {table} AS SELECT * FROM {table}, range(2)",
    "CREATE TABLE more AS SELECT * FROM {table}",
    "CREATE VIEW more AS SELECT {column} FROM {table}",
    "CREATE INDEX more ON {table} ({column})",
    "CREATE MACRO {table}(x) AS {value}",
)
WRITTEN = [  # what people thought of; a machine puts them together
    sql
    for table in (
        test_hostile_files.OBJECTS,
        test_hostile_files.COLUMNS,
        test_hostile_rows.REFUSED,
        test_hostile_rows.READ,
    )
    for sql, _ in table.values()
    if "CANARY" not in sql and "OUT" not in sql
]


def change(rng: random.Random, columns: dict[str, list[str]]) -> str:
    """One statement that changes a file of these tables; DuckDB itself may refuse it."""
    if rng.random() < 0.1:
        return rng.choice(WRITTEN)
    table = rng.choice(sorted(columns))
    column, other = rng.choice(columns[table]), rng.choice(columns[table])
    return rng.choice(CHANGES).format(
        table=table, column=f'"{column}"', other=other, value=rng.choice(VALUES), kind=rng.choice(TYPES)
    )


def spoilt_bytes(rng: random.Random, good: bytes) -> bytes:
    """The bytes of a file with some changed, moved, doubled or cut off."""
    data, kind = bytearray(good), rng.random()
    if kind < 0.7:
        near = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(3 * 4096)  # its headers stand there
        for _ in range(rng.randint(1, 30)):
            data[rng.randrange(near, min(len(data), near + rng.choice((8, 4096, len(data)))))] ^= rng.randint(1, 255)
    elif kind < 0.85:
        at, to, many = rng.randrange(len(data)), rng.randrange(len(data)), rng.choice((8, 512, 4096, 262_144))
        piece = good[at : at + many]
        data[to : to + len(piece)] = piece
    return bytes(data if rng.random() < 0.8 else data[: rng.randrange(len(data))])


# -- checksums made anew -----------------------------------------------------------------------------------------

HEADERS, HEADER, BLOCK = 3, 4096, 262_144  # bytes of the parts of a file, each of which begins with its checksum
SECTION = 4088  # bytes, of a block of metadata
WORDS = (-1, 0, 1, 255, 2**31 - 1, 2**40, 2**62)
MOST_S = 20  # for one file to be read


def crafted(rng: random.Random, good: bytes) -> bytes:
    """The bytes of a file with some changed where it holds anything, under right checksums."""
    data, parts = bytearray(good), pieces(len(good))
    for _ in range(rng.choice((1, 1, 2, 4, 10))):
        first, last = rng.choice(parts)
        at = next((a for a in (rng.randrange(first + 8, last - 8) for _ in range(50)) if data[a]), last - 16)
        kind = rng.random()
        if kind < 0.4:
            data[at] ^= 1 << rng.randrange(8)
        elif kind < 0.7:
            data[at] = rng.choice((0, 1, 127, 128, 255))
        else:
            word = struct.pack("<q", rng.choice(WORDS))[: rng.choice((2, 4, 8))]
            data[at : at + len(word)] = word
    return signed(data)


def pieces(size: int) -> list[tuple[int, int]]:
    """(first, last) of the parts of a file that have a checksum."""
    begins = [*range(0, HEADERS * HEADER, HEADER), *range(HEADERS * HEADER, size - BLOCK + 1, BLOCK)]
    return [(at, at + (HEADER if at < HEADERS * HEADER else BLOCK)) for at in begins]


def signed(data: bytearray) -> bytes:
    """The bytes with the checksums that DuckDB would write."""
    for first, last in pieces(len(data)):
        words = np.frombuffer(bytes(data[first + 8 : last]), "<u8")
        struct.pack_into("<Q", data, first, 5381 ^ int(np.bitwise_xor.reduce(words * np.uint64(0xBF58476D1CE4E5B9))))
    return bytes(data)


def ending(good: bytes) -> bytes:
    """The bytes of a file that ends DuckDB where it plans to read a column, under right checksums.

    DuckDB keeps how many values of a column differ as counts of some bits, and trusts each count to be a possible one.
    One is made 255; whoever attaches such a file, and counts its rows, meets nothing.
    """
    data = bytearray(good)
    for found in re.finditer(b"HYLL", good):
        at = next((at for at in range(found.end() + 100, found.end() + 1000) if data[at]), 0)
        if at and _section(at) == _section(found.start()):
            data[at] = 255
    return signed(data)


def _section(at: int) -> tuple[int, int]:
    """Which piece of DuckDB's metadata a byte is in; each begins with the place of the next."""
    return (at - HEADERS * HEADER) // BLOCK, ((at - HEADERS * HEADER) % BLOCK - 8) // SECTION


def serve(place: spoilt.Place, seed: int, first: int) -> None:
    """Read one crafted file after another, from number `first` on; a line for each before and after it is read."""
    good = (place.store.path / "runs" / "good.duckdb").read_bytes()
    for number in count(first):
        print(number, end=" ", flush=True)
        faulthandler.dump_traceback_later(MOST_S, exit=True)
        print("opened" if tried(place, lambda n=number: crafted(random.Random(f"{seed} {n}"), good)) else "refused")
        faulthandler.cancel_dump_traceback_later()


def tried(place: spoilt.Place, made: Callable[[], bytes]) -> bool:
    """Put a file as run 'bad' and read all there is of it; whether it opened."""
    place.bad.unlink(missing_ok=True)
    place.bad.write_bytes(made())
    if place.scanned():
        return False
    place.read()
    return True


if __name__ == "__main__":
    serve(spoilt.there(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))
