"""One run file: its tables, read and written."""

from qkstore.run.layer import Layer
from qkstore.run.manifest import Manifest
from qkstore.run.run import Run

__all__ = ["Layer", "Manifest", "Run"]
