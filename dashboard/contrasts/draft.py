"""What is being written and not saved yet: it outlives another page and back (session), and a reload (address)."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Collection, Mapping

import streamlit as st

from dashboard import state
from qkstore.contrast import Contrast
from qkstore.store.catalog import full_name

PARTS = ("where", "positive", "negative")
FIELDS = (*PARTS, "pairs", "weighting", "centring", "name", "description")
KEPT = "drafts"  # of the session: {about: {field: text}}
LONGEST, MOST_TEXT = 6000, 200_000  # characters of an address, of the texts in it

Texts = dict[str, str]  # {field: what stands in it}


def about(base: Contrast) -> str:
    """What a draft belongs to: the contrast that it started from, whatever the run."""
    return full_name(base)


def texts(base: Contrast) -> Texts:
    """The fields as they start."""
    name = base.name if base.version else f"my-{base.name.replace('authors/', '')}"
    return {field: getattr(base, field) or "" for field in FIELDS} | {"name": name}


def described(base: Contrast, changed: Mapping[str, str], taken: Collection[str]) -> Texts:
    """The fields as they stand, without a description that was the built-in's own and is no longer true.

    taken: the descriptions of built-in contrasts. Other conditions, weights or centring are not what one describes.
    """
    now = texts(base) | changed
    other = any(name in changed for name in (*PARTS, "pairs", "weighting", "centring"))
    return now | ({"description": ""} if other and now["description"] in taken else {})


def changes(base: Contrast) -> Texts:
    """The fields that were changed: as the address says, or else as this session remembers."""
    asked = st.query_params.get(state.DRAFT)
    found = _read(asked) if asked else None
    if asked and found is None:
        st.warning("The draft in the address cannot be read; what was last written here is shown.")
    if found is None:
        found = st.session_state.get(KEPT, {}).get(about(base), {})
    return {field: text for field, text in found.items() if text != texts(base)[field]}


def edit(base: Contrast, field: str, key: str) -> None:
    """Remember what was just written into a field, a widget or a component that says it as `text`. A callback."""
    said = st.session_state[key]
    write(base, {field: said if isinstance(said, str) else said["text"]})


def write(base: Contrast, fields: Mapping[str, str]) -> None:
    """Remember what fields hold now. For callbacks."""
    now = changes(base) | fields
    keep(base, {name: text for name, text in now.items() if text != texts(base)[name]})


def keep(base: Contrast, changed: Mapping[str, str]) -> None:
    """Remember a draft, in the session and, where it is not too long, in the address; an empty one is forgotten."""
    drafts = st.session_state.setdefault(KEPT, {})
    drafts.pop(about(base), None)
    if changed:
        drafts[about(base)] = dict(changed)
    text = written(changed) if changed else ""
    state.put(**{state.DRAFT: text if 0 < len(text) <= LONGEST else None})


def forget(base: Contrast) -> None:
    """Start again from the contrast as it is. A callback too."""
    keep(base, {})
    state.put(shape=None)


def renamed(old: str, new: str) -> None:
    """Let the drafts of a contrast's versions be those of its new name."""
    drafts = st.session_state.get(KEPT, {})
    for about in [about for about in drafts if about.rpartition("@")[0] == old]:
        drafts[f"{new}@{about.rpartition('@')[2]}"] = drafts.pop(about)


def select(fields: Mapping[str, str]) -> str:
    """The SELECT of the pairs that three predicates select."""
    side = "select q.query_row, k.key_row, {sign} as sign\nfrom q, k\nwhere ({where})\n  and ({side})"
    where = fields["where"] or "true"
    return "\nunion all\n".join(
        side.format(sign=sign, where=where, side=fields[name] or "true")
        for sign, name in ((1, "positive"), (-1, "negative"))
    )


def written(changed: Mapping[str, str]) -> str:
    """A draft as it stands in an address."""
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(changed).encode(), 9)).decode().rstrip("=")


def _read(text: str) -> Texts | None:
    """What `written` wrote; None for anything else, which an address may hold."""
    try:
        packed = base64.urlsafe_b64decode(text[:LONGEST] + "=" * (-len(text) % 4))
        found = json.loads(zlib.decompressobj().decompress(packed, MOST_TEXT))
    except (ValueError, zlib.error, RecursionError):
        return None
    known = isinstance(found, dict) and all(name in FIELDS and isinstance(value, str) for name, value in found.items())
    return found if known else None
