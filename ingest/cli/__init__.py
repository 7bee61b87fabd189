"""The commands of `python -m ingest`: each one's arguments, and below them what it does."""
