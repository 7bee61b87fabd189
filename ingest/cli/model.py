"""What the commands that load a model share: its number type and place, and a quiet stderr."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from functools import partial

from qkstore.cli.terminal import count

Add = Callable[[str, Callable[[argparse.Namespace], None], str], argparse.ArgumentParser]
# (name, what it does, its help) → its parser


def with_device(sub: argparse.ArgumentParser, more: str = "") -> None:
    sub.add_argument("--device", default="cpu", help=f"cpu or cuda{more}")


def with_dtype(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--dtype", choices=("float32", "bfloat16", "float64"), default="float32")
    sub.add_argument(
        "--threads", type=count, help="processors that the passes may use (default: all that this process has)"
    )
    with_device(
        sub,
        ", or auto, which spreads the layers of a model that is larger than one GPU over all GPUs of this machine, "
        "then over memory, then over disk",
    )


def prepare(threads: int | None = None) -> None:
    """Leave stderr to progress and to the one line of an error; take as many threads as were asked for."""
    import torch
    import transformers
    from huggingface_hub.utils import disable_progress_bars
    from transformers import modeling_gguf_pytorch_utils as gguf

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    disable_progress_bars()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    gguf.tqdm = partial(gguf.tqdm, disable=True)  # this one bar asks none of the three above
    if threads:
        torch.set_num_threads(threads)
