"""Forward: passes of a model over padded prompts, as the model would run them, read or not."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from ingest.model.attention import KERNELS, kernel_of, routed
from ingest.model.batch import Batch, Padding
from ingest.model.depth import Depth
from ingest.model.sides import Sides, forget
from ingest.model.weights import placement
from qkstore.errors import ModelError, QKStoreError

EQUAL = {torch.float64: 1e-5, torch.float32: 1e-3}  # of hidden states that ought to be equal: ‖difference‖ / ‖state‖
EQUAL_COARSE = 0.1  # the same in bfloat16, whose rounding adds up over the layers


class Done(Exception):
    """Not an error: the last layer wanted has been read, and the rest of the pass is not needed."""


class Forward:
    """Runs a model. `sides` says which lengths of prompts may share a batch, `depth` which layer is at work.

    `device` is where batches are put; layers may lie elsewhere, in a model that is spread over several devices.
    Raises ModelError for a model that takes no text, or whose attention is by a kernel that cannot be read, and for one
    of whose heads every rank sees a part.
    """

    def __init__(self, net):
        self.net, config = net, net.config.get_text_config()
        self.kernel = config._attn_implementation
        if self.kernel not in KERNELS:
            raise ModelError(
                f"attention by {self.kernel!r} cannot be read; "
                "load the model with attn_implementation 'sdpa' or 'eager'"
            )
        if (getattr(net, "tp_size", None) or 1) > 1:
            raise ModelError(
                f"{type(net).__name__} is split by tensor parallelism: every rank would read a part of the heads; "
                "load it with device 'auto', which spreads whole layers"
            )
        hooked = placement.hooked(net)
        self.device, self.spread = hooked or net.device, hooked is not None
        self.accepts = inspect.signature(net.forward).parameters
        if "input_ids" not in self.accepts:
            raise ModelError(f"{type(net).__name__} takes no text: its forward pass has no input_ids")
        self.depth, self.sides = Depth(net), Sides(config)
        self._longest, self._settled = 0, {}  # what was compared: the longest prompt, and shortest and longest a side

    # -- batches -----------------------------------------------------------------------------------------------------

    def batch(
        self, ids: list[list[int]], queries: list[list[int]], keys: list[list[int]], padding: Padding = "right"
    ) -> Batch:
        """Prompts (token ids) side by side on the model's device.

        Raises ModelError for prompts whose lengths may not share a batch, and what `settle` raises.
        """
        self.settle(ids, padding)
        if len({self.sides(len(row)) for row in ids}) > 1:
            raise ModelError(
                f"{type(self.net).__name__} reads a prompt otherwise beside one of another length: prompts of "
                f"{min(map(len, ids))} and {max(map(len, ids))} tokens cannot share a batch"
            )
        return Batch.of(ids, queries, keys, self._pad(), padding, self.device)

    def vocabulary(self) -> int:
        """How many tokens the model knows. Raises ModelError where it has no embedding of them."""
        try:
            return self.net.get_input_embeddings().weight.shape[0]
        except (NotImplementedError, AttributeError):
            raise ModelError(f"{type(self.net).__name__} is no single text model: it has no token embedding") from None

    def _pad(self) -> int:
        """The padding token, where it is one of the model's own; padding is masked, so that any other does."""
        pad = getattr(self.net.config.get_text_config(), "pad_token_id", None)
        return pad if isinstance(pad, int) and 0 <= pad < self.vocabulary() else 0

    def _plain(self, ids: list[list[int]], padding: Padding = "right") -> Batch:
        return Batch.of(ids, [[]] * len(ids), [[]] * len(ids), self._pad(), padding, self.device)

    # -- passes ------------------------------------------------------------------------------------------------------

    def run(self, batch: Batch, reader, **more):
        """One pass over a batch, in which `reader.attend` answers the attention calls.

        Returns the model's output, or None where it was not needed. Raises ModelError, in one line, for whatever the
        model raises; what the reader raises, and a lack of device memory, go through.
        """
        wanted = more.pop("logits_to_keep", None) if self.spread else None
        # the model would look up the columns, which are on the first device, in states on the last
        with nullcontext() if wanted is None else self._heading(lambda states: states[:, wanted.to(states.device)]):
            return self._call(self.net, batch, reader, more)

    def logits(self, batch: Batch, reader, columns: Tensor) -> Tensor:
        """(B, vocabulary) of the next token at columns, (B,), one a prompt; from one pass of a model with its LM head.

        Only these columns go through the head. What the model does to logits afterwards (a scale, a cap) is done.
        """

        def few(states):
            at = columns.to(states.device)
            return states[torch.arange(len(at), device=at.device), at][:, None]

        with self._heading(few):
            return self.run(batch, reader).logits[:, 0]

    @contextmanager
    def _heading(self, few: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """While this lasts, `few` of the last hidden states alone go through the LM head."""
        hook = self.net.get_output_embeddings().register_forward_pre_hook(lambda _, given: (few(given[0]),))
        try:
            yield
        finally:
            hook.remove()

    def _call(self, net, batch: Batch, reader, more: dict):
        given = {"input_ids": batch.ids, "attention_mask": batch.real.long()} | more
        if bool((batch.place < 0).any()):
            given |= self._positions(batch)
        accepts = inspect.signature(net.forward).parameters
        if "use_cache" in accepts:
            given.setdefault("use_cache", False)
        forget(net)
        with routed(self.net, reader), self.depth.watched(), torch.inference_mode():
            try:
                return net(**given)
            except Done:
                return None
            except (QKStoreError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # models are programs, and raise what they like
                raise ModelError(self._why(batch, error)) from error

    def _why(self, batch: Batch, error: Exception) -> str:
        """One line for a pass that failed."""
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        layer = "before its first layer" if self.depth.now is None else f"in layer {self.depth.now}"
        size = f"{len(batch.ids)} texts of up to {batch.ids.shape[1]} tokens"
        if "allocate memory" in said:
            return f"{size} need more memory than there is; use a smaller --batch-size"
        act = "try another --dtype (float32)" if self.net.dtype != torch.float32 else "it may take more than plain text"
        return f"{type(self.net).__name__} cannot be run on {size}, {layer}: {said[:200]}; {act}"

    def _positions(self, batch: Batch) -> dict[str, Tensor]:
        """Right padding leaves every token where a model's own numbering expects it, left padding does not."""
        if hasattr(getattr(self.net, "embeddings", None), "create_position_ids_from_input_ids"):
            return {}  # RoBERTa and its kin number what is not padding, from another first number
        if "position_ids" not in self.accepts:
            raise ModelError(
                f"{type(self.net).__name__} takes no position ids, so left padding would shift its positions; "
                "pad on the right"
            )
        return {"position_ids": batch.place.clamp(min=0)}

    # -- what must be equal ------------------------------------------------------------------------------------------

    def settle(self, ids: list[list[int]], padding: Padding = "right") -> None:
        """Find out which of these prompts may share a batch; `sides` then says so.

        On each side the shortest and the longest are run alone and together; where that differs, only equal lengths may
        share a batch from then on. Raises ModelError where even those may not, where only padding on the left makes a
        difference, and where the model runs otherwise because its attention is read.
        """
        try:
            self._settle_all(ids, padding)
        except torch.OutOfMemoryError:
            raise ModelError(
                f"two prompts of up to {max(map(len, ids))} tokens need more memory than there is; "
                "leave out the longest, or use a smaller --dtype"
            ) from None

    def _settle_all(self, ids: list[list[int]], padding: Padding) -> None:
        longest = max(ids, key=len)
        if len(longest) > self._longest:
            self._longest = len(longest)
            self.check_native([longest])
        groups: dict[Hashable, list[list[int]]] = {}
        for row in ids if not self.sides.equal else ():
            groups.setdefault((padding, self.sides(len(row))), []).append(row)
        for side, rows in groups.items():
            short, long = min(rows, key=len), max(rows, key=len)
            least, most = self._settled.get(side, (sys.maxsize, 0))
            if not self.sides.equal and len(short) < len(long) and (len(short) < least or len(long) > most):
                self._settled[side] = min(least, len(short)), max(most, len(long))
                self._settle(short, long, padding)

    def _settle(self, short: list[int], long: list[int], padding: Padding) -> None:
        if self._alike([short, long], padding):
            return
        if padding == "left" and self._alike([short, long]):
            raise ModelError(f"{type(self.net).__name__} reads padding on the left as text; pad on the right")
        if not self._alike([long, long[::-1]]):
            raise ModelError(
                f"{type(self.net).__name__} reads a prompt of {len(long)} tokens otherwise beside another of the same "
                "length, so its vectors are not its own; use --batch-size 1"
            )
        self.sides.equal = True

    def check_native(self, ids: list[list[int]], read: Tensor | None = None) -> None:
        """Raise ModelError unless the model runs as it does when nobody reads its attention.

        read: its last hidden states of these prompts while it was read, if they are there already.
        """
        read = self._states(ids, _Look(self.kernel)) if read is None else read
        for row, mine, own in zip(ids, read, self._states(ids, None), strict=True):
            if not same(mine[: len(row)], own[: len(row)]):
                raise ModelError(
                    f"{type(self.net).__name__} runs otherwise when its attention is read (on {len(row)} tokens its "
                    "last hidden states differ), so what is read would not be its attention"
                )

    def _alike(self, ids: list[list[int]], padding: Padding = "right") -> bool:
        """Whether prompts side by side have the last hidden states that each has alone."""
        look = _Look(self.kernel)
        alone = [self._states([row], look)[0] for row in ids]
        together = self._states(ids, look, padding)
        real = self._plain(ids, padding).real
        return all(
            same(state[there.to(state.device)], one) for one, state, there in zip(alone, together, real, strict=True)
        )

    def _states(self, ids: list[list[int]], reader, padding: Padding = "right") -> Tensor:
        """The last hidden states (prompts, T, width) of a pass without the LM head."""
        return self._call(self.net.base_model, self._plain(ids, padding), reader, {})[0]


class _Look:
    """Answers every attention call as the model's own kernel does."""

    def __init__(self, kernel):
        self.kernel = kernel

    def attend(self, module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict):
        return kernel_of(self.kernel, module)(module, query, key, value, mask, **options)


def same(one: Tensor, other: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether hidden states are equal but for rounding; NaN is equal to NaN, and is told when vectors are stored.

    dtype: the model's, of what was computed from its states in another one.
    """
    limit, there = EQUAL.get(dtype or one.dtype, EQUAL_COARSE), other.isfinite()
    if not torch.equal(one.isfinite(), there):
        return False
    one, other = one[there].double(), other[there].double()
    return bool((one - other).norm() <= limit * other.norm())
