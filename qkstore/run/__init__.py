"""One run file: its tables, read and written."""

from qkstore.run.run import Layer, Run

__all__ = ["Layer", "Run"]
