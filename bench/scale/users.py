"""Ten terabytes of runs and a hundred people: the servers, the catalogue and the caches that they take."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from bench.scale.derived import short
from qkstore.store.catalog.postgres import KEPT

Values = Mapping[str, float]
BUSY = 0.5  # of a server's cores: beyond, people wait for each other
MAX_CONNECTIONS = 100  # of PostgreSQL, unless it is told otherwise


def table(c: Values, a: Values, heads: int, contrasts: float) -> list[list[str]]:
    """heads, contrasts: of each run, for what the catalogue keeps."""
    rate = a["users"] / a["think_s"]
    cores, worst = rate * c["a page"] / 1000, rate * c["the slowest page"] / 1000
    servers = ceil(cores / (BUSY * a["server_cores"]))
    asked_at_once = rate * (c["read a result, PostgreSQL"] + c["save a contrast, PostgreSQL"]) / 1000
    store, net = a["store_tb"] * 1e12, a["net_gbit"] * 1e9 / 8
    head = store / heads
    check = c["check"] / c["what it checks"]
    kept = c["a head's kept score"] * heads * contrasts / 1e6
    month, whole = a["store_tb"] * a["price_tb_month"], f"{a['store_tb']:g} TB"
    rows = [
        ("pages a second", short(rate), f"{a['users']:g} people, {a['think_s']:g} s between two pages"),
        ("cores for pages", f"{short(cores)}, {short(worst)} if all are the slowest", "CPU of a page × pages a second"),
        ("servers", str(servers), f"{a['server_cores']:g} cores each, half of them busy"),
        ("memory of the servers", f"{short(servers * c['a server'] / 1000)} GB", "one after all pages of a 12 GB run"),
        ("statements at work in PostgreSQL", short(asked_at_once), "a read and a write a page"),
        ("connections that wait", f"{servers * KEPT} of {MAX_CONNECTIONS}", f"{KEPT} a server process at most"),
        ("kept head scores", f"{short(kept)} MB", f"{heads:,} heads × {contrasts:g} contrasts of a run"),
        ("a cache of all runs, on each server", f"{whole}, $ {short(month)} a month", "fetched whole"),
        ("filling it", f"{short(store / net / 3600)} hours", f"{a['net_gbit']:g} Gbit/s, nobody else on the line"),
        ("one head alone", f"{short(head / 1e9)} GB, {short(head / net)} s", f"one of {heads:,} of a run of {whole}"),
        ("every vector read once", f"{short(store / 1e6 / c['read float32'] / 3600)} core hours", "float32, warm"),
        ("`qkstore check` of all", f"{short(check * store / 1e9 / 3600)} core hours", "CPU s a GB of a 12 GB run"),
    ]
    return [["what", "how much", "from"], *(list(row) for row in rows)]
