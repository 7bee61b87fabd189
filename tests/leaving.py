"""What leaves a page by its foot: the files that its buttons would make, and the parts that its page made."""

from __future__ import annotations

import json
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

SVG = "{http://www.w3.org/2000/svg}"


class Offer(NamedTuple):
    """A button of the foot: what it makes, and the name of the file."""

    make: object
    name: str

    @property
    def data(self) -> bytes:
        made = self.make()
        return made.encode() if isinstance(made, str) else made


@pytest.fixture
def offers(monkeypatch) -> dict[str, Offer]:
    """{label: the newest button of that label} of the pages that a test shows; nothing is made before it is asked."""
    seen: dict[str, Offer] = {}

    def button(label, make, name, *_, **__):
        seen[label] = Offer(make, name)

    monkeypatch.setattr("streamlit.download_button", button)
    return seen


def svg(data: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(data.decode())


def about(data: bytes) -> dict[str, str]:
    """What an SVG says that it was made of."""
    return json.loads(svg(data).find(f"{SVG}metadata").text)


def texts(data: bytes) -> list[str]:
    """The texts drawn in an SVG."""
    return ["".join(text.itertext()) for text in svg(data).iter(f"{SVG}text")]
