"""How far an ingest is and how fast it goes, as its line of progress says it."""

from __future__ import annotations

from ingest.job import pace


def test_pace_counts_prompts_and_only_tokens_that_were_run(monkeypatch):
    at = iter((0.0, 2.0, 4.0))
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(at))
    made = pace.Pace(3000)
    assert made.told() == ""
    made.add(32, 0)  # done by an earlier start
    assert made.told() == "32 of 3,000 prompts"
    made.add(32, 4000)
    assert made.told() == "64 of 3,000 prompts, 1,000 tokens/s"
