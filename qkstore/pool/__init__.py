"""A function over many tasks: in this process, in processes of this machine, or on a Ray cluster, with one result."""

from qkstore.pool.opened import opened
from qkstore.pool.pool import Pool

__all__ = ["Pool", "opened"]
