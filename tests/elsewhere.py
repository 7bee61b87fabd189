"""Devices that are not there: tensors that say they lie on one of several, whose numbers all lie on the CPU.

Tensors of two devices that meet in one operation are an error, as they are between GPUs, and accelerate's hooks move
them as they do there. What a GPU makes of the numbers, by its own kernels and rounding, is not in it. The devices are
torch's 'lazy', of which it knows nothing but the name.
"""

from __future__ import annotations

import torch
from accelerate import dispatch_model
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

CPU, ATEN, MAIN = torch.device("cpu"), torch.ops.aten, "lazy:0"
LOOKED_UP = {ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default}  # by columns that may lie on the CPU
MOVES = {ATEN._to_copy.default, ATEN.copy_.default}


class There(torch.Tensor):
    """A tensor on a device that is not there; `value` is the same on the CPU."""

    @staticmethod
    def __new__(cls, value: torch.Tensor, device: torch.device | None = None, requires_grad: bool = False):
        if isinstance(value, There):  # a parameter is made of it
            value, device = value.value, value.device
        made = torch.Tensor._make_wrapper_subclass(
            cls, value.shape, strides=value.stride(), dtype=value.dtype, device=device, requires_grad=False
        )
        made.value = value
        return made

    def __repr__(self) -> str:
        return f"There({self.value!r}, {self.device})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _answer(func, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """While this lasts, what is asked to be on such a device becomes a `There`."""

    def __enter__(self):
        self._inference, torch.inference_mode = torch.inference_mode, torch.no_grad  # there operations arrive whole
        self._lift = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor makes one on the CPU, which is then moved
        return super().__enter__()

    def __exit__(self, *raised):
        torch.inference_mode = self._inference
        torch._C._set_only_lift_cpu_tensors(self._lift)
        super().__exit__(*raised)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _answer(func, args, kwargs or {})


def spread(net, places: dict[str, str]):
    """The model with its modules on such devices, by accelerate's hooks: {name: 'lazy:1', or 'cpu' to wait there}."""
    return dispatch_model(net, places, main_device=MAIN)


def _answer(func, args: tuple, kwargs: dict):
    """What an operation gives, on the device of what it was given, or on the one that was asked for."""
    given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    places = {x.device for x in given if x.dim() or x.device != CPU}  # a number of the CPU may meet any device
    if func in LOOKED_UP and args[0].device != CPU:
        places -= {CPU}
    asked = kwargs.get("device")
    if len(places) > 1 and func not in MOVES:
        raise RuntimeError(f"{func} is given tensors on {' and '.join(sorted(map(str, places)))}")
    home = torch.device(asked) if asked is not None else given[0].device if func in MOVES else next(iter(places), CPU)
    if home.type == MAIN.split(":")[0] and asked is not None:
        kwargs = kwargs | {"device": CPU}
    with _disable_current_modes():
        made = func(*tree_map(_plain, args), **tree_map(_plain, kwargs))
    if func._schema.is_mutable:
        return args[0]
    away = home.type == "meta" and isinstance(args[0], There)  # a weight that waits in memory keeps its kind
    if home.type != MAIN.split(":")[0] and not away:
        return made
    return tree_map(lambda x: There(x, home) if isinstance(x, torch.Tensor) else x, made)


def _plain(x):
    return x.value if isinstance(x, There) else x
