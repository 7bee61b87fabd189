"""Placement: the device that a model lies on, or the several over which its layers are spread.

Spread by transformers (device_map): as many layers as fit on every GPU of the machine, then in memory, then on disk.
Its hooks move what a layer is given to where the layer works, and bring weights that lie elsewhere there.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import suppress

import torch

from qkstore.errors import ModelError, near

AUTO = "auto"
COMPUTES = ("cpu", "cuda")  # kinds of device whose float64 makes log-sum-exps
Memory = Mapping[int | str, int | str]  # {number of a GPU or 'cpu': bytes, or such as '20GB'}


def check(device: str, auto: bool = False) -> None:
    """Raise ModelError for a device that this machine does not have; auto: 'auto' is one too."""
    if auto and device == AUTO:
        _check_accelerate()
        return
    try:
        asked = torch.device(device)
    except RuntimeError:
        asked = torch.device("meta")
    if asked.type not in COMPUTES:
        raise ModelError(f"no device {device!r}; {near(device, COMPUTES + (AUTO,) * auto)}")
    if asked.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device {device!r}: this machine, or its torch, has no CUDA; use --device cpu")
    if asked.type == "cuda" and (asked.index or 0) >= torch.cuda.device_count():
        raise ModelError(
            f"device {device!r}: this machine has {torch.cuda.device_count()} CUDA devices, numbered from 0"
        )


def _check_accelerate() -> None:
    if importlib.util.find_spec("accelerate") is None:
        raise ModelError(
            "device 'auto' spreads a model by accelerate, which is not installed: pip install 'qkstore[ingest]'"
        )


class Placement:
    """Where one model goes: `given` is for from_pretrained, `put` brings what is run of it to its place.

    memory: of 'auto', how much of each device it may take, as transformers' max_memory; None: all that there is.
    Weights that have to be written anew to lie on disk go to a temporary folder, which goes when the model goes.
    """

    def __init__(self, device: str, memory: Memory | None = None):
        self.device, self.given = device, {}
        if device == AUTO:
            self._folder = tempfile.mkdtemp(prefix="qkstore-weights-")
            self._gone = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            self.given = {"device_map": AUTO, "offload_folder": self._folder, "max_memory": memory and dict(memory)}

    def put(self, net, part):
        """`part`, which is what is run of a loaded model, at its place.

        Raises ModelError where transformers does not say which modules of its family must stay whole, and where it
        was put on a device of another kind than those whose numbers can be stored.
        """
        if self.device != AUTO:
            return part.to(self.device)
        if spread(net) and not net._no_split_modules:
            raise ModelError(
                f"{type(net).__name__} cannot be spread over {spread(net).removeprefix('auto: ')}: transformers does "
                "not say which of its modules must stay whole; use --device cuda or cpu"
            )
        if other := {p.device.type for p in net.parameters()} - {*COMPUTES, "meta"}:
            raise ModelError(f"device 'auto' is {min(other)!r} here, which has no float64; use --device cpu")
        self._gone.detach()
        weakref.finalize(part, shutil.rmtree, self._folder, ignore_errors=True)
        with suppress(OSError):
            os.rmdir(self._folder)  # nothing had to be written
        return part


def spread(net) -> str | None:
    """What a model's layers are spread over, such as 'auto: cuda x2, cpu'; None of one on one device."""
    there = {str(device) for device in getattr(net, "hf_device_map", {}).values()}
    if len(there) < 2 and there != {"disk"}:
        return None
    n_cuda = len(there - {"cpu", "disk"})
    return "auto: " + ", ".join([f"cuda x{n_cuda}"] * (n_cuda > 0) + sorted(there & {"cpu", "disk"}))


def hooked(net) -> torch.device | None:
    """Where a model that is spread takes its input; None of one that is not."""
    hooks = (getattr(module, "_hf_hook", None) for module in net.modules())
    places = (getattr(hook, "execution_device", None) for hook in hooks)
    return next((torch.device(place) for place in places if place is not None), None)
