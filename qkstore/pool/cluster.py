"""Workers of a Ray cluster: a slot is a processor of a node, and a task is one of Ray's, which it gives out again."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable
from typing import Any

from qkstore.errors import QKStoreError
from qkstore.pool.pool import TRIES

PATIENCE_S = 5.0  # for an address to answer; Ray itself tries for minutes


class Cluster:
    """The nodes of a cluster that is there already: `auto`, or its address. Ray is imported here alone.

    A task of a slot goes to the slot's node, and elsewhere once that is gone: Ray runs a task anew whose node was lost.
    Raises QKStoreError where no cluster is at the address.
    """

    def __init__(self, address: str):
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as Affinity

        self._ray, self._ours = ray, not ray.is_initialized()
        if self._ours:
            try:
                _reached(address)
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
            except (OSError, ValueError, RuntimeError) as error:
                said = str(error).strip().partition(". ")[0]
                raise QKStoreError(f"no Ray cluster at {address!r} ({said}): `ray start --head` starts one") from None
        nodes = [
            (node["NodeID"], int(node["Resources"].get("CPU", 0)))
            for node in sorted(ray.nodes(), key=lambda node: node["NodeID"])
            if node["Alive"]
        ]
        remote = ray.remote(num_cpus=1, max_retries=TRIES - 1)(_done)
        self._remote = [
            remote.options(scheduling_strategy=Affinity(node, soft=True)) for node, n in nodes for _ in range(n)
        ]
        self.slots = len(self._remote)
        if not self.slots:
            self.close()
            raise QKStoreError(f"the Ray cluster at {address!r} has no processors")

    def submit(self, slot: int, work: Callable[[Any], Any], task: Any) -> Any:
        return self._remote[slot].remote(work, task)

    def wait(self, handles: Iterable[Any]) -> list[Any]:
        return self._ray.wait(list(handles), num_returns=1, fetch_local=False)[0]

    def result(self, handle: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(handle)
        except errors.RayTaskError as error:
            raise self._why(error) from None
        except errors.RayError as error:
            said = str(error).strip().partition("\n")[0]
            raise QKStoreError(f"a task of the Ray cluster was lost {TRIES} times ({said})") from None

    def _why(self, error: Any) -> Exception:
        """What a task raised; of one that a worker could not even read, why."""
        if not isinstance(error.cause, self._ray.exceptions.RaySystemError):
            return error.cause if isinstance(error.cause, QKStoreError) else error
        said = str(error.cause).strip().splitlines()[-1]
        return QKStoreError(f"a Ray worker cannot read its task ({said}); qkstore has to be installed on every node")

    def cancel(self, handles: Iterable[Any]) -> None:
        for handle in handles:
            self._ray.cancel(handle)

    def close(self) -> None:
        if self._ours:
            self._ray.shutdown()


def _reached(address: str) -> None:
    """Raise OSError where nothing answers at host:port."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S).close()


def _done(work: Callable[[Any], Any], task: Any) -> Any:
    """In a worker: the task."""
    return work(task)
