"""The field of SQL: its bundle is what its source and lockfile say, and what a page sends it holds no harm."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
import stores
from test_pages import own  # noqa: F401 -- a fixture

import qkstore
from dashboard.contrasts import field

HOSTILE = "it's <img src=x onerror=alert(1)>\u202e"
HEAD = re.compile(
    r"/\* Made by build\.js; do not edit\. Licences: LICENCES\.md\.\n(?P<packages>(?:   \S+ [\d.]+\n)+)"
    r"   source (?P<source>\w{64})\n   body (?P<body>\w{64}) \*/\n"
)
UNSAFE = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function")
OUTSIDE = re.compile(r"https?:|//[\w.]+\.\w+/|\bfetch\(|XMLHttpRequest|WebSocket|@import|url\(")


def text(name: str) -> str:
    return (field.FOLDER / name).read_text(encoding="utf-8")


def digest(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()


def locked() -> list[str]:
    """'name version' of every package that the bundle is made of, as the lockfile has it."""
    packages = json.loads(text("package-lock.json"))["packages"]
    used = {path: of for path, of in packages.items() if path and not (of.get("dev") or of.get("optional"))}
    return [f"{path.removeprefix('node_modules/')} {of['version']}" for path, of in used.items()]


def test_the_bundle_is_made_of_its_source_and_lockfile():
    found = HEAD.match(text("bundle.js"))
    assert found, "the bundle says what it is made of"
    assert found["source"] == digest(text("editor.js") + text("package-lock.json")), "npm ci && npm run build"
    assert found["body"] == digest(text("bundle.js")[found.end() :])
    assert [line.strip() for line in found["packages"].splitlines()] == locked()


def test_every_version_is_pinned_and_every_licence_is_there():
    package = json.loads(text("package.json"))
    wanted = package["dependencies"] | package["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    lock = json.loads(text("package-lock.json"))
    assert {name: lock["packages"][f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all("integrity" in of for path, of in lock["packages"].items() if path)
    assert "resolved" not in text("package-lock.json"), "any registry will do: the digests say what it must give"
    listed = re.findall(r"^- (\S+ [\d.]+) \((\w+)\)$", text("LICENCES.md"), re.MULTILINE)
    assert sorted(name for name, _ in listed) == sorted(locked())
    assert {kind for _, kind in listed} == {"MIT"}
    assert text("LICENCES.md").count("Permission is hereby granted") >= 1


def test_the_browsers_part_asks_for_nothing_outside():
    body = text("bundle.js").replace("http://www.w3.org/2000/svg", "")  # a name, not a place
    assert not re.search(r"https?:", body)
    for name in ("field.js", "editor.js", "field.css"):
        assert not UNSAFE.search(text(name)), name
        assert not OUTSIDE.search(re.sub(r"//.*", "", text(name))), name
    assert OUTSIDE.search('import("https://a")')
    assert UNSAFE.search("a.innerHTML = b")


def test_what_is_completed_are_the_runs_columns_types_and_values(tmp_path):
    data = stores.boxes(80)
    data.tokens = data.tokens.with_columns(box=data.tokens["box"].replace({"M": HOSTILE, "N": "nul\0"}))
    run = qkstore.open(stores.write(tmp_path / "store", data=data)).run("boxes")
    words = field.words(run)
    known = {(side, name): (kind, values) for side, name, kind, values in words["columns"]}
    assert set(known) == {(side, name) for side in ("q", "k") for name in run.columns[side]}
    assert known["k", "order_id"] == ("bigint", [[str(i), str(i)] for i in (1, 2, 3, 4)])
    shown = dict(known["k", "box"][1])
    assert shown["'it''s <img src=x onerror=alert(1)>\u202e'"] == "'it''s <img src=x onerror=alert(1)>U+202E'"
    assert not any("\0" in literal for literal in shown)
    assert known["k", "key_row"][1] == [], "too many to choose from"
    assert {"q", "k", "prompt"} <= set(words["tables"])
    assert len(json.dumps(words)) < 20_000


@pytest.mark.parametrize("plain", [True, False])
def test_a_page_has_editors_or_plain_fields(show, own, plain):
    app = show(own, "contrasts", contrast="order", **{"plain-sql": "1" if plain else ""})
    assert not app.exception
    labels = [e.label for e in app.text_area]
    assert labels.count("Positive") == plain
    editors = [e for e in app.get("bidi_component") if str(e.key).startswith("sql-")]
    assert len(editors) == (0 if plain else 3)
