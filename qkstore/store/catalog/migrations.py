"""The tables of a catalogue, as the migrations that make them; the same in DuckDB and in PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The time in UTC, without a zone, as a catalogue keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


MIGRATION = "CREATE TABLE IF NOT EXISTS migration (version INTEGER PRIMARY KEY, applied TIMESTAMP NOT NULL)"

# A migration is never edited once released: the next change is the next entry.
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
    # checked: how the contrast did on a run when it was saved, as JSON. forked: the version it was taken from.
    # content, version, code, author: the digest of the run, the version of the contrast and the key of the code that
    # a result was made of, and by whom. mark: what was done to a contrast, a note or a run, each act the next version
    # of its subject, so that nothing is lost. person: the role of each, the newest version counts.
    # writer: the user of the database who wrote the row, which the server fills in itself (no role may set it).
    """
    ALTER TABLE contrast ADD COLUMN checked VARCHAR;
    ALTER TABLE contrast ADD COLUMN forked VARCHAR;
    ALTER TABLE contrast ADD COLUMN writer VARCHAR;
    ALTER TABLE contrast ALTER COLUMN writer SET DEFAULT session_user;
    ALTER TABLE note ADD COLUMN writer VARCHAR;
    ALTER TABLE note ALTER COLUMN writer SET DEFAULT session_user;
    ALTER TABLE result ADD COLUMN content VARCHAR;
    ALTER TABLE result ADD COLUMN version INTEGER;
    ALTER TABLE result ADD COLUMN code VARCHAR;
    ALTER TABLE result ADD COLUMN author VARCHAR;
    CREATE TABLE mark (
        kind VARCHAR NOT NULL, subject VARCHAR NOT NULL, version INTEGER NOT NULL, state VARCHAR NOT NULL,
        author VARCHAR NOT NULL, created TIMESTAMP NOT NULL, writer VARCHAR DEFAULT session_user,
        PRIMARY KEY (kind, subject, version));
    CREATE TABLE person (
        email VARCHAR NOT NULL, version INTEGER NOT NULL, role VARCHAR NOT NULL,
        author VARCHAR NOT NULL, created TIMESTAMP NOT NULL, writer VARCHAR DEFAULT session_user,
        PRIMARY KEY (email, version))
    """,
    # space: the subspace that a contrast carries for one head, as qkstore.contrast.space writes it.
    """
    ALTER TABLE contrast ADD COLUMN space VARCHAR
    """,
]
