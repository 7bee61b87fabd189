"""Pace: how far an ingest is and how fast it goes, in the words of a progress line."""

from __future__ import annotations

import time


class Pace:
    """Counts prompts of `total`, and the tokens that passed through the model since it was made."""

    def __init__(self, total: int):
        self.total, self.prompts, self.tokens, self.begun = total, 0, 0, time.monotonic()

    def add(self, prompts: int, tokens: int) -> None:
        """A batch is done; tokens: 0 where it had been done before."""
        self.prompts, self.tokens = self.prompts + prompts, self.tokens + tokens

    def told(self) -> str:
        """Such as '120 of 3,000 prompts, 5,120 tokens/s'; '' before the first batch."""
        if not self.prompts:
            return ""
        speed = self.tokens / max(time.monotonic() - self.begun, 1e-9)
        return f"{self.prompts:,} of {self.total:,} prompts" + (f", {speed:,.0f} tokens/s" if self.tokens else "")
