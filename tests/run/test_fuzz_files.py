"""Run files spoilt at random: what is read is what was published, or there is an error of one line.

Half a minute here, longer by QKSTORE_FUZZ_S; other files by QKSTORE_FUZZ_SEED.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import fuzzed_files
import numpy as np
import pytest
import spoilt

SECONDS = float(os.environ.get("QKSTORE_FUZZ_S", 21)) / 3  # for each of three kinds
SEED = int(os.environ.get("QKSTORE_FUZZ_SEED", 0))
DUCKDB_S = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGFPE, -signal.SIGBUS)  # ends of a process, not by Python


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return spoilt.place(tmp_path_factory.mktemp("fuzz"))


def test_tables_changed_by_sql_are_an_error_or_a_reading(place):
    rng, until, n, opened = random.Random(SEED), time.monotonic() + SECONDS, 0, 0
    columns = place.store.run("good").columns
    while time.monotonic() < until:
        changes = [fuzzed_files.change(rng, columns) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        n += 1
        try:
            place.spoil("SELECT 1", changes)
            if not place.scanned():
                opened += 1
                place.read()
        except Exception as error:
            raise AssertionError(f"file {n} of seed {SEED}: {changes}") from error
    print(f"{n} files of seed {SEED} changed by SQL, {opened} opened")
    assert n > SECONDS
    assert 0 < opened < n, "the control: some changes do harm, and some none"


def test_other_bytes_are_an_error_or_what_was_published(place):
    rng, until, n, whole = random.Random(SEED), time.monotonic() + SECONDS, 0, 0
    good = place.store.run("good")
    data = good.path.read_bytes()
    while time.monotonic() < until:
        n += 1
        try:
            if fuzzed_files.tried(place, lambda: fuzzed_files.spoilt_bytes(rng, data)) and not place.read():
                bad, whole = place.store.run("bad"), whole + 1
                assert all(np.array_equal(good.queries(i, j), bad.queries(i, j)) for i in range(2) for j in range(4))
                assert all(np.array_equal(good.keys(i, j), bad.keys(i, j)) for i in range(2) for j in range(4))
        except Exception as error:
            raise AssertionError(f"file {n} of seed {SEED}") from error
    print(f"{n} files of seed {SEED} with other bytes, {whole} whole")
    assert n > SECONDS
    assert whole < n, "the control: some bytes count"


def test_other_bytes_under_right_checksums_are_an_error_or_a_reading(place):
    """Such files can end the process that reads them: DuckDB trusts what its checksums cover. Python never fails."""
    until, n, found = time.monotonic() + SECONDS, 0, Counter()
    while time.monotonic() < until or not (found["opened"] and found["refused"]):
        n = crafted(place, n, until, found)
    print(f"{found.total()} files of seed {SEED} with other bytes under right checksums: {dict(found)}")
    assert found["opened"]
    assert found["refused"]


def crafted(place: spoilt.Place, first: int, until: float, found: Counter) -> int:
    """Read such files from number `first` on, in one process while it lives; the number of the next."""
    command = [sys.executable, fuzzed_files.__file__, str(place.store.path.parent), str(SEED), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        number = first
        for line in process.stdout:
            number, *said = line.split()  # nothing is said of the file at which it ends
            found.update(said)
            if time.monotonic() > until:
                process.kill()
                return int(number) + 1
        error = process.stderr.read()
    assert process.returncode in DUCKDB_S, f"file {number} of seed {SEED}: {error[-3000:]}"
    found["crashed"] += 1
    return int(number) + 1


def test_a_text_that_is_no_utf_8_is_an_error_of_one_line(place):
    """SQL cannot write one; whoever makes checksums can."""
    data = bytearray((place.store.path / "runs" / "good.duckdb").read_bytes())
    data[data.index(b"which box is the")] = 0xFF
    assert fuzzed_files.tried(place, lambda: fuzzed_files.signed(data))
    errors = place.read()
    assert errors
    assert all(error.startswith("run file bad.duckdb is damaged") for error in errors), errors


def test_a_name_of_control_characters_is_shown_and_not_obeyed(place):
    """Found so: one mention of a schema is spoilt, and DuckDB says which is not there."""
    good, said = (place.store.path / "runs" / "good.duckdb").read_bytes(), []
    for found in re.finditer(b"main", good):
        data = bytearray(good)
        data[found.start() + 1] = 0x1B
        if not fuzzed_files.tried(place, lambda spoiled=data: fuzzed_files.signed(spoiled)):
            said.append(place.scanned())
    assert any("mU+001Bin" in error for error in said), said


@pytest.mark.parametrize("sql", [c for c in fuzzed_files.CHANGES if "DEFAULT" in c or "DROP" in c or "{kind}" in c])
def test_control_such_a_change_is_found(place, sql):
    place.spoil(sql.format(table="q", column='"role"', other='"pos"', value="'x'", kind="BLOB"))
    assert place.scanned()


def test_control_the_checksums_are_duckdb_s(place):
    good = (place.store.path / "runs" / "good.duckdb").read_bytes()
    assert fuzzed_files.signed(bytearray(good)) == good
