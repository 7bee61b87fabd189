"""A function over many tasks: in this process, in processes of this machine, or on a Ray cluster, with one result."""

from qkstore.pool.opened import VARIABLE, opened
from qkstore.pool.pool import Pool

__all__ = ["VARIABLE", "Pool", "opened"]
