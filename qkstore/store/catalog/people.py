"""The people of a catalogue: the role of each, which an admin gives; every change is kept."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qkstore.errors import StoreError, near
from qkstore.store.catalog.migrations import now
from qkstore.store.catalog.person import ROLES, Person, Role
from qkstore.store.catalog.rows import COUNTED, CREATED
from qkstore.text import unseen

if TYPE_CHECKING:
    from qkstore.store.catalog.catalog import Catalog

NONE = "none"  # in the place of a role: taken away
MOST_ADDRESS = 200  # characters
DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+", re.IGNORECASE)
NEWEST = f"""
    SELECT email, role, author, {CREATED} FROM person p
    WHERE version = (SELECT max(version) FROM person o WHERE o.email = p.email AND {COUNTED})
"""


class People:
    """Who may do what. An address such as alice@example.org is one person, @example.org all of that domain."""

    def __init__(self, catalog: Catalog):
        self.catalog = catalog

    def all(self) -> list[dict]:
        """Everyone who has a role: email, role, author (who gave it), created; by address."""
        return self.catalog.rows(f"{NEWEST} AND role <> '{NONE}' ORDER BY email")

    def role(self, email: str) -> Role | None:
        """The role of an address: its own entry, also where that is none, or else the one of its domain."""
        email = email.strip().lower()
        domain = _domain(email)
        roles = {
            row["email"]: row["role"] for row in self.catalog.rows(f"{NEWEST} AND email IN (?, ?)", [email, domain])
        }
        role = roles.get(email, roles.get(domain))
        return role if role in ROLES else None

    def person(self, email: str) -> Person:
        """An address as a Person with the role that it has."""
        return Person(email.strip().lower(), self.role(email))

    def set(self, email: str, role: str) -> None:
        """Give an address a role, or take it away with 'none'. For admins; raises RoleError for others."""
        email = _address(email)
        if role not in (*ROLES, NONE):
            raise StoreError(f"role {role!r}: {near(role, (*ROLES, NONE))}")
        with self.catalog.write("say who may do what", word=f"person {email}", least="admin") as execute:
            (newest,) = execute(
                f"SELECT coalesce(max(version), 0) AS version FROM person WHERE email = ? AND {COUNTED}", [email]
            )
            of_domain = execute(f"{NEWEST} AND email = ? AND role <> '{NONE}'", [_domain(email)])
            if role == NONE and not newest["version"] and not of_domain:  # one of a domain may be shut out
                there = [row["email"] for row in execute(f"{NEWEST} AND role <> '{NONE}'")]
                raise StoreError(f"{email} has no role here; {near(email, there)}")
            execute(
                "INSERT INTO person (email, version, role, author, created) VALUES (?, ?, ?, ?, ?)",
                [email, newest["version"] + 1, role, execute.author, now()],
            )


def _domain(email: str) -> str:
    return f"@{email.rpartition('@')[2]}"


def _address(email: str) -> str:
    """An address in small letters; raises StoreError for what is none."""
    email = email.strip().lower()
    name, at, domain = email.rpartition("@")
    odd = "@" in name or "*" in name or any(c.isspace() for c in email)
    if not at or odd or not DOMAIN.fullmatch(domain) or len(email) > MOST_ADDRESS:
        raise StoreError(
            f"{email[:60]!r} is no address: write alice@example.org for one person, @example.org for a domain"
        )
    if hidden := unseen(email):
        raise StoreError(f"address {email[:60]!r} holds {hidden}, which cannot be seen; take it out")
    return email
