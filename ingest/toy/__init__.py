"""Toy heads, trained as one stack and stored as ordinary runs."""

from ingest.toy.toy import SAVE_EVERY, Sizes, build, run_name

__all__ = ["SAVE_EVERY", "Sizes", "build", "run_name"]
