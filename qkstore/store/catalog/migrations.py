"""The tables of a catalogue, as the migrations that make them; the same in DuckDB and in PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The time in UTC, without a zone, as a catalogue keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


MIGRATION = "CREATE TABLE IF NOT EXISTS migration (version INTEGER PRIMARY KEY, applied TIMESTAMP NOT NULL)"

# A migration is never edited once released: the next change is the next entry.
# Nothing reads or writes notes; their table stays, since dropping it would lose what older code may have kept there.
MIGRATIONS = [
    """
    CREATE TABLE contrast (
        name VARCHAR NOT NULL, version INTEGER NOT NULL, "where" VARCHAR, positive VARCHAR, negative VARCHAR, \
pairs VARCHAR,
        weighting VARCHAR NOT NULL, centring VARCHAR NOT NULL, description VARCHAR NOT NULL, author VARCHAR NOT NULL,
        created TIMESTAMP NOT NULL, PRIMARY KEY (name, version));
    CREATE TABLE note (
        note_id VARCHAR PRIMARY KEY, run VARCHAR NOT NULL, subject VARCHAR NOT NULL, text VARCHAR NOT NULL, \
author VARCHAR NOT NULL,
        created TIMESTAMP NOT NULL);
    CREATE TABLE result (
        key VARCHAR PRIMARY KEY, kind VARCHAR NOT NULL, run VARCHAR NOT NULL, contrast VARCHAR NOT NULL, \
payload VARCHAR NOT NULL,
        created TIMESTAMP NOT NULL)
    """,
]
