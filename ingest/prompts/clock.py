"""Clock: the time that chat templates are told. Some write today's date, so that every prompt changes at midnight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from transformers.utils import chat_template_utils


class Clock:
    """One moment for all prompts of a run, however long its ingest takes. `asked`: whether a template wanted it."""

    def __init__(self, at: datetime | None = None):
        self.at, self.asked = at or datetime.now().replace(microsecond=0), False

    @classmethod
    def of(cls, plan: dict) -> Clock:
        """The clock of an ingest that was begun with this plan; of now, where it names none."""
        return cls(datetime.fromisoformat(plan["clock"]) if plan.get("clock") else None)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While this lasts templates are told this moment: transformers gives them its own, and no way to set it."""
        real, chat_template_utils.datetime = chat_template_utils.datetime, self
        try:
            yield
        finally:
            chat_template_utils.datetime = real

    def now(self) -> Clock:
        """As datetime.now, whose place it takes."""
        return self

    def strftime(self, format: str) -> str:
        """As datetime's."""
        self.asked = True
        return self.at.strftime(format)

    def told(self) -> str | None:
        """For the plan: the moment, if any template asked."""
        return self.at.isoformat() if self.asked else None
