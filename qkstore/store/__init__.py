"""A store: a directory of runs and a catalogue."""

from qkstore.store.store import DEFAULT, Store, bucket, check_may_add, folder, open

__all__ = ["DEFAULT", "Store", "bucket", "check_may_add", "folder", "open"]
