"""A run in the making: what is captured is spooled batch by batch, then sorted into a run file and published."""

from qkstore.run.incoming.incoming import Incoming

__all__ = ["Incoming"]
