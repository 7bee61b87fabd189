"""Errors that a user can cause: one line that names the thing, the value and what is possible."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class QKStoreError(Exception):
    """A mistake of the user or a limit of the machine. Its text is one line, fit to be shown as it is."""


class StoreError(QKStoreError):
    """A store, run file or catalogue that cannot be opened, read or written."""


class RoleError(StoreError):
    """Something that the role of this person does not allow."""


class RunError(QKStoreError):
    """A run, layer, head or prompt that is not there, or a run that may not be written."""


class ContrastError(QKStoreError):
    """A contrast that cannot be parsed, has an empty side, or contradicts itself."""


class GuardError(QKStoreError):
    """SQL that is refused, fails, or takes longer or more memory than its limit."""


class PromptError(QKStoreError):
    """A prompt, span or line of a prompt file that is broken."""


class ModelError(QKStoreError):
    """A model that cannot be loaded, does not route its attention, or gives unusable vectors."""


def near(value: str, choices: Iterable[str], most: int = 8) -> str:
    """Return the end of an error line: `did you mean 'x'? there are: x, y, z`.

    value: what the user gave; choices: what is possible, of which at most `most` are named. The question is left out
    where no choice resembles the value; without any choice the text is `there are none`.
    """
    names = sorted(set(choices), key=lambda name: (name.lower(), name))
    if not names:
        return "there are none"
    close = difflib.get_close_matches(value.lower(), [n.lower() for n in names], n=2, cutoff=0.6)
    guess = [n for c in dict.fromkeys(close) for n in names if n.lower() == c]
    shown = ", ".join(n if n.isprintable() else repr(n) for n in names[:most]) + (
        f", … ({len(names)} in all)" if len(names) > most else ""
    )
    return (f"did you mean {' or '.join(map(repr, guess))}? " if guess else "") + f"there are: {shown}"
