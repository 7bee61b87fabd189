"""What a page's result was made of: the run, the contrasts with their SQL, the code, and the page's own address."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

import streamlit as st

from dashboard.state import View
from qkstore import __version__
from qkstore.contrast import Contrast
from qkstore.store.catalog import full_name
from qkstore.store.source import code_key

SQL = ("where", "positive", "negative", "pairs")
FIRST = ("run", "contrast", "layer", "head")


def made_of(view: View) -> str:
    """The exact run, contrast and code of a page's result, by version and digest."""
    run = f"run {view.run.name} ({', '.join(filter(None, (view.run.digest, view.run.manifest.rounding)))})"
    if not view.named:
        contrast = "no contrast"
    elif view.spans:
        contrast = f"{view.name}, the span of {len(view.contrasts)} contrasts"
    else:
        contrast = f"contrast {view.one} ({view.contrast.key})"
    return f"Made of {run}, {contrast}, {code()}"


def code() -> str:
    return f"qkstore {__version__} ({code_key()[:16]})"


def about(view: View | None, choices: Mapping[str, str], address: str) -> dict[str, str]:
    """{what: text} for the metadata of a file: everything that decides what is in it."""
    told: dict[str, str] = {}
    if view:
        told |= {"run": view.run.name, "run digest": view.run.digest}
        told |= {"vectors": rounding} if (rounding := view.run.manifest.rounding) else {}
        if view.layer is not None:
            told["head"] = f"layer {view.layer}, head {view.head}"
        told |= _contrasts(view, choices)
    return told | {"code": code(), "address": address}


def _contrasts(view: View, choices: Mapping[str, str]) -> dict[str, str]:
    """The contrast of a view, and every other that a choice of its page names."""
    named = {"contrast": view.name} if view.named else {}
    named |= {place: name for place, name in choices.items() if name in view.named and name not in named.values()}
    told: dict[str, str] = {}
    for place, name in named.items():
        members = view.named[name]
        if len(members) == 1:
            told |= {place: full_name(members[0])} | {f"{place} {what}": t for what, t in _rule(members[0]).items()}
            continue
        told[place] = f"{name}, the span of {len(members)} contrasts"
        for i, member in enumerate(members, 1):
            rule = "; ".join(f"{what}: {text}" for what, text in _rule(member).items())
            told[f"{place} {i}"] = f"{full_name(member)}; {rule}"
    return told


def _rule(contrast: Contrast) -> dict[str, str]:
    """The key of a contrast, its SQL, and how it weighs and centres."""
    sql = {name: text for name in SQL if (text := getattr(contrast, name))}
    sql |= {"subspace": contrast.own.told} if contrast.own else {}
    return {"key": contrast.key, **sql, "weighting": contrast.weighting, "centring": contrast.centring}


def query(view: View | None, choices: Mapping[str, str]) -> str:
    """The part of an address after its ?: what the page shows, with what it would have shown by default too."""
    shown = {**st.query_params.to_dict(), **choices}
    if view:
        own = {"run": view.run.name, "contrast": view.name, "layer": view.layer, "head": view.head}
        shown |= {name: str(value) for name, value in own.items() if value not in (None, "")}
    ordered = [*(name for name in FIRST if name in shown), *sorted(shown.keys() - set(FIRST))]
    return urlencode({name: shown[name] for name in ordered})


def address(asked: str) -> str:
    """The page's address as its browser has it, with another query."""
    return f"{(st.context.url or '').partition('?')[0]}?{asked}"
