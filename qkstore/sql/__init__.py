"""DuckDB, kept in bounds.

Files from elsewhere, read under one limit of memory (trust, instance, memory); SQL that a person typed, checked and
rebuilt (guard, grammar), then run in a process of its own (worker, child).
"""
