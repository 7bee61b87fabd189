"""Sizes of memory: read as DuckDB reads them, and one line for what is none."""

from __future__ import annotations

import duckdb
import pytest

from qkstore.errors import QKStoreError
from qkstore.sql.memory import bytes_of


def test_a_size_is_a_number_with_a_unit():
    assert bytes_of("8GB") == 8 * 10**9
    assert bytes_of("1.5 mb") == 1_500_000
    assert bytes_of(" 512 MiB ") == 512 * 2**20


@pytest.mark.parametrize("text", ["8", "lots", "0GB", "-1GB", "", "1.2.3GB", "GB", "8XB", "100B"])
def test_what_is_no_size_says_how_to_write_one(text):
    with pytest.raises(QKStoreError, match="write a number with KB, MB, GB, TB, such as 8GB") as error:
        bytes_of(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["100MB", "2GB", "2.5 gb", "2 gib", "512MiB", "1TB", "0.5GiB"])
def test_a_size_is_what_duckdb_takes_it_for(text):
    (shown,) = (
        duckdb.connect(config={"memory_limit": text}).execute("SELECT current_setting('memory_limit')").fetchone()
    )
    assert bytes_of(shown) == pytest.approx(bytes_of(text), rel=0.05)  # it shows one decimal
