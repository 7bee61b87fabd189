"""What the commands that load a model share: its number type and place, and a quiet stderr."""

from __future__ import annotations

import argparse
from collections.abc import Callable

Add = Callable[[str, Callable[[argparse.Namespace], None], str], argparse.ArgumentParser]
# (name, what it does, its help) → its parser


def with_device(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--device", default="cpu", help="cpu or cuda")


def with_dtype(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--dtype", choices=("float32", "bfloat16", "float64"), default="float32")
    with_device(sub)


def quiet() -> None:
    """Leave stderr to the bars and to the one line of an error."""
    import transformers
    from huggingface_hub.utils import disable_progress_bars

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    disable_progress_bars()
