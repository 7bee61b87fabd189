"""Which pool: this process, others of this machine, or a cluster."""

from __future__ import annotations

from importlib.util import find_spec

from qkstore.errors import QKStoreError
from qkstore.pool.pool import Pool

VARIABLE = "QKSTORE_RAY"  # the address of the cluster that does a dashboard's long sweeps


def opened(workers: int = 1, ray: str | None = None) -> Pool:
    """A pool of `workers` processes of this machine (1: this process), or of the Ray cluster at an address, or `auto`.

    Raises QKStoreError where Ray is not installed; `map` does where there is no such cluster.
    """
    if ray is not None:
        if not has_ray():
            raise QKStoreError("--ray needs Ray, which is not installed: pip install 'qkstore[cluster]'")
        from qkstore.pool.cluster import Cluster

        return Pool(lambda: Cluster(ray))
    if workers == 1:
        return Pool()
    from qkstore.pool.local import Local

    return Pool(lambda: Local(workers))


def has_ray() -> bool:
    """Whether Ray is installed; a folder of that name, where a program was started, is none."""
    found = find_spec("ray")
    return found is not None and found.origin is not None
