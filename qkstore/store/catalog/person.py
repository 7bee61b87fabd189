"""A person who acts on a catalogue, and what the roles allow: viewer, editor, admin, each more than the one before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from qkstore.errors import RoleError

Role = Literal["viewer", "editor", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
MAY = {
    "viewer": "read",
    "editor": "save contrasts, results and notes, and add runs",
    "admin": "rename and delete runs, and say who may do what",
}


@dataclass(frozen=True)
class Person:
    """name: becomes the author of what they write; with a login, the address. role: None may do nothing."""

    name: str
    role: Role | None

    def may(self, least: Role) -> bool:
        """Whether the role is `least` or one that allows more."""
        return self.role is not None and ROLES.index(self.role) >= ROLES.index(least)

    def must(self, least: Role, act: str) -> None:
        """Raise RoleError unless the role allows what is for `least`; act: 'save a contrast'."""
        if not self.may(least):
            has = f"has the role {self.role}" if self.role else "has no role here"
            raise RoleError(f"{self.name or 'this user'} {has}, and may not {act}: that needs the role {least}")
