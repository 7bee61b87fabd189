"""What a saved contrast may be called: a name that no other can be taken for, and that means nothing else."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from qkstore.contrast import builtin
from qkstore.contrast.contrast import Contrast
from qkstore.errors import ContrastError
from qkstore.text import unseen

MOST_NAME, MOST_AUTHOR, MOST_DESCRIPTION = 100, 200, 2000  # characters
BUILT_IN = (builtin.CATEGORY, *builtin.BOXES, builtin.REFLEXIVE, *builtin.LATENTS)
PREFIXES = ("authors/", "category:")
MEANT = {  # words that a page, a table or a command has for something else
    "none", "draft", "null", "nan", "true", "false", "default", "undefined", "inline", "built in", "all", "any", "rest",
    "random", "logit", "attention", "select", "insert", "update", "delete", "drop", "alter", "create", "attach", "copy",
    "pragma", "set", "from", "where", "table", "union", "with", "and", "or", "not", "order by", "help", "save",
}  # fmt: skip
# Letters of other scripts, and digits, that are drawn like a Latin letter, small or capital; and that letter.
ALIKE = str.maketrans(
    "авекмнорстухѕіјһԁԛԝӏ" + "αβεηικμνορτυχζγ" + "01i|",
    "abekmhopctyxsljhdqwl" + "abehlkmvoptuxzy" + "olll",
)
EAST_ASIAN = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "BOPOMOFO", "HANGUL", "IDEOGRAPHIC"}


def check(contrast: Contrast, saved: Iterable[str] = ()) -> None:
    """Raise ContrastError, with the reason, for a name, author or description that a contrast may not be saved with.

    saved: the names that there are; a new version of one of them has its name.
    """
    _check_texts(contrast)
    reason = _unreadable(contrast.name) or _meant(contrast.name) or _alike(contrast.name, saved)
    if reason:
        raise ContrastError(f"contrast name {contrast.name[:60]!r} {reason}; choose another")


def skeleton(name: str) -> str:
    """What a name looks like: names of one skeleton can be taken for each other."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return re.sub(r"[\s_-]+", "-", folded.translate(ALIKE)).strip("-")


def _check_texts(contrast: Contrast) -> None:
    """Raise ContrastError for texts that are too long, or that no file can hold."""
    for field, value in contrast.to_dict().items():
        if isinstance(value, str) and value.encode(errors="replace").decode() != value:
            raise ContrastError(f"the {field} of a contrast holds half of a character (a lone surrogate); take it out")
    limits = {"name": MOST_NAME, "author": MOST_AUTHOR, "description": MOST_DESCRIPTION}
    for field, most in limits.items():
        if len(value := getattr(contrast, field)) > most:
            raise ContrastError(f"the {field} of a contrast has {len(value):,} characters; {most:,} are possible")
    for field in ("author", "description"):
        if hidden := unseen(getattr(contrast, field).replace("\n", "")):
            raise ContrastError(f"the {field} of a contrast holds {hidden}, which cannot be seen; take it out")


def _unreadable(name: str) -> str | None:
    """Why a name cannot be read as it is written, if so."""
    if not name.strip():
        return "is empty"
    if hidden := unseen(name):
        return f"is unprintable: it holds {hidden}"
    if (usual := unicodedata.normalize("NFKC", name)) != name:
        return f"is usually written {usual!r}, with other characters"
    if " ".join(name.split()) != name:
        return "has blanks at an end, or two in a row"
    for word in re.findall(r"[^\W\d_]+", name):
        scripts = sorted(_scripts(word))
        if len(scripts) > 1 and word.casefold().translate(ALIKE) != word.casefold():  # ΔC has no other reading
            return f"mixes letters of {' and '.join(s.capitalize() for s in scripts)} in the word {word!r}"
    return None


def _scripts(word: str) -> set[str]:
    """The alphabets of a word's letters; those that East Asian languages write together are one."""
    found = {unicodedata.name(c, "unnamed").split(" ")[0] for c in word if unicodedata.category(c)[0] == "L"}
    return {"East Asian" if script in EAST_ASIAN else script for script in found}


def _meant(name: str) -> str | None:
    """What a name means already, if anything."""
    if name.startswith("-"):
        return "begins like an option of a command"
    if "@" in name:
        return "holds an @, which stands between a name and its version"
    if name.casefold() in MEANT:
        return "is a word that means something else here"
    return None


def _alike(name: str, saved: Iterable[str]) -> str | None:
    """Which other name it is, or could be taken for, if any."""
    looks = skeleton(name)
    if builtin.taken(name) or looks.startswith(PREFIXES) or name.endswith(":*"):
        return "is taken by a built-in contrast"
    for other in (*(c.name for c in BUILT_IN), *saved):
        if other != name and skeleton(other) == looks:
            return f"can be taken for {other!r}"
    return None
