"""Another program that holds a DuckDB file open, for tests."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

HOLD = """
import duckdb, sys
con = duckdb.connect({path!r}, read_only={read_only})
{then}
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(path, then="", read_only=False):
    """Another process that has the file open, as a duckdb shell would; ended with the block."""
    code = HOLD.format(path=str(path), then=then, read_only=read_only)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().strip() == "held"
        yield process
        process.stdin.close()
