"""A store: a directory of runs and a catalogue."""

from qkstore.store.store import DEFAULT, Store, open

__all__ = ["DEFAULT", "Store", "open"]
