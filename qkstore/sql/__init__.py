"""SQL that a person typed: checked and rebuilt (guard, grammar), then run in a process of its own (worker, child)."""
