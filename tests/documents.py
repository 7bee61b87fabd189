"""What tests ask of a report: its sections by name, its claims by title, and the tags of its page."""

from __future__ import annotations

from html.parser import HTMLParser


def sections(document) -> dict:
    return {s.name: s for c in document.chapters for s in c.sections}


def claim(document, title: str, run: str):
    (one,) = [c for c in document.claims if c.claim == title and c.where.startswith(run)]
    return one


class Page(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.tags, self.ids, self.links, self.pictures = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        of = dict(attributes)
        self.tags.append(tag)
        self.ids += [of["id"]] if "id" in of else []
        self.links += [of[k] for k in ("href", "xlink:href", "src") if k in of]
        self.pictures += [of] if tag == "img" or of.get("role") == "img" else []
