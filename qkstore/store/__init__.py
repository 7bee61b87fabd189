"""A store: a directory of runs and a catalogue."""

from qkstore.store.store import DEFAULT, Store, folder, open

__all__ = ["DEFAULT", "Store", "folder", "open"]
